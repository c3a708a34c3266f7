//! Messages that come again although they were decrypted before.
//!
//! The engine advances a ratchet and then hands the message over, and a flush
//! may fall between the two: a crash there leaves a durable ratchet and no
//! message. What WhatsApp delivers again is then a duplicate to the ratchet, and
//! the engine would acknowledge it. So "decrypted before" is not taken for
//! "stored": the inbox is asked, and what it does not have is asked for again
//! from its sender, whose next copy comes under a new counter. The stanza is
//! acknowledged after that, as one is that could not be decrypted.

use std::sync::{Arc, OnceLock, Weak};

use coordinator_lib::mutation::{self, Mutation};
use wacore_binary::builder::NodeBuilder;
use wacore_binary::{Jid, JidExt, Node};
use whatsapp_rust::{Client, RetryRequestOptions};

use crate::inbox::{Inbox, InboxError, MessageKey};
use crate::runtime::TaskRuntime;

/// Decides what becomes of them.
pub(crate) struct Redelivery {
    inbox: Arc<dyn Inbox>,
    runtime: TaskRuntime,
    /// Set once it is built: the engine's storage comes first.
    client: OnceLock<Weak<Client>>,
}

/// Why a message must not be acknowledged now.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RedeliveryError {
    /// The inbox does not have it.
    #[error("a message was decrypted before and not stored; it is asked for again")]
    NotStored,
    /// Nobody knows.
    #[error("whether a message is stored could not be read")]
    Inbox(#[from] InboxError),
}

impl Redelivery {
    pub(crate) fn new(inbox: Arc<dyn Inbox>, runtime: TaskRuntime) -> Self {
        Self {
            inbox,
            runtime,
            client: OnceLock::new(),
        }
    }

    /// From now on there is an engine.
    pub(crate) fn serve(&self, client: &Arc<Client>) {
        // A second engine on the same storage does not exist.
        let _ = self.client.set(Arc::downgrade(client));
    }

    /// `Ok` if the engine may acknowledge the message.
    ///
    /// Waits for the inbox only: the receiving lane is held meanwhile, and what
    /// the engine sends may wait for that.
    pub(crate) async fn check(&self, key: MessageKey<'_>) -> Result<(), RedeliveryError> {
        if mutation::is_on(Mutation::ForgetPending) || self.inbox.holds(key).await? {
            return Ok(());
        }
        tracing::warn!(
            message.wa_id = key.id,
            "a message was decrypted before and not stored: asking for it again"
        );
        if let (Some(stanza), Some(client)) = (stanza(key), self.client.get()) {
            let client = Weak::clone(client);
            self.runtime.spawn_task(async move {
                if let Some(client) = client.upgrade() {
                    ask_again(&client, &stanza).await;
                }
            });
        }
        Err(RedeliveryError::NotStored)
    }
}

/// Asks the sender, then acknowledges. If only one of the two gets through it
/// is the request; without it WhatsApp delivers the stanza once more.
async fn ask_again(client: &Arc<Client>, stanza: &Node) {
    let stanza = stanza.as_node_ref();
    let options = RetryRequestOptions::default();
    if let Err(error) = client.request_message_retry(&stanza, options).await {
        let error: &dyn std::error::Error = &error;
        tracing::warn!(error, "a message could not be asked for again");
        return;
    }
    if let Err(error) = client.acknowledge_stanza(&stanza).await {
        let error: &dyn std::error::Error = &error;
        tracing::debug!(error, "the stanza stays with WhatsApp");
    }
}

/// The stanza that the message came in, as far as an answer needs it.
fn stanza(key: MessageKey<'_>) -> Option<Node> {
    let chat: Jid = key.chat.parse().ok()?;
    let sender: Jid = key.sender.parse().ok()?;
    let stanza = NodeBuilder::new("message")
        .attr("id", key.id)
        .attr("t", wacore::time::now_secs())
        .attr("type", "text");
    let stanza = if chat.is_same_user_as(&sender) {
        stanza.attr("from", sender)
    } else if chat.is_group() || chat.is_broadcast_list() {
        stanza.attr("from", chat).attr("participant", sender)
    } else {
        // Written by another device of this account.
        stanza.attr("from", sender).attr("recipient", chat)
    };
    Some(stanza.build())
}
