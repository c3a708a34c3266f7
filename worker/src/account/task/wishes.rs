//! What clients want of an account, obeyed.

use super::{Driver, Exit, LOG_OUT_CALL_LIMIT, LOG_OUT_LIMIT};
use crate::account::state::{Input, Phase};
use crate::model::{AccountDoc, Desired, Stored};
use coordinator_lib::history::ReleaseReason;

impl Driver {
    /// Obeys what clients want.
    pub(super) async fn wished(&mut self) -> Result<(), Exit> {
        let document = self.wishes.borrow_and_update().clone();
        let Some(doc) = document
            .as_ref()
            .and_then(AccountDoc::read_or_skip)
            .map(|record| record.value)
        else {
            return Ok(());
        };
        if let Some(instance) = &self.instance {
            instance.show(doc.available);
        }
        if doc.release_request >= self.term.epoch() {
            return Err(Exit::Release(ReleaseReason::Asked));
        }
        match doc.desired {
            Desired::Running => {
                if doc.start_request > self.record.doc().start_obeyed {
                    self.record.change_status("asked to start", |own| {
                        own.start_obeyed = doc.start_request
                    });
                    self.drive(Input::Start, "asked to start").await?;
                }
                Ok(())
            }
            Desired::Stopped | Desired::Purging | Desired::Purged => {
                self.drive(Input::Stop { log_out: false }, "asked to stop")
                    .await
            }
            Desired::LoggedOut if self.log_out_by.is_some() => Ok(()),
            Desired::LoggedOut => {
                let is_connected = matches!(self.machine.phase(), Phase::Connected { .. });
                if is_connected {
                    self.log_out().await
                } else if self.record.doc().paired_at.is_some() {
                    // Once it is connected.
                    self.log_out_by = Some(self.term.clock().boottime() + LOG_OUT_LIMIT);
                    Ok(())
                } else {
                    self.end_link().await
                }
            }
        }
    }

    /// Tells the server that the account is unlinked, and ends.
    pub(super) async fn log_out(&mut self) -> Result<(), Exit> {
        if let Some(instance) = &self.instance {
            let told = instance.link.log_out();
            tokio::select! {
                biased;
                told = told => if let Err(error) = told {
                    tracing::warn!(account.id = %self.term.account, %error, "the server was not told of the logout");
                },
                () = self.parts.term.clock.sleep(LOG_OUT_CALL_LIMIT) => {
                    tracing::warn!(account.id = %self.term.account, "the server did not answer the logout");
                }
            }
        }
        self.end_link().await
    }

    /// The account is not linked any more, as far as this side is concerned.
    pub(super) async fn end_link(&mut self) -> Result<(), Exit> {
        self.log_out_by = None;
        self.drive(Input::Stop { log_out: true }, "asked to log out")
            .await
    }
}
