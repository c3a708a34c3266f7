//! Asks a proxy for a way to the server: HTTP CONNECT or SOCKS5.
//!
//! Nothing beyond the proxy's answer is read, so that what follows is the
//! server's first byte.

use std::io;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio_tungstenite::tungstenite::http::StatusCode;

use crate::proxy::{Credentials, Proxy, ProxyKind};

/// The most that a proxy may answer to CONNECT.
const ANSWER_BYTES_MAX: usize = 8 * 1024;

const SOCKS_VERSION: u8 = 5;
const SOCKS_AUTH_VERSION: u8 = 1;
const SOCKS_NO_AUTH: u8 = 0;
const SOCKS_PASSWORD: u8 = 2;
const SOCKS_CONNECT: u8 = 1;
const SOCKS_IPV4: u8 = 1;
const SOCKS_NAME: u8 = 3;
const SOCKS_IPV6: u8 = 4;

/// Why a proxy gives no way to the server.
#[derive(Debug, thiserror::Error)]
pub(super) enum TunnelError {
    #[error("the proxy's connection failed")]
    Io(#[from] io::Error),
    #[error("the proxy answered {0}")]
    Refused(StatusCode),
    #[error("the proxy refused the connection (reply {0})")]
    RefusedReply(u8),
    #[error("the proxy takes neither our credentials nor none")]
    NoMethod,
    #[error("the proxy refused the credentials")]
    Credentials,
    #[error("the proxy does not speak its protocol")]
    Protocol,
}

/// Asks for a way to `host`, whose name the proxy looks up.
pub(super) async fn open<S>(
    stream: &mut S,
    proxy: &Proxy,
    host: &str,
    port: u16,
) -> Result<(), TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match proxy.kind() {
        ProxyKind::Http => connect(stream, proxy.credentials(), host, port).await,
        ProxyKind::Socks5 => socks(stream, proxy.credentials(), host, port).await,
    }
}

async fn connect<S>(
    stream: &mut S,
    credentials: Option<&Credentials>,
    host: &str,
    port: u16,
) -> Result<(), TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let target = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n");
    if let Some(Credentials { name, password }) = credentials {
        use base64::Engine as _;
        let pair = base64::prelude::BASE64_STANDARD.encode(format!("{name}:{password}"));
        request.push_str(&format!("Proxy-Authorization: Basic {pair}\r\n"));
    }
    request.push_str("\r\n");
    stream.write_all(request.as_bytes()).await?;
    stream.flush().await?;

    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        if answer.len() >= ANSWER_BYTES_MAX {
            return Err(TunnelError::Protocol);
        }
        answer.push(stream.read_u8().await?);
    }
    let status = answer
        .strip_prefix(b"HTTP/1.1 ")
        .or_else(|| answer.strip_prefix(b"HTTP/1.0 "))
        .and_then(|rest| StatusCode::from_bytes(rest.get(..3)?).ok())
        .ok_or(TunnelError::Protocol)?;
    if status.is_success() {
        Ok(())
    } else if status == StatusCode::PROXY_AUTHENTICATION_REQUIRED {
        Err(TunnelError::Credentials)
    } else {
        Err(TunnelError::Refused(status))
    }
}

async fn socks<S>(
    stream: &mut S,
    credentials: Option<&Credentials>,
    host: &str,
    port: u16,
) -> Result<(), TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let methods: &[u8] = if credentials.is_some() {
        &[SOCKS_VERSION, 2, SOCKS_NO_AUTH, SOCKS_PASSWORD]
    } else {
        &[SOCKS_VERSION, 1, SOCKS_NO_AUTH]
    };
    stream.write_all(methods).await?;
    stream.flush().await?;
    let [version, method] = read(stream).await?;
    match (version, method, credentials) {
        (SOCKS_VERSION, SOCKS_NO_AUTH, _) => {}
        (SOCKS_VERSION, SOCKS_PASSWORD, Some(credentials)) => {
            log_in(stream, credentials).await?;
        }
        (SOCKS_VERSION, _, _) => return Err(TunnelError::NoMethod),
        (_, _, _) => return Err(TunnelError::Protocol),
    }

    let mut request = vec![SOCKS_VERSION, SOCKS_CONNECT, 0];
    match host.parse() {
        Ok(std::net::IpAddr::V4(ip)) => {
            request.push(SOCKS_IPV4);
            request.extend(ip.octets());
        }
        Ok(std::net::IpAddr::V6(ip)) => {
            request.push(SOCKS_IPV6);
            request.extend(ip.octets());
        }
        Err(_) => {
            let length = u8::try_from(host.len()).map_err(|_| TunnelError::Protocol)?;
            request.extend([SOCKS_NAME, length]);
            request.extend(host.bytes());
        }
    }
    request.extend(port.to_be_bytes());
    stream.write_all(&request).await?;
    stream.flush().await?;

    let [version, reply, _, kind] = read(stream).await?;
    if version != SOCKS_VERSION {
        return Err(TunnelError::Protocol);
    }
    if reply != 0 {
        return Err(TunnelError::RefusedReply(reply));
    }
    // The address that the proxy uses, which nobody needs, and its port.
    let address_bytes = match kind {
        SOCKS_IPV4 => 4,
        SOCKS_IPV6 => 16,
        SOCKS_NAME => usize::from(stream.read_u8().await?),
        _ => return Err(TunnelError::Protocol),
    };
    let mut address = vec![0; address_bytes + 2];
    stream.read_exact(&mut address).await?;
    Ok(())
}

