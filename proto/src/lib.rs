//! Protobuf messages, one module a protobuf package.
//!
//! The sources are in `protos/`; every file there is compiled by `build.rs`.
//! To add a package, add its `.proto` file and a module here.
//!
//! No message has `Debug`: they carry keys and message texts.

/// What clients, servers and phones of WhatsApp exchange: the Noise handshake,
/// the login payload, device identities, Signal's wire messages and the part
/// of the end-to-end message that is used here.
///
/// Every field is optional on the wire. Unknown fields are dropped.
#[allow(unreachable_pub, reason = "generated code")]
pub mod whatsapp {
    include!(concat!(env!("OUT_DIR"), "/whatsapp.rs"));
}

/// What is inside an encrypted session file, and inside its records.
#[allow(unreachable_pub, reason = "generated code")]
pub mod session {
    include!(concat!(env!("OUT_DIR"), "/session.rs"));
}

/// What is inside the sealed frames of a backup.
#[allow(unreachable_pub, reason = "generated code")]
pub mod backup {
    include!(concat!(env!("OUT_DIR"), "/backup.rs"));
}
