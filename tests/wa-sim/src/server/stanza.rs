//! Small stanzas that are needed everywhere.

use rand::RngExt as _;

use crate::wire::Node;

/// The address of the server itself.
pub(crate) const SERVER: &str = "s.whatsapp.net";

/// An id for a stanza of the server's or a phone's own.
pub(crate) fn fresh_id(prefix: &str) -> String {
    #[allow(clippy::disallowed_methods, reason = "a test program")]
    let number: u128 = rand::rng().random();
    format!("{prefix}{number:032X}")
}

/// The empty answer to a query.
pub(crate) fn result(query: &Node) -> Node {
    Node::new("iq")
        .attr("from", SERVER)
        .attr("type", "result")
        .attr("id", query.get("id").unwrap_or_default())
}

/// The refusal of a query.
pub(crate) fn error(query: &Node, code: u16, text: &str) -> Node {
    result(query).attr("type", "error").child(
        Node::new("error")
            .attr("code", code.to_string())
            .attr("text", text),
    )
}

/// `<stream:error>` with a code. 401 says that the device was removed: one
/// client goes by the code, another by the conflict.
pub(crate) fn stream_error(code: u16) -> Node {
    let error = Node::new("stream:error").attr("code", code.to_string());
    match code {
        401 => error.child(Node::new("conflict").attr("type", "device_removed")),
        _ => error,
    }
}

/// `<stream:error>` for a connection that a newer one replaced.
pub(crate) fn replaced() -> Node {
    Node::new("stream:error").child(Node::new("conflict").attr("type", "replaced"))
}
