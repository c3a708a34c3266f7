//! The simulation's own tests.

mod mutations;
mod program;
mod seeds;
