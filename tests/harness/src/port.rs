//! A port that is held by a socket that does not listen: whoever connects is
//! refused, and nobody else gets it.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// Holds this address for as long as the socket lives; port 0 picks one. A program
/// that reuses addresses, as a worker does, can listen there all the same.
///
/// # Errors
/// It is not this machine's, or somebody listens there.
pub fn hold(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

/// Holds a port of the loopback address, and says which: an address where nobody
/// listens.
///
/// # Errors
/// There is no free port.
pub fn nobody() -> io::Result<(TcpSocket, SocketAddr)> {
    let socket = hold(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let address = socket.local_addr()?;
    Ok((socket, address))
}
