//! A small client for these tests: pairs, logs in, and sends what it is told,
//! also what no good client would. The server's own modules do the codec and
//! Signal; the handshake's client side is here.
#![allow(unreachable_pub, reason = "shared by test programs")]

use std::net::SocketAddr;
use std::time::Duration;

use aes_gcm::{Aes256Gcm, KeyInit as _, Nonce, aead::Aead as _, aead::Payload};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use futures::{SinkExt as _, StreamExt as _};
use hkdf::Hkdf;
use prost::Message as _;
use proto::whatsapp::{
    AdvSignedDeviceIdentity, AdvSignedDeviceIdentityHmac, ClientPayload, HandshakeMessage, Message,
    client_payload::DevicePairingRegistrationData,
    handshake_message::{ClientFinish, ClientHello},
    message::DeviceSentMessage,
};
use rand::{SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async, tungstenite};
use wa_sim::{
    Phone, Sim,
    keys::KeyPair,
    server::DeviceId,
    signal::{PreKeyBundle, SignalDevice, unpad, xeddsa},
    wire::{self, FrameReader, Jid, Node, frame, frame::INTRO},
};

/// For whatever is waited for.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A linked client's keys and address. It survives its connections.
pub struct Client {
    url: String,
    noise: KeyPair,
    pub signal: SignalDevice,
    pub device: DeviceId,
    rng: StdRng,
}

impl Client {
    /// A client that the phone has scanned.
    pub async fn pair(sim: &Sim, phone: &Phone) -> Self {
        let rng = &mut StdRng::seed_from_u64(7);
        let noise = KeyPair::generate(rng);
        let mut signal = SignalDevice::generate(rng);
        let bundle = signal.bundle();
        let payload = registration(&bundle);
        let mut link = Link::open(&sim.url(), &noise, &payload, rng)
            .await
            .expect("handshake");
        let invitation = link.expect("iq").await;
        let refs = invitation.find("pair-device").expect("pair-device");
        assert_eq!(refs.find_all("ref").count(), 6);
        link.send(
            Node::new("iq")
                .attr("type", "result")
                .attr("id", id_of(&invitation)),
        )
        .await;

        let text = std::str::from_utf8(refs.find("ref").expect("ref").data()).expect("text");
        let base64 = |bytes: &[u8]| BASE64_STANDARD.encode(bytes);
        let code = format!(
            "https://example.org/#{text},{},{},{},1",
            base64(noise.public()),
            base64(&bundle.identity),
            base64(&[9; 32])
        );
        let sign = async {
            let success = link.expect("iq").await;
            let identity = success
                .find("pair-success")
                .and_then(|success| success.find("device-identity"))
                .expect("identity");
            let signed = countersigned(identity.data(), signal.identity());
            link.send(
                Node::new("iq")
                    .attr("type", "result")
                    .attr("id", id_of(&success))
                    .child(
                        Node::new("pair-device-sign").child(
                            Node::new("device-identity")
                                .attr("key-index", "1")
                                .bytes(signed),
                        ),
                    ),
            )
            .await;
            let restart = link.expect("stream:error").await;
            assert_eq!(restart.get("code"), Some("515"));
        };
        let (device, ()) = tokio::join!(phone.scan(&code), sign);
        Self {
            url: sim.url(),
            noise,
            signal,
            device: device.expect("paired"),
            rng: StdRng::seed_from_u64(8),
        }
    }

    fn login(&self) -> ClientPayload {
        ClientPayload {
            username: self.device.account.parse().ok(),
            device: Some(self.device.device.into()),
            passive: Some(true),
            lid_db_migrated: Some(false),
            ..ClientPayload::default()
        }
    }

    /// Opens a connection and says who it is; nothing is read after that.
    pub async fn knock(&mut self) -> Result<Link, tungstenite::Error> {
        let payload = self.login();
        Link::open(&self.url, &self.noise, &payload, &mut self.rng).await
    }

    /// As [`Client::knock`], with another's Noise key.
    pub async fn knock_as_impostor(&mut self) -> Link {
        let noise = KeyPair::generate(&mut self.rng);
        let payload = self.login();
        Link::open(&self.url, &noise, &payload, &mut self.rng)
            .await
            .expect("handshake")
    }

    /// Logs in.
    pub async fn connect(&mut self) -> Link {
        let mut link = self.knock().await.expect("handshake");
        link.expect("success").await;
        link
    }

    /// Logs in, asks for what waits, and returns it.
    pub async fn connect_active(&mut self) -> (Link, Vec<Node>) {
        let mut link = self.connect().await;
        let waiting = link.activate().await;
        (link, waiting)
    }

