//! The handshake without I/O: XX, IK, and XXfallback after a failed IK.
//!
//! | Pattern | Client | Server | Client |
//! |---|---|---|---|
//! | XX, XXfallback | e | e, ee, s, es, certificates | s, se, payload |
//! | IK (server's s known) | e, es, s, ss, payload | e, ee, se, certificates | |

use prost::Message as _;
use proto::whatsapp::{ClientPayload, HandshakeMessage, handshake_message::ServerHello};
use tokio_tungstenite::tungstenite;

use super::{ServerIdentity, symmetric::Symmetric, transport::Transport};
use crate::{
    keys::KeyPair,
    wire::{FrameError, frame::INTRO},
};

/// How the keys were agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pattern {
    /// The client did not know the server.
    Xx,
    /// The client knew the server's static key.
    Ik,
    /// The client tried IK with a key that is not the server's.
    XxFallback,
}

impl Pattern {
    fn protocol(self) -> &'static str {
        match self {
            Pattern::Xx => "Noise_XX_25519_AESGCM_SHA256",
            Pattern::Ik => "Noise_IK_25519_AESGCM_SHA256",
            Pattern::XxFallback => "Noise_XXfallback_25519_AESGCM_SHA256",
        }
    }
}

/// Why there is no transport.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error("the WebSocket failed during the handshake")]
    WebSocket(#[from] tungstenite::Error),
    #[error("the client left during the handshake")]
    Closed,
    #[error("the client's bytes are no frames")]
    Frame(#[from] FrameError),
    #[error("the {0} is not a protobuf message")]
    NotProto(&'static str, #[source] prost::DecodeError),
    #[error("the handshake message lacks its {0}")]
    Missing(&'static str),
    #[error("the client's {0} is no usable key")]
    BadKey(&'static str),
    #[error("the client's {0} does not decrypt")]
    Decrypt(&'static str),
}

/// A finished handshake.
pub struct Established {
    pub transport: Transport,
    /// Who the client says it is.
    pub payload: ClientPayload,
}

/// What the client's first message leads to: bytes to send, and then either
/// the transport at once (IK) or the wait for the client's second message.
pub enum Step<'a> {
    Done(Vec<u8>, Box<Established>),
    Continue(Vec<u8>, Box<Handshake<'a>>),
}

/// One client's handshake.
///
/// The bytes are the frames' payloads: without length, in both directions.
pub struct Handshake<'a> {
    identity: &'a ServerIdentity,
    ephemeral: KeyPair,
    pattern: Pattern,
    state: Symmetric,
}

impl<'a> Handshake<'a> {
    /// Waits for a client's first message.
    pub fn new(identity: &'a ServerIdentity) -> Self {
        Self {
            identity,
            ephemeral: identity.ephemeral(),
            pattern: Pattern::Xx,
            state: Symmetric::new(Pattern::Xx.protocol(), &INTRO),
        }
    }

    /// Takes the client's first message.
    ///
    /// # Errors
    /// It is no `ClientHello`, or has unusable keys. An IK message that does
    /// not decrypt is no error: it is answered with XXfallback.
    pub fn hello(mut self, message: &[u8]) -> Result<Step<'a>, HandshakeError> {
        let hello = message_of(message)?
            .client_hello
            .ok_or(HandshakeError::Missing("client hello"))?;
        let theirs = key(hello.ephemeral.as_deref(), "ephemeral key")?;

        if let Some(sealed) = hello.r#static.as_deref() {
            if let Some(their_static) = self.read_ik(&theirs, sealed)? {
                return self.finish_ik(&theirs, &their_static, hello.payload.as_deref());
            }
            self.restart(Pattern::XxFallback);
        }
        self.state.mix_hash(&theirs);
        self.send_ephemeral(&theirs)?;
        let our_static = self.state.encrypt(self.identity.public());
        let secret = agree(self.identity.key(), &theirs, "ephemeral key")?;
        self.state.mix_key(&secret);
        let reply = self.reply(Some(our_static));
        Ok(Step::Continue(reply, Box::new(self)))
    }

    /// Takes the client's second message.
    ///
    /// # Errors
    /// It is no `ClientFinish`, or does not decrypt.
    pub fn finish(mut self, message: &[u8]) -> Result<Established, HandshakeError> {
        let finish = message_of(message)?
            .client_finish
            .ok_or(HandshakeError::Missing("client finish"))?;
        let theirs = self.decrypt(finish.r#static.as_deref(), "static key")?;
        let theirs = key(Some(&theirs), "static key")?;
        let secret = agree(&self.ephemeral, &theirs, "static key")?;
        self.state.mix_key(&secret);
        let payload = self.decrypt(finish.payload.as_deref(), "payload")?;
        self.establish(&payload, theirs)
    }

    /// Reads the client's static key from an IK hello. None if the hello was
    /// made for another server's key.
    fn read_ik(
        &mut self,
        theirs: &[u8; 32],
        sealed: &[u8],
    ) -> Result<Option<[u8; 32]>, HandshakeError> {
        self.restart(Pattern::Ik);
        self.state.mix_hash(self.identity.public());
        self.state.mix_hash(theirs);
        let secret = agree(self.identity.key(), theirs, "ephemeral key")?;
        self.state.mix_key(&secret);
        let their_static = self.state.decrypt(sealed);
        their_static
            .map(|bytes| key(Some(&bytes), "static key"))
            .transpose()
    }

    /// The rest of IK: everything is known after the client's first message.
    fn finish_ik(
        mut self,
        theirs: &[u8; 32],
        their_static: &[u8; 32],
        payload: Option<&[u8]>,
    ) -> Result<Step<'a>, HandshakeError> {
        let secret = agree(self.identity.key(), their_static, "static key")?;
        self.state.mix_key(&secret);
        let payload = self.decrypt(payload, "payload")?;

        self.send_ephemeral(theirs)?;
        let secret = agree(&self.ephemeral, their_static, "static key")?;
        self.state.mix_key(&secret);
        let reply = self.reply(None);
        let established = self.establish(&payload, *their_static)?;
        Ok(Step::Done(reply, Box::new(established)))
    }

    fn restart(&mut self, pattern: Pattern) {
        self.pattern = pattern;
        self.state = Symmetric::new(pattern.protocol(), &INTRO);
    }

    /// Our `e`, `ee`.
    fn send_ephemeral(&mut self, theirs: &[u8; 32]) -> Result<(), HandshakeError> {
        self.state.mix_hash(self.ephemeral.public());
        let secret = agree(&self.ephemeral, theirs, "ephemeral key")?;
        self.state.mix_key(&secret);
        Ok(())
    }

    fn reply(&mut self, our_static: Option<Vec<u8>>) -> Vec<u8> {
        let certificates = self.state.encrypt(self.identity.chain());
        HandshakeMessage {
            server_hello: Some(ServerHello {
                ephemeral: Some(self.ephemeral.public().to_vec()),
                r#static: our_static,
                payload: Some(certificates),
                extended_static: None,
            }),
            ..HandshakeMessage::default()
        }
        .encode_to_vec()
    }

    fn decrypt(
        &mut self,
        sealed: Option<&[u8]>,
        what: &'static str,
    ) -> Result<Vec<u8>, HandshakeError> {
        let sealed = sealed.ok_or(HandshakeError::Missing(what))?;
        self.state
            .decrypt(sealed)
            .ok_or(HandshakeError::Decrypt(what))
    }

    fn establish(self, payload: &[u8], client: [u8; 32]) -> Result<Established, HandshakeError> {
        let payload = ClientPayload::decode(payload)
            .map_err(|source| HandshakeError::NotProto("client payload", source))?;
        let (theirs, ours) = self.state.split();
        Ok(Established {
            transport: Transport::new(&ours, &theirs, client, self.pattern),
            payload,
        })
    }
}

fn message_of(bytes: &[u8]) -> Result<HandshakeMessage, HandshakeError> {
    HandshakeMessage::decode(bytes)
        .map_err(|source| HandshakeError::NotProto("handshake message", source))
}

fn key(bytes: Option<&[u8]>, what: &'static str) -> Result<[u8; 32], HandshakeError> {
    bytes
        .ok_or(HandshakeError::Missing(what))?
        .try_into()
        .map_err(|_| HandshakeError::BadKey(what))
}

fn agree(
    ours: &KeyPair,
    theirs: &[u8; 32],
    what: &'static str,
) -> Result<[u8; 32], HandshakeError> {
    ours.agree(theirs).ok_or(HandshakeError::BadKey(what))
}
