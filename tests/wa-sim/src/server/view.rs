//! What the world looks like from outside.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;

use super::{
    account::Account,
    session::{Flow, Stage},
    world::World,
};

/// What is to be known of an account from outside.
#[derive(Clone, Debug, Serialize)]
pub struct AccountView {
    pub lid: String,
    pub name: String,
    /// The linked devices; the phone is not listed.
    pub devices: Vec<DeviceView>,
}

/// What is to be known of a linked device.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceView {
    pub device: u16,
    /// Logged in.
    pub online: bool,
    /// Logged in, active, and everything that waited was replayed.
    pub connected: bool,
    /// Stanzas it has not settled.
    pub waiting: usize,
    /// One-time prekeys left.
    pub prekeys: usize,
}

impl World {
    /// Whether a linked device of the account is connected and past the replay.
    pub(crate) fn is_connected(&self, number: &str) -> bool {
        self.account(number)
            .map(|account| self.view(account))
            .is_some_and(|account| account.devices.iter().any(|device| device.connected))
    }

    /// All accounts, by number.
    pub fn views(&self) -> BTreeMap<Arc<str>, AccountView> {
        self.accounts
            .iter()
            .map(|(number, account)| (Arc::clone(number), self.view(account)))
            .collect()
    }

    fn view(&self, account: &Account) -> AccountView {
        let linked = account.devices.iter().filter(|(id, _)| **id != 0);
        AccountView {
            lid: account.lid.clone(),
            name: account.name.clone(),
            devices: linked
                .map(|(id, device)| DeviceView {
                    device: *id,
                    online: device.live.is_some(),
                    connected: device
                        .live
                        .and_then(|live| self.sessions.get(&live))
                        .is_some_and(|session| {
                            matches!(
                                session.stage,
                                Stage::Online {
                                    flow: Flow::Live,
                                    ..
                                }
                            )
                        }),
                    waiting: device.mailbox.len(),
                    prekeys: device.prekeys.len(),
                })
                .collect(),
        }
    }
}