    /// Decrypts a delivered message.
    pub fn open(&mut self, message: &Node) -> Message {
        let encrypted = message.find("enc").expect("enc");
        let kind = encrypted.get("type").expect("type").parse().expect("kind");
        let sender = message.get("from").expect("from");
        let padded = self.signal.decrypt(sender, kind, encrypted.data());
        Message::decode(unpad(&padded.expect("readable")).expect("padded")).expect("message")
    }

    /// The text of a delivered message.
    pub fn read(&mut self, message: &Node) -> String {
        self.open(message).conversation.expect("a text")
    }

    /// A message to a number's phone, and the copy for one's own.
    pub async fn text(&mut self, link: &mut Link, to: &str, id: &str, text: &str) -> Node {
        let content = Message {
            conversation: Some(text.to_owned()),
            ..Message::default()
        };
        let copy = Message {
            device_sent_message: Some(Box::new(DeviceSentMessage {
                destination_jid: Some(Jid::pn(to).to_string()),
                message: Some(Box::new(content.clone())),
                phash: None,
            })),
            ..Message::default()
        };
        let own = self.device.account.to_string();
        let theirs = self.encrypted(link, &Jid::pn(to), &content).await;
        let ours = self.encrypted(link, &Jid::pn(own), &copy).await;
        Node::new("message")
            .attr("id", id)
            .attr("to", Jid::pn(to).to_string())
            .attr("type", "text")
            .child(Node::new("participants").child(theirs).child(ours))
    }

    /// `<to><enc>` for a phone; fetches its bundle if there is no session.
    pub async fn encrypted(&mut self, link: &mut Link, to: &Jid, content: &Message) -> Node {
        let address = to.to_string();
        if !self.signal.has_session(&address) {
            let bundle = link.bundle(&address).await.expect("bundle");
            self.signal
                .start_session(&address, &bundle)
                .expect("session");
        }
        let padded = self.signal.pad(&content.encode_to_vec());
        let ciphertext = self.signal.encrypt(&address, &padded).expect("encrypted");
        Node::new("to").attr("jid", &address).child(
            Node::new("enc")
                .attr("v", "2")
                .attr("type", ciphertext.kind.as_str())
                .bytes(ciphertext.bytes),
        )
    }
}

/// A delivery receipt for a message.
pub fn receipt(message: &Node) -> Node {
    Node::new("receipt")
        .attr("id", id_of(message))
        .attr("to", message.get("from").expect("from"))
}

/// The id of a stanza.
pub fn id_of(node: &Node) -> &str {
    node.get("id").expect("id")
}

/// One connection, past the handshake.
pub struct Link {
    ws: WebSocketStream<MaybeTlsStream<TcpStream>>,
    frames: FrameReader,
    seal: Cipher,
    open: Cipher,
    queries: u32,
}

impl Link {
    /// Where the server sees it come from.
    pub fn address(&self) -> SocketAddr {
        let MaybeTlsStream::Plain(tcp) = self.ws.get_ref() else {
            unreachable!("there is no TLS here");
        };
        tcp.local_addr().unwrap()
    }

