//! Translates the engine's events.
//!
//! Called by the engine from within its own tasks, in order: nothing here waits.
//! An event becomes a notice for the owner, a clue to why the connection will
//! end, or both. Decrypted messages come by the [`hook`](crate::hook) and not
//! from here; the few that pass it by are told apart by `hook_committed`.

use std::sync::Arc;
use std::time::Duration;

use wacore::stanza::groups::GroupNotificationAction;
use wacore::types::call::{CallAction, IncomingCall};
use wacore::types::events::{
    ConnectFailureReason, ContactUpdate, Event, EventHandler, EventInterest, EventKind,
    InboundMessage, Receipt, ServerAck,
};
use wacore::types::message::MessageSource;
use wacore::types::presence::{ChatPresence, ChatPresenceMedia, ReceiptType};

use crate::disconnect::DisconnectReason;
use crate::events::{EngineEvent, QrCode, ReceiptKind};
use crate::groups::GroupNews;
use crate::history::{HistoryKind, HistoryPiece, Person};
use crate::linking::PasskeyStep;
use crate::monitor::{Monitor, Phase};
use crate::presence::PresenceState;

/// What is done with messages that did not come by the hook.
pub(crate) type Stray = Box<dyn Fn(Vec<InboundMessage>) + Send + Sync>;

/// What is done with pieces of history.
pub(crate) type History = Box<dyn Fn(HistoryPiece) + Send + Sync>;

/// Receives the engine's events.
pub(crate) struct Listener {
    monitor: Arc<Monitor>,
    stray: Stray,
    history: History,
}

impl Listener {
    pub(crate) fn new(monitor: Arc<Monitor>, stray: Stray, history: History) -> Self {
        Self {
            monitor,
            stray,
            history,
        }
    }

    fn ended_by(&self, reason: DisconnectReason) {
        self.monitor.clue(|clues, _| clues.said(reason));
    }

