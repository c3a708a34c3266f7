//! What an account's task notes in the account's document: status, failures,
//! waits, QR codes, identity.

use std::time::Duration;

use coordinator_lib::store::StoreTime;
use serde_json::json;
use whatsapp::{PasskeyStep, Stage};

use super::{Driver, STATUS_WRITE_LIMIT};
use crate::account::observed::Transition;
use crate::account::reconnect::Wait;
use crate::account::state::{Effect, Phase, Timer};
use crate::model::account::{PASSKEY_PURPOSE, QR_PURPOSE, SealedStep};
use crate::model::{LastError, SealedQr, Status};

impl Driver {
    pub(super) fn qr_is_new(&self) -> bool {
        *self.machine.phase() == Phase::QrReady
    }

    /// Notes what a step changed: the status and what goes with it.
    pub(super) fn note(&mut self, before: Status, reason: &str, effects: &[Effect]) {
        let status = self.machine.status();
        self.note_attempt(status, reason);
        let now = StoreTime::from_datetime(self.term.clock().wall());
        for effect in effects {
            match effect {
                Effect::Error { message, stage } => {
                    let (message, stage) =
                        (message.clone(), stage.map(|stage| stage.name().to_owned()));
                    self.record.change(&["lastError"], reason, |doc| {
                        doc.last_error = Some(LastError {
                            message,
                            at: now,
                            stage,
                            retry_at: None,
                        });
                    });
                }
                Effect::Count(reason) => self.record.count_disconnect(reason, now),
                Effect::SetTimer(Timer::Retry, wait) => self.note_retry(*wait, reason, now),
                Effect::SetTimer(Timer::Connecting | Timer::Stable, _)
                | Effect::StartEngine
                | Effect::StopEngine
                | Effect::FreezeEngine
                | Effect::ClearTimer(_)
                | Effect::OpenOutbox
                | Effect::Alert(_)
                | Effect::Release => {}
            }
        }
        self.observed.reached(self.machine.stage().map(Stage::name));
        let doc = self.record.doc();
        self.observed
            .failed(doc.last_error.clone(), doc.disconnect_counts.clone());
        if status == before && doc.status == status {
            return;
        }
        let waits = matches!(self.machine.phase(), Phase::Waiting { .. });
        let action = self.machine.action_required();
        let ladder = self.machine.ladder().clone();
        let stage = self.machine.stage().map(|stage| stage.name().to_owned());
        self.record.change_status(reason, |doc| {
            if doc.status != status {
                doc.status = status;
                doc.status_at = Some(now);
            }
            doc.stage = stage;
            doc.action_required = action.map(String::from);
            doc.attempt = i64::from(ladder.attempts);
            doc.ladder = ladder.to_doc();
            if !waits {
                doc.retry_at = None;
            }
        });
        if status != Status::QrReady && self.record.doc().qr.is_some() {
            self.record.change(&["qr"], reason, |doc| doc.qr = None);
        }
        let may_link = matches!(status, Status::QrReady | Status::Connecting);
        if !may_link && self.record.doc().passkey.is_some() {
            self.record
                .change(&["passkey"], reason, |doc| doc.passkey = None);
        }
        if status == Status::LoggedOut {
            self.record
                .change(&["pairedAt"], reason, |doc| doc.paired_at = None);
        }
        tracing::info!(account.id = %self.term.account, from = %before, to = %status, reason, "account status");
        self.observed.moved(Transition {
            at: now,
            from: before,
            to: status,
            reason: reason.to_owned(),
        });
    }

    /// Sets the retry timer, jittered, and notes when that is.
    pub(super) fn note_retry(&mut self, wait: Wait, reason: &str, now: StoreTime) {
        let wait = self.parts.term.rng.jitter(wait.about, wait.spread);
        self.timers
            .set(Timer::Retry, self.term.clock().boottime() + wait);
        let retry_at = Some(now.saturating_add(wait));
        self.record
            .change(&["retryAt", "lastError"], reason, |doc| {
                doc.retry_at = retry_at;
                if let Some(error) = &mut doc.last_error {
                    error.retry_at = retry_at;
                }
            });
    }

    pub(super) fn note_qr(&mut self, code: &str, valid_for: Duration) {
        self.qr_seq += 1;
        let clock = self.term.clock();
        let account = self.term.account.as_str();
        let sealed = self.term.data_key.seal_secret(
            self.parts.term.rng.as_ref(),
            account,
            QR_PURPOSE,
            code.as_bytes(),
        );
        let qr = SealedQr {
            sealed: sealed.into(),
            expires_at: StoreTime::from_datetime(clock.wall()).saturating_add(valid_for),
            seq: self.qr_seq,
        };
        self.record.change(&["qr"], "qr", |doc| doc.qr = Some(qr));
    }

    /// Notes what WhatsApp wants of a passkey, sealed; its failure for people.
    pub(super) fn note_passkey(&mut self, step: &PasskeyStep) {
        let now = StoreTime::from_datetime(self.term.clock().wall());
        if *step == PasskeyStep::Failed {
            tracing::warn!(account.id = %self.term.account, "the passkey step failed");
            self.record
                .change(&["passkey", "lastError"], "passkey", |doc| {
                    doc.passkey = None;
                    doc.last_error = Some(LastError {
                        message:
                            "the passkey step of linking failed; start the account and link anew"
                                .to_owned(),
                        at: now,
                        stage: None,
                        retry_at: None,
                    });
                });
            return;
        }
        let content = match step {
            PasskeyStep::Assertion { options } => {
                json!({ "step": "assertion", "options": options })
            }
            PasskeyStep::Confirmation { code } => json!({ "step": "confirmation", "code": code }),
            PasskeyStep::Failed => json!({}), // above
        };
        let sealed = self.term.data_key.seal_secret(
            self.parts.term.rng.as_ref(),
            self.term.account.as_str(),
            PASSKEY_PURPOSE,
            content.to_string().as_bytes(),
        );
        self.record.change(&["passkey"], "passkey", |doc| {
            doc.passkey = Some(SealedStep {
                sealed: sealed.into(),
                at: now,
            });
        });
    }

    pub(super) fn note_identity(&mut self, pn: &str, lid: Option<&str>, name: Option<&str>) {
        let now = StoreTime::from_datetime(self.term.clock().wall());
        let (jid, lid) = (
            pn.to_owned(),
            lid.filter(|lid| !lid.is_empty()).map(str::to_owned),
        );
        let name = name.filter(|name| !name.is_empty()).map(str::to_owned);
        let doc = self.record.doc();
        if doc.jid.as_ref() == Some(&jid) && doc.lid == lid && doc.paired_at.is_some() {
            return;
        }
        self.record.change(
            &["jid", "lid", "pushName", "phone", "pairedAt"],
            "identity",
            |doc| {
                let number = jid.split([':', '@']).next().unwrap_or_default();
                doc.phone = Some(format!("+{number}"));
                doc.jid = Some(jid);
                doc.lid = lid.or(doc.lid.take());
                doc.push_name = name.or(doc.push_name.take());
                doc.paired_at.get_or_insert(now);
            },
        );
    }

    pub(super) async fn write_record(&mut self) {
        let write = self.record.write(&self.term.journal);
        tokio::select! {
            biased;
            // What was not written stays noted and is tried again at the next look.
            _ = write => {}
            () = self.parts.term.clock.sleep(STATUS_WRITE_LIMIT) => {
                tracing::warn!(account.id = %self.term.account, "status takes long to write");
            }
        }
    }
}