    async fn open(
        url: &str,
        noise: &KeyPair,
        payload: &ClientPayload,
        rng: &mut StdRng,
    ) -> Result<Self, tungstenite::Error> {
        let (mut ws, _) = connect_async(url).await?;
        let mut frames = FrameReader::new();
        // The reader expects a client's opening; servers send none.
        frames.feed(&INTRO);

        let ephemeral = KeyPair::generate(rng);
        let mut state = Symmetric::new();
        state.mix_hash(ephemeral.public());
        let hello = HandshakeMessage {
            client_hello: Some(ClientHello {
                ephemeral: Some(ephemeral.public().to_vec()),
                ..ClientHello::default()
            }),
            ..HandshakeMessage::default()
        };
        let mut opening = INTRO.to_vec();
        opening.extend(frame(&hello.encode_to_vec()));
        ws.send(tungstenite::Message::binary(opening)).await?;

        let reply = read_frame(&mut ws, &mut frames).await?;
        let hello = HandshakeMessage::decode(&reply[..])
            .expect("handshake")
            .server_hello
            .expect("hello");
        let theirs: [u8; 32] = hello.ephemeral.expect("e").try_into().expect("key");
        state.mix_hash(&theirs);
        state.mix_key(&ephemeral.agree(&theirs).expect("ee"));
        let server: [u8; 32] = state
            .decrypt(&hello.r#static.expect("s"))
            .try_into()
            .expect("key");
        state.mix_key(&ephemeral.agree(&server).expect("es"));
        state.decrypt(&hello.payload.expect("certificates"));

        let sealed = state.encrypt(noise.public());
        state.mix_key(&noise.agree(&theirs).expect("se"));
        let payload = state.encrypt(&payload.encode_to_vec());
        let finish = HandshakeMessage {
            client_finish: Some(ClientFinish {
                r#static: Some(sealed),
                payload: Some(payload),
                ..ClientFinish::default()
            }),
            ..HandshakeMessage::default()
        };
        let finish = tungstenite::Message::binary(frame(&finish.encode_to_vec()));
        ws.send(finish).await?;
        let [seal, open] = state.split();
        Ok(Self {
            ws,
            frames,
            seal,
            open,
            queries: 0,
        })
    }

    /// Sends a stanza. A connection that is gone shows when it is read from.
    pub async fn send(&mut self, node: Node) {
        let mut plain = vec![0];
        plain.extend(wire::encode(&node));
        let sealed = self.seal.encrypt(&[], &plain);
        let _ = self
            .ws
            .send(tungstenite::Message::binary(frame(&sealed)))
            .await;
    }

    /// The next stanza; none when the connection is over.
    pub async fn next(&mut self) -> Option<Node> {
        let frame = timeout(DEADLINE, read_frame(&mut self.ws, &mut self.frames));
        let frame = frame.await.expect("a stanza in time").ok()?;
        let plain = self.open.decrypt(&[], &frame);
        let node = wire::decode(&wire::unpack(&plain).expect("flag")).expect("node");
        Some(node)
    }

    /// The next stanza of that tag; others are passed over.
    pub async fn expect(&mut self, tag: &str) -> Node {
        loop {
            let node = self.next().await.expect("the connection goes on");
            if node.tag == tag {
                return node;
            }
        }
    }

    /// Waits until the connection is over.
    pub async fn expect_end(&mut self) {
        while self.next().await.is_some() {}
    }

    /// Asks, and waits for the answer.
    pub async fn query(&mut self, xmlns: &str, kind: &str, content: Vec<Node>) -> Node {
        self.queries += 1;
        let id = format!("q{}", self.queries);
        let query = Node::new("iq")
            .attr("to", "s.whatsapp.net")
            .attr("xmlns", xmlns)
            .attr("type", kind)
            .attr("id", &id)
            .children(content);
        self.send(query).await;
        loop {
            let answer = self.expect("iq").await;
            if answer.get("id") == Some(&id) {
                return answer;
            }
        }
    }

    /// Asks to be active, and returns what waited.
    pub async fn activate(&mut self) -> Vec<Node> {
        self.query("passive", "set", vec![Node::new("active")])
            .await;
        let mut waiting = Vec::new();
        loop {
            let node = self.next().await.expect("the connection goes on");
            let mark = node
                .find("offline")
                .or_else(|| node.find("offline_preview"));
            match mark {
                Some(mark) if mark.tag == "offline" => return waiting,
                Some(_) => {}
                None => waiting.push(node),
            }
        }
    }

    /// A device's bundle; none if there is no such device.
    pub async fn bundle(&mut self, jid: &str) -> Option<PreKeyBundle> {
        let asked = Node::new("key").child(Node::new("user").attr("jid", jid));
        let answer = self.query("encrypt", "get", vec![asked]).await;
        let user = answer.find("list")?.find("user")?;
        let bytes = |node: &Node, tag: &str| node.find(tag).map(|node| node.data().to_vec());
        let id = |node: &Node| {
            let id = bytes(node, "id").expect("id");
            id.iter().fold(0, |id, byte| id << 8 | u32::from(*byte))
        };
        let key = |node: &Node| {
            bytes(node, "value")
                .expect("value")
                .try_into()
                .expect("key")
        };
        let signed = user.find("skey")?;
        let signature = bytes(signed, "signature")?.try_into().expect("signature");
        let registration = bytes(user, "registration")?.try_into().expect("four bytes");
        Some(PreKeyBundle {
            registration_id: u32::from_be_bytes(registration),
            identity: bytes(user, "identity")?.try_into().expect("key"),
            signed_prekey: (id(signed), key(signed), signature),
            prekey: user.find("key").map(|prekey| (id(prekey), key(prekey))),
        })
    }
}

async fn read_frame(
    ws: &mut WebSocketStream<MaybeTlsStream<TcpStream>>,
    frames: &mut FrameReader,
) -> Result<Vec<u8>, tungstenite::Error> {
    loop {
        if let Some(frame) = frames.next_frame().expect("frames") {
            return Ok(frame);
        }
        match ws.next().await {
            Some(Ok(tungstenite::Message::Binary(bytes))) => frames.feed(&bytes),
            Some(Ok(tungstenite::Message::Close(_))) | None => {
                return Err(tungstenite::Error::ConnectionClosed);
            }
            Some(Ok(_)) => {}
            Some(Err(error)) => return Err(error),
        }
    }
}

fn registration(bundle: &PreKeyBundle) -> ClientPayload {
    let (id, value, signature) = bundle.signed_prekey;
    ClientPayload {
        device_pairing_data: Some(DevicePairingRegistrationData {
            e_regid: Some(bundle.registration_id.to_be_bytes().to_vec()),
            e_keytype: Some(vec![5]),
            e_ident: Some(bundle.identity.to_vec()),
            e_skey_id: Some(id.to_be_bytes()[1..].to_vec()),
            e_skey_val: Some(value.to_vec()),
            e_skey_sig: Some(signature.to_vec()),
            ..DevicePairingRegistrationData::default()
        }),
        ..ClientPayload::default()
    }
}

/// The phone's identity with the device's signature added.
fn countersigned(identity: &[u8], device: &KeyPair) -> Vec<u8> {
    let hmac = AdvSignedDeviceIdentityHmac::decode(identity).expect("hmac");
    let mut signed =
        AdvSignedDeviceIdentity::decode(&hmac.details.expect("details")[..]).expect("identity");
    let account = signed.account_signature_key.take().expect("account key");
    let details = signed.details.clone().expect("details");
    let text = [&[6, 1][..], &details, device.public(), &account].concat();
    let signature = xeddsa::sign(device, &text, &mut StdRng::seed_from_u64(9));
    signed.device_signature = Some(signature.to_vec());
    signed.encode_to_vec()
}

/// Noise's state, client side.
struct Symmetric {
    chain: [u8; 32],
    hash: [u8; 32],
    cipher: Cipher,
}

impl Symmetric {
    fn new() -> Self {
        let name = *b"Noise_XX_25519_AESGCM_SHA256\0\0\0\0";
        let mut state = Self {
            chain: name,
            hash: name,
            cipher: Cipher::new(&name),
        };
        state.mix_hash(&INTRO);
        state
    }