    fn passkey(&self, step: PasskeyStep) {
        self.monitor.emit(EngineEvent::Passkey(step));
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the engine's enum, which grows"
    )]
    fn handle(&self, event: &Event) {
        match event {
            Event::Connected(_) => {
                self.monitor.set_phase(Phase::Connected);
                self.monitor.emit(EngineEvent::Connected);
            }
            Event::PairingQrCode(qr) => self.monitor.emit(EngineEvent::Qr {
                code: QrCode::new(qr.code.clone()),
                valid_for: qr.timeout,
            }),
            Event::PairingQrCodesExhausted(_) => {
                self.ended_by(DisconnectReason::QrExpired);
                self.monitor.emit(EngineEvent::QrExhausted);
            }
            Event::PairPasskeyRequest(request) => self.passkey(PasskeyStep::Assertion {
                options: request.request_options_json.clone(),
            }),
            Event::PairPasskeyConfirmation(confirmation) => {
                let code = if confirmation.skip_handoff_ux {
                    String::new()
                } else {
                    confirmation.code.clone()
                };
                self.passkey(PasskeyStep::Confirmation { code });
            }
            Event::PairPasskeyError(_) => self.passkey(PasskeyStep::Failed),
            Event::PairSuccess(pair) => self.monitor.paired(EngineEvent::Paired {
                pn: pair.id.to_string(),
                lid: pair.lid.to_string(),
                name: pair.business_name.clone(),
                platform: pair.platform.clone(),
            }),
            Event::QrScannedWithoutMultidevice(_) => {
                self.ended_by(DisconnectReason::MultideviceMismatch);
                self.monitor.hang_up();
            }
            Event::LoggedOut(logout) => self.ended_by(failure(logout.reason)),
            Event::StreamReplaced(_) => self.ended_by(DisconnectReason::ConnectionReplaced),
            Event::TemporaryBan(ban) => {
                let expires_in = ban.expire.to_std().unwrap_or(Duration::ZERO);
                self.ended_by(DisconnectReason::TemporaryBan {
                    expires_in: Some(expires_in),
                });
            }
            Event::ClientOutdated(_) => self.ended_by(DisconnectReason::ClientOutdated),
            Event::ConnectFailure(refusal) => self.ended_by(failure(refusal.reason)),
            Event::Receipt(receipt) => self.receipt(receipt),
            Event::ServerAck(ack) => self.server_ack(ack),
            Event::UndecryptableMessage(message) => {
                let source = &message.info.source;
                self.monitor.emit(EngineEvent::Undecryptable {
                    chat: source.chat.to_non_ad().to_string(),
                    sender: source.sender.to_non_ad().to_string(),
                    sender_alt: source
                        .sender_alt
                        .as_ref()
                        .map(|jid| jid.to_non_ad().to_string()),
                    id: message.info.id.clone(),
                    at: message.info.timestamp,
                });
            }
            Event::IncomingCall(call) => self.call(call),
            Event::GroupUpdate(update) => {
                if let Some(news) = group_news(&update.action) {
                    self.monitor.emit(EngineEvent::Group {
                        group: update.group_jid.to_string(),
                        news,
                    });
                }
            }
            Event::Presence(update) => {
                let person = update.from.to_non_ad().to_string();
                self.monitor.emit(EngineEvent::Presence {
                    chat: person.clone(),
                    person,
                    state: match update.unavailable {
                        true => PresenceState::Unavailable,
                        false => PresenceState::Available,
                    },
                    last_seen: update.last_seen,
                });
            }
            Event::ChatPresence(update) => {
                let state = match (update.state, update.media) {
                    (ChatPresence::Paused, _) => PresenceState::Paused,
                    (ChatPresence::Composing, ChatPresenceMedia::Audio) => PresenceState::Recording,
                    (ChatPresence::Composing, ChatPresenceMedia::Text) => PresenceState::Typing,
                };
                self.monitor.emit(EngineEvent::Presence {
                    chat: update.source.chat.to_non_ad().to_string(),
                    person: number_of(&update.source),
                    state,
                    last_seen: None,
                });
            }
            Event::Messages(batch) if !batch.hook_committed => {
                (self.stray)(batch.messages.to_vec());
            }
            Event::ArchiveUpdate(update) => self.monitor.emit(EngineEvent::ChatArchived {
                chat: update.jid.to_non_ad().to_string(),
                archived: update.action.archived.unwrap_or(false),
            }),
            Event::ContactUpdate(update) => {
                if let Some(person) = named(update) {
                    self.monitor.emit(EngineEvent::ContactNamed(person));
                }
            }
            Event::HistorySync(piece) => (self.history)(HistoryPiece {
                kind: HistoryKind::from_number(piece.sync_type()),
                order: piece.chunk_order(),
                progress: piece.progress(),
                compressed: piece.compressed_bytes().clone(),
            }),
            // The engine has many more, and may get others: none that this
            // worker acts on.
            _ => {}
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the engine's enum, which grows"
    )]
    fn receipt(&self, receipt: &Receipt) {
        let kind = match receipt.r#type {
            ReceiptType::Delivered => ReceiptKind::Delivered,
            ReceiptType::Inactive => ReceiptKind::Inactive,
            ReceiptType::Read => ReceiptKind::Read,
            ReceiptType::Played => ReceiptKind::Played,
            ReceiptType::Retry => ReceiptKind::Retry,
            ReceiptType::ReadSelf | ReceiptType::PlayedSelf => ReceiptKind::ReadSelf,
            ReceiptType::Sender => ReceiptKind::Sender,
            ReceiptType::Sent | ReceiptType::ServerError => ReceiptKind::Undeliverable,
            // Calls, history, messages between own devices, and what will come.
            _ => return,
        };
        self.monitor.emit(EngineEvent::Receipt {
            chat: receipt.source.chat.to_non_ad().to_string(),
            sender: number_of(&receipt.source),
            ids: receipt.message_ids.clone(),
            kind,
            at: receipt.timestamp,
        });
    }

    /// Only the ringing: what follows concerns whoever answers.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "the engine's enum, which grows"
    )]
    fn call(&self, call: &IncomingCall) {
        let video = match &call.action {
            CallAction::Offer { is_video, .. } | CallAction::OfferNotice { is_video, .. } => {
                *is_video
            }
            _ => return,
        };
        self.monitor.emit(EngineEvent::Call {
            from: call.from.to_non_ad().to_string(),
            creator: call.action.call_creator().to_string(),
            id: call.action.call_id().to_owned(),
            video,
            offline: call.offline,
        });
    }

    fn server_ack(&self, ack: &ServerAck) {
        // Every stanza of ours is acknowledged; without a class it may be a message.
        if !matches!(ack.class.as_deref(), None | Some("message")) {
            return;
        }
        self.monitor.emit(EngineEvent::ServerAck {
            id: ack.id.clone(),
            error: ack.error.as_deref().map(|code| code.parse().unwrap_or(0)),
        });
    }
}

impl EventHandler for Listener {
    fn handle_event(&self, event: Arc<Event>) {
        self.handle(&event);
    }

    fn interest(&self) -> EventInterest {
        EventInterest::of(&[
            EventKind::Connected,
            EventKind::PairingQrCode,
            EventKind::PairingQrCodesExhausted,
            EventKind::PairSuccess,
            EventKind::PairPasskeyRequest,
            EventKind::PairPasskeyConfirmation,
            EventKind::PairPasskeyError,
            EventKind::QrScannedWithoutMultidevice,
            EventKind::LoggedOut,
            EventKind::StreamReplaced,
            EventKind::TemporaryBan,
            EventKind::ClientOutdated,
            EventKind::ConnectFailure,
            EventKind::Receipt,
            EventKind::ServerAck,
            EventKind::UndecryptableMessage,
            EventKind::Messages,
            EventKind::IncomingCall,
            EventKind::GroupUpdate,
            EventKind::Presence,
            EventKind::ChatPresence,
            EventKind::HistorySync,
            EventKind::ArchiveUpdate,
            EventKind::ContactUpdate,
        ])
    }
}

