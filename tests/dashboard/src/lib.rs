//! Browser tests: the dashboard as a person sees it, in headless Chromium,
//! served by real `worker-sim` processes against the simulated WhatsApp.
//!
//! A test sets the stage (workers, accounts, phones) and lets a script of
//! `browser/` play in front of it. What the script cannot do in a browser it
//! asks of the stage: have a phone scan a code, kill a worker. The scripts
//! check what is on the screen; the scene asks its own questions at the end.
//!
//! `DASHBOARD_SCREENSHOTS` names a folder for pictures of every page.

// Tests wait in real time for real processes.
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::disallowed_methods))]

#[cfg(test)]
mod script;
#[cfg(test)]
mod stage;
#[cfg(test)]
mod tests;
