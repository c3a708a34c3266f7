//! Sessions of Baileys move in, and out again.
//!
//! | Module | Holds |
//! |---|---|
//! | [`source`] | where sessions are found: a folder, an archive, documents |
//! | [`archive`] | zip, tar, tar.gz: read within limits, written |
//! | [`documents`] | sessions that lie in documents, as the predecessor's did |
//! | [`intake`] | one session into an account, under a claim |
//! | [`original`] | the files as they came, kept sealed |
//! | [`outlet`] | an account's session as files |
//!
//! What a record means is `whatsapp::baileys`'s business, and pure.

pub mod archive;
pub mod documents;
pub mod intake;
pub mod original;
pub mod outlet;
pub mod source;