/// RFC 1929.
async fn log_in<S>(stream: &mut S, credentials: &Credentials) -> Result<(), TunnelError>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let mut request = vec![SOCKS_AUTH_VERSION];
    for text in [&credentials.name, &credentials.password] {
        // Not longer: checked when the proxy was read.
        let length = u8::try_from(text.len()).map_err(|_| TunnelError::Protocol)?;
        request.push(length);
        request.extend(text.bytes());
    }
    stream.write_all(&request).await?;
    stream.flush().await?;
    match read(stream).await? {
        [SOCKS_AUTH_VERSION, 0] => Ok(()),
        [SOCKS_AUTH_VERSION, _] => Err(TunnelError::Credentials),
        [_, _] => Err(TunnelError::Protocol),
    }
}

async fn read<const N: usize, S>(stream: &mut S) -> Result<[u8; N], TunnelError>
where
    S: AsyncRead + Unpin,
{
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What we send, and how it ends, when the proxy answers with these bytes.
    async fn played(proxy: &str, answer: &[u8]) -> (Vec<u8>, Result<(), TunnelError>) {
        let (mut ours, mut theirs) = tokio::io::duplex(64 * 1024);
        theirs.write_all(answer).await.unwrap();
        theirs.shutdown().await.unwrap();
        let proxy: Proxy = proxy.parse().unwrap();
        let outcome = open(&mut ours, &proxy, "web.example", 443).await;
        drop(ours);
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        (sent, outcome)
    }

    #[tokio::test]
    async fn connect_names_the_host_and_authenticates() {
        let (sent, outcome) =
            played("http://anna:pw@p:1", b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n").await;
        outcome.unwrap();
        let sent = String::from_utf8(sent).unwrap();
        assert_eq!(
            sent,
            "CONNECT web.example:443 HTTP/1.1\r\nHost: web.example:443\r\n\
             Proxy-Authorization: Basic YW5uYTpwdw==\r\n\r\n"
        );
    }

    #[tokio::test]
    async fn socks_sends_the_name_and_authenticates() {
        let answer = [5, 2, 1, 0, 5, 0, 0, 1, 10, 0, 0, 1, 1, 1];
        let (sent, outcome) = played("socks5://an:pw@p:1", &answer).await;
        outcome.unwrap();
        let mut expected = vec![5, 2, 0, 2, 1, 2];
        expected.extend(b"an");
        expected.push(2);
        expected.extend(b"pw");
        expected.extend([5, 1, 0, 3, 11]);
        expected.extend(b"web.example");
        expected.extend([1, 187]);
        assert_eq!(sent, expected);
    }

    #[tokio::test]
    async fn refusals_and_nonsense_are_errors() {
        let long = [
            b"HTTP/1.1 200 OK\r\n".to_vec(),
            vec![b'x'; 2 * ANSWER_BYTES_MAX],
        ]
        .concat();
        for (proxy, answer, expected) in [
            ("http://p:1", &b"HTTP/1.1 407 No\r\n\r\n"[..], "credentials"),
            ("http://p:1", b"HTTP/1.1 502 Bad\r\n\r\n", "502"),
            ("http://p:1", b"SSH-2.0-x\r\n\r\n", "protocol"),
            ("http://p:1", b"HTTP/1.1 2", "connection failed"),
            ("http://p:1", &long, "protocol"),
            ("socks5://p:1", &[5, 255], "neither"),
            ("socks5://p:1", &[4, 0], "protocol"),
            ("socks5://a:b@p:1", &[5, 2, 1, 9], "credentials"),
            ("socks5://p:1", &[5, 0, 5, 5, 0, 1], "reply 5"),
            ("socks5://p:1", &[5, 0, 5, 0, 0, 9], "protocol"),
        ] {
            let error = played(proxy, answer).await.1.unwrap_err().to_string();
            assert!(error.contains(expected), "{proxy}: {error}");
        }
    }
}