/// Who sent something: by phone number, where that is known.
fn number_of(source: &MessageSource) -> String {
    let number = source.sender_alt.as_ref().filter(|alt| alt.is_pn());
    number.unwrap_or(&source.sender).to_non_ad().to_string()
}

/// What happened in a group, if it changes what is kept of it.
#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "the engine's enum, which grows"
)]
fn group_news(action: &GroupNotificationAction) -> Option<GroupNews> {
    Some(match action {
        GroupNotificationAction::Create { .. } => GroupNews::Created,
        GroupNotificationAction::Add { .. } => GroupNews::Added,
        GroupNotificationAction::Remove { .. } => GroupNews::Removed,
        GroupNotificationAction::Promote { .. } => GroupNews::Promoted,
        GroupNotificationAction::Demote { .. } => GroupNews::Demoted,
        GroupNotificationAction::Subject { .. } => GroupNews::Subject,
        GroupNotificationAction::Description { .. } => GroupNews::Description,
        GroupNotificationAction::Modify { .. }
        | GroupNotificationAction::Locked { .. }
        | GroupNotificationAction::Unlocked
        | GroupNotificationAction::Announce
        | GroupNotificationAction::NotAnnounce
        | GroupNotificationAction::Ephemeral { .. } => GroupNews::Settings,
        GroupNotificationAction::Delete { .. } => GroupNews::Deleted,
        _ => return None,
    })
}

/// Somebody in the phone's address book; none without a name.
fn named(update: &ContactUpdate) -> Option<Person> {
    let action = &update.action;
    let name = action.full_name.as_ref().or(action.first_name.as_ref())?;
    let address = |text: Option<&String>| text.filter(|text| !text.is_empty()).cloned();
    let own = update.jid.to_non_ad().to_string();
    let (pn, lid) = match update.jid.is_lid() {
        true => (address(action.pn_jid.as_ref()), Some(own)),
        false => (Some(own), address(action.lid_jid.as_ref())),
    };
    Some(Person {
        pn,
        lid,
        name: Some(name.clone()).filter(|name| !name.is_empty()),
        push_name: None,
    })
}

/// The reason for a refused login.
fn failure(reason: ConnectFailureReason) -> DisconnectReason {
    DisconnectReason::from_failure_code(match reason {
        ConnectFailureReason::Generic => 400,
        ConnectFailureReason::LoggedOut => 401,
        ConnectFailureReason::TempBanned => 402,
        ConnectFailureReason::AccountLocked => 403,
        ConnectFailureReason::ClientOutdated => 405,
        ConnectFailureReason::UnknownLogout => 406,
        ConnectFailureReason::BadUserAgent => 409,
        ConnectFailureReason::CatExpired => 413,
        ConnectFailureReason::CatInvalid => 414,
        ConnectFailureReason::NotFound => 415,
        ConnectFailureReason::ClientUnknown => 418,
        ConnectFailureReason::InternalServerError => 500,
        ConnectFailureReason::Experimental => 501,
        ConnectFailureReason::ServiceUnavailable => 503,
        ConnectFailureReason::Unknown(code) => u16::try_from(code).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use coordinator_lib::clock::ManualClock;
    use tokio::sync::mpsc;
    use wacore::types::events::{PairPasskeyConfirmation, PairPasskeyError, PairPasskeyRequest};

    use super::*;

    /// The passkey step, as the engine's own events tell it.
    #[tokio::test]
    async fn every_passkey_event_becomes_a_step() {
        let monitor = Arc::new(Monitor::new(Arc::new(ManualClock::default())));
        let listener = Listener::new(Arc::clone(&monitor), Box::new(|_| {}), Box::new(|_| {}));
        let code = |skip| {
            PairPasskeyConfirmation::builder()
                .code("ABCD-1234".to_owned())
                .skip_handoff_ux(skip)
                .build()
        };
        let request = PairPasskeyRequest::builder().request_options_json("{}".to_owned());
        let failure = PairPasskeyError::builder()
            .error("no".to_owned())
            .continuation(true);
        for event in [
            Event::PairPasskeyRequest(request.build()),
            Event::PairPasskeyConfirmation(code(false)),
            Event::PairPasskeyConfirmation(code(true)),
            Event::PairPasskeyError(failure.build()),
        ] {
            assert!(listener.interest().wants(event.kind()));
            listener.handle(&event);
        }
        monitor.end();
        let (sender, mut steps) = mpsc::channel(8);
        monitor.deliver(sender).await;
        let mut seen = Vec::new();
        while let Some(event) = steps.recv().await {
            seen.push(event);
        }
        let confirmation = |code: &str| {
            EngineEvent::Passkey(PasskeyStep::Confirmation {
                code: code.to_owned(),
            })
        };
        let assertion = PasskeyStep::Assertion {
            options: "{}".to_owned(),
        };
        assert_eq!(
            seen,
            [
                EngineEvent::Passkey(assertion),
                confirmation("ABCD-1234"),
                confirmation(""),
                EngineEvent::Passkey(PasskeyStep::Failed),
                EngineEvent::Stopped,
            ]
        );
        assert!(!format!("{seen:?}").contains("ABCD"), "codes are secrets");
    }
}
