//! Session files over real stores, through the fenced writer.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(
    clippy::disallowed_methods,
    reason = "tests start tasks and wait with deadlines"
)]

mod bench;
mod flush;
mod model;
mod refusal;
mod secrets;
mod settle;
