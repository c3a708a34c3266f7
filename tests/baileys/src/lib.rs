//! Unmodified Baileys as an independent peer client.
//!
//! A [`Peer`] is a Node process, `peer.mjs`, with one account on Baileys. It
//! shows that the simulator does not merely agree with the engine that the
//! worker is built on, and that what one sends really arrives at another.
//! Baileys verifies no signatures in practice: it is no oracle for them.
//!
//! A [`Load`] is many accounts in one process, for the bench.
//!
//! The packages are pinned in `package-lock.json` and installed by
//! [`INSTALL_COMMAND`]; a peer without them is an error that says so.
//!
//! `vectors.mjs` makes the known vectors that wa-sim is tested against.

mod event;
mod install;
mod load;
mod log;
mod peer;

pub use event::{Event, Status};
pub use install::{INSTALL_COMMAND, Version};
pub use load::{Load, LoadEvent};
pub use log::Mark;
pub use peer::{DEADLINE, Peer, PeerError, State};