    fn mix_hash(&mut self, data: &[u8]) {
        let hash = Sha256::new().chain_update(self.hash).chain_update(data);
        self.hash = hash.finalize().into();
    }

    fn mix_key(&mut self, secret: &[u8]) {
        let [chain, key] = self.derive(secret);
        self.chain = chain;
        self.cipher = Cipher::new(&key);
    }

    fn derive(&self, secret: &[u8]) -> [[u8; 32]; 2] {
        let mut bytes = [0; 64];
        Hkdf::<Sha256>::new(Some(&self.chain), secret)
            .expand(&[], &mut bytes)
            .expect("two keys");
        let (first, second) = bytes.split_at(32);
        [first, second].map(|key| key.try_into().expect("32 bytes"))
    }

    fn encrypt(&mut self, plain: &[u8]) -> Vec<u8> {
        let sealed = self.cipher.encrypt(&self.hash, plain);
        self.mix_hash(&sealed);
        sealed
    }

    fn decrypt(&mut self, sealed: &[u8]) -> Vec<u8> {
        let plain = self.cipher.decrypt(&self.hash, sealed);
        self.mix_hash(sealed);
        plain
    }

    fn split(self) -> [Cipher; 2] {
        self.derive(&[]).map(|key| Cipher::new(&key))
    }
}

struct Cipher {
    aes: Aes256Gcm,
    counter: u32,
}

impl Cipher {
    fn new(key: &[u8; 32]) -> Self {
        Self {
            aes: Aes256Gcm::new(&(*key).into()),
            counter: 0,
        }
    }

    fn nonce(&mut self) -> [u8; 12] {
        let mut nonce = [0; 12];
        nonce[8..].copy_from_slice(&self.counter.to_be_bytes());
        self.counter += 1;
        nonce
    }

    fn encrypt(&mut self, aad: &[u8], msg: &[u8]) -> Vec<u8> {
        let nonce = Nonce::from(self.nonce());
        self.aes
            .encrypt(&nonce, Payload { msg, aad })
            .expect("sealed")
    }

    fn decrypt(&mut self, aad: &[u8], msg: &[u8]) -> Vec<u8> {
        let nonce = Nonce::from(self.nonce());
        self.aes
            .decrypt(&nonce, Payload { msg, aad })
            .expect("opened")
    }
}
