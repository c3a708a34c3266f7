//! A code that is typed on a phone, as devices and phones agree on it.

use tokio::sync::oneshot;

use super::{
    pairing::{PairError, fresh_ref},
    session::{Command, Reply, SessionId, Stage},
    stanza::{SERVER, fresh_id},
    world::World,
};
use crate::{adv::code::WRAPPED_BYTES, wire::Node};

/// The stanza by which devices and phones agree on a code.
pub(super) const LINK_CODE: &str = "link_code_companion_reg";

/// A code that a device shows, to be typed on a phone.
#[derive(Debug)]
pub(super) struct CodeWait {
    ref_: String,
    /// The number of the phone that it waits for.
    number: String,
    wrapped_ephemeral: [u8; WRAPPED_BYTES],
    /// Gets its answer to the phone.
    finish: Option<oneshot::Sender<CodeFinish>>,
}

/// A device that waits for its code to be typed.
pub(crate) struct CodeOffer {
    session: SessionId,
    pub(crate) ref_: String,
    pub(crate) noise: [u8; 32],
    pub(crate) wrapped_ephemeral: [u8; WRAPPED_BYTES],
}

/// How a device answers a phone where its code was typed.
#[derive(Debug)]
pub(crate) struct CodeFinish {
    pub(crate) bundle: Vec<u8>,
    pub(crate) identity: [u8; 32],
}

impl World {
    /// The device that waits for a code to be typed on this phone: the latest.
    pub(crate) fn code_offer(&self, number: &str) -> Result<CodeOffer, PairError> {
        let waiting = self.sessions.iter().filter_map(|(id, session)| {
            let Stage::Pairing(candidate) = &session.stage else {
                return None;
            };
            let code = candidate.code.as_ref()?;
            (code.number == number).then(|| CodeOffer {
                session: *id,
                ref_: code.ref_.clone(),
                noise: candidate.noise_key,
                wrapped_ephemeral: code.wrapped_ephemeral,
            })
        });
        let latest = waiting.max_by_key(|offer| offer.session);
        latest.ok_or(PairError::NoCode)
    }

    /// A code was typed: tells the device. The receiver gets its answer.
    pub(crate) fn code_typed(
        &mut self,
        offer: &CodeOffer,
        wrapped_ephemeral: Vec<u8>,
        account: &[u8; 32],
    ) -> Result<oneshot::Receiver<CodeFinish>, PairError> {
        let session = self
            .sessions
            .get_mut(&offer.session)
            .ok_or(PairError::ClientLeft)?;
        let Stage::Pairing(candidate) = &mut session.stage else {
            return Err(PairError::NoCode);
        };
        let code = candidate.code.as_mut().ok_or(PairError::NoCode)?;
        let (finish, answer) = oneshot::channel();
        code.finish = Some(finish);
        let hello = Node::new(LINK_CODE)
            .attr("stage", "primary_hello")
            .child(
                Node::new("link_code_pairing_wrapped_primary_ephemeral_pub")
                    .bytes(wrapped_ephemeral),
            )
            .child(Node::new("primary_identity_pub").bytes(*account))
            .child(Node::new("link_code_pairing_ref").bytes(code.ref_.as_str()));
        let node = Node::new("notification")
            .attr("from", SERVER)
            .attr("type", LINK_CODE)
            .attr("id", fresh_id(""))
            .attr("t", self.clock.stamp().to_string())
            .child(hello);
        session
            .commands
            .try_send(Command::Send(node))
            .map_err(|_| PairError::ClientLeft)?;
        Ok(answer)
    }

    /// A device that is not linked yet says something about its code.
    pub(super) fn receive_code(&mut self, id: SessionId, query: &Node, said: &Node) -> Vec<Reply> {
        let refused = || vec![Reply::Send(super::stanza::error(query, 400, "bad-request"))];
        let Some(session) = self.sessions.get_mut(&id) else {
            return Vec::new();
        };
        let Stage::Pairing(candidate) = &mut session.stage else {
            return Vec::new();
        };
        let data = |tag: &str| said.find(tag).map(Node::data).unwrap_or_default();
        match said.get("stage") {
            Some("companion_hello") => {
                let wrapped = data("link_code_pairing_wrapped_companion_ephemeral_pub");
                let number = said.get("jid").and_then(|jid| jid.split('@').next());
                let (Ok(wrapped_ephemeral), Some(number)) = (wrapped.try_into(), number) else {
                    return refused();
                };
                let ref_ = fresh_ref();
                candidate.code = Some(CodeWait {
                    ref_: ref_.clone(),
                    number: number.to_owned(),
                    wrapped_ephemeral,
                    finish: None,
                });
                self.refs.insert(ref_.clone(), id);
                self.changed();
                let answer = Node::new(LINK_CODE)
                    .attr("stage", "companion_hello")
                    .child(Node::new("link_code_pairing_ref").bytes(ref_));
                vec![Reply::Send(super::stanza::result(query).child(answer))]
            }
            Some("companion_finish") => {
                let Ok(identity) = data("companion_identity_public").try_into() else {
                    return refused();
                };
                let finish = CodeFinish {
                    bundle: data("link_code_pairing_wrapped_key_bundle").to_vec(),
                    identity,
                };
                let waiting = candidate.code.as_mut().and_then(|code| code.finish.take());
                match waiting.map(|waiting| waiting.send(finish)) {
                    Some(Ok(())) => vec![Reply::Send(super::stanza::result(query))],
                    // The phone has given up.
                    Some(Err(_)) | None => refused(),
                }
            }
            Some(_) | None => refused(),
        }
    }
}
