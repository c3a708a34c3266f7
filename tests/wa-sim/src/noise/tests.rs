//! The server against a client written for the purpose: every pattern, and
//! clients that do not play by the rules.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::LazyLock;

use futures::{SinkExt as _, StreamExt as _};
use prost::Message as _;
use proto::whatsapp::{
    CertChain, ClientPayload, HandshakeMessage,
    cert_chain::noise_certificate::Details,
    handshake_message::{ClientFinish, ClientHello},
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::io::DuplexStream;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

use super::{
    Handshake, HandshakeError, Pattern, ServerIdentity, Step, TransportError, accept,
    symmetric::{Symmetric, nonce},
};
use crate::{
    keys::KeyPair,
    signal::xeddsa,
    wire::{FrameReader, frame, frame::INTRO},
};

static SERVER: LazyLock<ServerIdentity> =
    LazyLock::new(|| ServerIdentity::generate(&mut StdRng::seed_from_u64(1)));

const USER: u64 = 15_550_001_111;

/// The initiator's side.
struct Client {
    ephemeral: KeyPair,
    identity: KeyPair,
    state: Symmetric,
}

impl Client {
    fn new(protocol: &str) -> Self {
        let rng = &mut StdRng::seed_from_u64(2);
        Self {
            ephemeral: KeyPair::generate(rng),
            identity: KeyPair::generate(rng),
            state: Symmetric::new(protocol, &INTRO),
        }
    }

    fn xx() -> Self {
        let mut client = Self::new("Noise_XX_25519_AESGCM_SHA256");
        client.state.mix_hash(client.ephemeral.public());
        client
    }

    fn hello(&self) -> ClientHello {
        ClientHello {
            ephemeral: Some(self.ephemeral.public().to_vec()),
            ..ClientHello::default()
        }
    }

    /// The first message of IK, for a server believed to have that key.
    fn ik(server: &[u8; 32]) -> (Self, ClientHello) {
        let mut client = Self::new("Noise_IK_25519_AESGCM_SHA256");
        client.state.mix_hash(server);
        client.state.mix_hash(client.ephemeral.public());
        client
            .state
            .mix_key(&client.ephemeral.agree(server).unwrap());
        let sealed = client.state.encrypt(client.identity.public());
        client
            .state
            .mix_key(&client.identity.agree(server).unwrap());
        let payload = client.state.encrypt(&login());
        let hello = ClientHello {
            r#static: Some(sealed),
            payload: Some(payload),
            ..client.hello()
        };
        (client, hello)
    }

    /// Reads the server's answer to XX and writes the last message.
    fn finish(&mut self, reply: &[u8]) -> Vec<u8> {
        let hello = HandshakeMessage::decode(reply)
            .unwrap()
            .server_hello
            .unwrap();
        let server_ephemeral = self.ratchet_ephemeral(&hello.ephemeral.unwrap());
        let server = self.state.decrypt(&hello.r#static.unwrap()).unwrap();
        let server: [u8; 32] = server.try_into().unwrap();
        assert_eq!(&server, SERVER.public());
        self.state.mix_key(&self.ephemeral.agree(&server).unwrap());
        check_chain(&self.state.decrypt(&hello.payload.unwrap()).unwrap());

        let sealed = self.state.encrypt(self.identity.public());
        self.state
            .mix_key(&self.identity.agree(&server_ephemeral).unwrap());
        let payload = self.state.encrypt(&login());
        HandshakeMessage {
            client_finish: Some(ClientFinish {
                r#static: Some(sealed),
                payload: Some(payload),
                extended_ciphertext: None,
            }),
            ..HandshakeMessage::default()
        }
        .encode_to_vec()
    }

    fn ratchet_ephemeral(&mut self, theirs: &[u8]) -> [u8; 32] {
        let theirs: [u8; 32] = theirs.try_into().unwrap();
        self.state.mix_hash(&theirs);
        self.state.mix_key(&self.ephemeral.agree(&theirs).unwrap());
        theirs
    }
}

fn login() -> Vec<u8> {
    ClientPayload {
        username: Some(USER),
        device: Some(3),
        ..ClientPayload::default()
    }
    .encode_to_vec()
}

fn check_chain(bytes: &[u8]) {
    let chain = CertChain::decode(bytes).unwrap();
    let (intermediate, leaf) = (chain.intermediate.unwrap(), chain.leaf.unwrap());
    let details = |bytes: &Option<Vec<u8>>| Details::decode(bytes.as_deref().unwrap()).unwrap();
    let (middle, end) = (details(&intermediate.details), details(&leaf.details));
    assert_eq!(
        (middle.issuer_serial, middle.serial),
        (Some(0), end.issuer_serial)
    );
    assert_eq!(end.key.as_deref(), Some(&SERVER.public()[..]));
    let issuer: [u8; 32] = middle.key.unwrap().try_into().unwrap();
    assert!(xeddsa::verify(
        SERVER.root(),
        &intermediate.details.unwrap(),
        &intermediate.signature.unwrap()
    ));
    assert!(xeddsa::verify(
        &issuer,
        &leaf.details.unwrap(),
        &leaf.signature.unwrap()
    ));
}

fn message(hello: ClientHello) -> Vec<u8> {
    HandshakeMessage {
        client_hello: Some(hello),
        ..HandshakeMessage::default()
    }
    .encode_to_vec()
}

/// Checks the outcome, and that both sides have the same transport keys.
fn check(established: super::Established, client: Client, pattern: Pattern) {
    let mut transport = established.transport;
    assert_eq!(established.payload.username, Some(USER));
    assert_eq!(established.payload.device, Some(3));
    assert_eq!(transport.pattern(), pattern);
    assert_eq!(transport.client_static(), client.identity.public());

    let (ours, theirs) = client.state.split();
    for counter in 0..3 {
        let sealed = seal(&ours, counter, b"to the server");
        assert_eq!(transport.open(&sealed).unwrap(), b"to the server");
        let framed = transport.seal(b"to the client");
        let (length, sealed) = framed.split_at(3);
        assert_eq!(length, &(sealed.len() as u32).to_be_bytes()[1..]);
        assert_eq!(sealed, seal(&theirs, counter, b"to the client"));
    }
    let repeated = seal(&ours, 0, b"again");
    assert_eq!(transport.open(&repeated), Err(TransportError::Decrypt(3)));
}

fn seal(key: &[u8; 32], counter: u32, plain: &[u8]) -> Vec<u8> {
    use aes_gcm::{Aes256Gcm, KeyInit, aead::Aead};
    Aes256Gcm::new(&(*key).into())
        .encrypt(&nonce(counter).into(), plain)
        .unwrap()
}

#[test]
fn a_stranger_connects_by_xx() {
    let mut client = Client::xx();
    let step = Handshake::new(&SERVER)
        .hello(&message(client.hello()))
        .unwrap();
    let Step::Continue(reply, handshake) = step else {
        panic!("XX needs a second message");
    };
    let established = handshake.finish(&client.finish(&reply)).unwrap();
    check(established, client, Pattern::Xx);
}

#[test]
fn an_acquaintance_connects_by_ik() {
    let (mut client, hello) = Client::ik(SERVER.public());
    let step = Handshake::new(&SERVER).hello(&message(hello)).unwrap();
    let Step::Done(reply, established) = step else {
        panic!("IK needs one message only");
    };
    let hello = HandshakeMessage::decode(&reply[..])
        .unwrap()
        .server_hello
        .unwrap();
    assert_eq!(hello.r#static, None);
    let server_ephemeral = client.ratchet_ephemeral(&hello.ephemeral.unwrap());
    client
        .state
        .mix_key(&client.identity.agree(&server_ephemeral).unwrap());
    check_chain(&client.state.decrypt(&hello.payload.unwrap()).unwrap());
    check(*established, client, Pattern::Ik);
}

#[test]
fn who_remembers_another_server_falls_back_to_xx() {
    let elsewhere = KeyPair::generate(&mut StdRng::seed_from_u64(9));
    let (mut client, hello) = Client::ik(elsewhere.public());
    let step = Handshake::new(&SERVER).hello(&message(hello)).unwrap();
    let Step::Continue(reply, handshake) = step else {
        panic!("the fallback needs a second message");
    };
    client.state = Symmetric::new("Noise_XXfallback_25519_AESGCM_SHA256", &INTRO);
    client.state.mix_hash(client.ephemeral.public());
    let established = handshake.finish(&client.finish(&reply)).unwrap();
    check(established, client, Pattern::XxFallback);
}

#[test]
fn unusable_hellos_are_refused() {
    let refused = |hello: ClientHello| match Handshake::new(&SERVER).hello(&message(hello)) {
        Err(error) => error,
        Ok(_) => panic!("the hello was accepted"),
    };
    let with = |ephemeral: Option<Vec<u8>>| ClientHello {
        ephemeral,
        ..ClientHello::default()
    };
    assert!(matches!(
        refused(with(None)),
        HandshakeError::Missing("ephemeral key")
    ));
    assert!(matches!(
        refused(with(Some(vec![1; 31]))),
        HandshakeError::BadKey("ephemeral key")
    ));
    // With this key, every shared secret is zero.
    assert!(matches!(
        refused(with(Some(vec![0; 32]))),
        HandshakeError::BadKey("ephemeral key")
    ));

    let (_, mut hello) = Client::ik(SERVER.public());
    hello.payload.as_mut().unwrap()[0] ^= 1;
    assert!(matches!(refused(hello), HandshakeError::Decrypt("payload")));
    let garbage = Handshake::new(&SERVER).hello(b"\xff\xff");
    assert!(matches!(
        garbage.err(),
        Some(HandshakeError::NotProto("handshake message", _))
    ));
}

#[test]
fn a_finish_of_another_handshake_is_refused() {
    let begin = |client: &Client| match Handshake::new(&SERVER).hello(&message(client.hello())) {
        Ok(Step::Continue(reply, handshake)) => (reply, handshake),
        _ => panic!("XX needs a second message"),
    };
    let mut client = Client::xx();
    let (reply, _) = begin(&client);
    let (_, other) = begin(&client);
    let error = other.finish(&client.finish(&reply)).err().unwrap();
    assert!(matches!(error, HandshakeError::Decrypt("static key")));
}

async fn websockets() -> (WebSocketStream<DuplexStream>, WebSocketStream<DuplexStream>) {
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    (
        WebSocketStream::from_raw_socket(ours, Role::Server, None).await,
        WebSocketStream::from_raw_socket(theirs, Role::Client, None).await,
    )
}

#[tokio::test]
async fn the_handshake_runs_on_a_websocket() {
    let (mut server, mut ws) = websockets().await;
    let initiator = async {
        let mut client = Client::xx();
        let hello = [&INTRO[..], &frame(&message(client.hello()))].concat();
        for byte in hello.chunks(20) {
            ws.send(Message::binary(byte.to_vec())).await.unwrap();
        }
        let reply = ws.next().await.unwrap().unwrap().into_data();
        let finish = frame(&client.finish(&reply[3..]));
        // The first encrypted frame follows in the same message.
        let (ours, _) = client.state.split();
        let early = frame(&seal(&ours, 0, b"early"));
        ws.send(Message::binary([finish, early].concat()))
            .await
            .unwrap();
    };
    let mut frames = FrameReader::new();
    let (accepted, ()) = tokio::join!(accept(&mut server, &mut frames, &SERVER), initiator);
    let (mut transport, payload) = accepted.unwrap();
    assert_eq!(payload.username, Some(USER));
    let early = frames.next_frame().unwrap().unwrap();
    assert_eq!(transport.open(&early).unwrap(), b"early");
}

#[tokio::test]
async fn who_leaves_or_talks_nonsense_is_an_error() {
    let (mut server, mut ws) = websockets().await;
    ws.send(Message::binary(b"WA\x06\x03\x00".to_vec()))
        .await
        .unwrap();
    ws.close(None).await.unwrap();
    let error = accept(&mut server, &mut FrameReader::new(), &SERVER)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, HandshakeError::Closed));

    let (mut server, mut ws) = websockets().await;
    ws.send(Message::binary(b"HELO".to_vec())).await.unwrap();
    let error = accept(&mut server, &mut FrameReader::new(), &SERVER)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, HandshakeError::Frame(_)));
}
