//! Feeds the parsers of outside bytes with files that were cut off, altered,
//! mixed up or made to be hostile, and looks at what they do: an error or a
//! report, never a panic, and nothing half-written.
//!
//! | Module | Holds |
//! |---|---|
//! | [`mutate`] | what is done to bytes and files, from a seed |
//! | [`targets`] | what is fed, and what must hold |
//!
//! `cargo run -p fuzz -- baileys --minutes 10` goes on for that long and prints
//! the seed of what failed; the tests run a few hundred rounds of each.

pub mod mutate;
pub mod targets;
