//! The server's acknowledgements.

use std::collections::HashMap;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The server's acknowledgements, on their way to who waits for them.
#[derive(Debug, Default)]
pub struct Acks {
    waiting: Mutex<HashMap<String, oneshot::Sender<Option<u16>>>>,
}

impl Acks {
    /// Hands an acknowledgement over; says whether anybody waited for it.
    pub fn resolve(&self, wa_message_id: &str, error: Option<u16>) -> bool {
        let waiting = self.waiting.lock().remove(wa_message_id);
        waiting.is_some_and(|waiting| waiting.send(error).is_ok())
    }

    pub(super) fn expect(&self, wa_message_id: &str) -> oneshot::Receiver<Option<u16>> {
        let (sender, receiver) = oneshot::channel();
        self.waiting.lock().insert(wa_message_id.to_owned(), sender);
        receiver
    }

    pub(super) fn forget(&self, wa_message_id: &str) {
        self.waiting.lock().remove(wa_message_id);
    }
}
