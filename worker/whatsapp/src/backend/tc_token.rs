//! Tokens of trusted contacts.
//!
//! Engine trait: part of `ProtocolStore`. A token's record has two writers, one
//! for the token that a contact gave us and one for when we gave ours: each
//! changes its own half, in one step.

use prost::Message;
use proto::session::TcToken;
use session::{Kind, Record};
use wacore::store::traits::TcTokenEntry;

use super::{Backend, Result};

impl Backend {
    pub(super) fn tc_token(&self, jid: &str) -> Result<Option<TcTokenEntry>> {
        let stored: Option<TcToken> = self.get_message(Kind::TcTokens, jid.as_bytes())?;
        Ok(stored.map(|stored| TcTokenEntry {
            token: stored.token,
            token_timestamp: stored.token_timestamp,
            sender_timestamp: stored.sender_timestamp,
        }))
    }

    pub(super) async fn put_token(&self, jid: &str, entry: &TcTokenEntry) -> Result<()> {
        let stored = TcToken {
            token: entry.token.clone(),
            token_timestamp: entry.token_timestamp,
            sender_timestamp: entry.sender_timestamp,
        };
        self.put(Kind::TcTokens, jid.as_bytes(), stored.encode_to_vec())
            .await
    }

    /// We gave the contact our token: the time only moves forward, and a token
    /// that the contact gave us stays.
    pub(super) async fn touch_token(&self, jid: &str, sender_timestamp: i64) -> Result<()> {
        self.change_token(jid, |stored| {
            let mut token = stored.unwrap_or(TcToken {
                token: Vec::new(),
                token_timestamp: sender_timestamp,
                sender_timestamp: None,
            });
            let newest = token
                .sender_timestamp
                .map_or(sender_timestamp, |t| t.max(sender_timestamp));
            token.sender_timestamp = Some(newest);
            token
        })
        .await
    }

    /// The contact gave us a token: the newer one wins, and when we gave ours
    /// stays.
    pub(super) async fn receive_token(&self, jid: &str, token: &[u8], at: i64) -> Result<()> {
        self.change_token(jid, |stored| {
            let received = token.to_vec();
            match stored {
                Some(stored) if !stored.token.is_empty() && at < stored.token_timestamp => stored,
                Some(stored) => TcToken {
                    token: received,
                    token_timestamp: at,
                    ..stored
                },
                None => TcToken {
                    token: received,
                    token_timestamp: at,
                    sender_timestamp: None,
                },
            }
        })
        .await
    }

    /// Removes tokens of which neither half is of use any more.
    pub(super) async fn sweep_tokens(&self, token_cutoff: i64, sender_cutoff: i64) -> Result<u32> {
        self.sweep(Kind::TcTokens, |token: &TcToken| {
            let token_counts = !token.token.is_empty() && token.token_timestamp >= token_cutoff;
            let sender_counts = token.sender_timestamp.is_some_and(|at| at >= sender_cutoff);
            !token_counts && !sender_counts
        })
        .await
    }

    async fn change_token(
        &self,
        jid: &str,
        change: impl FnOnce(Option<TcToken>) -> TcToken,
    ) -> Result<()> {
        self.write(|files| {
            files.update(Kind::TcTokens, jid.as_bytes(), |stored| {
                let stored = stored.and_then(|stored| TcToken::decode(stored.value).ok());
                Some(Record::from(change(stored).encode_to_vec()))
            })?;
            Ok(())
        })
        .await
    }
}
