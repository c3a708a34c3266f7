//! Pictures that a phone sends: encrypted, put on the media host, and named in
//! a message.

use std::sync::Arc;

use aes::Aes256;
use aes::cipher::KeyInit as _;
use cbc::cipher::{BlockModeEncrypt as _, KeyIvInit as _, block_padding::Pkcs7};
use hkdf::Hkdf;
use hmac::{Hmac, Mac as _};
use proto::whatsapp::{Message, message::ImageMessage};
use rand::RngExt as _;
use sha2::{Digest as _, Sha256};

use super::{Phone, PhoneError};

/// From which a picture's keys are made.
const IMAGE_KEYS: &[u8] = b"WhatsApp Image Keys";
const KEYS_BYTES: usize = 112;
const MAC_BYTES: usize = 10;

impl Phone {
    /// Sends a picture to a number: any bytes, said to be a JPEG. Returns the
    /// message's id.
    ///
    /// # Errors
    /// As [`Phone::send_text`].
    pub fn send_picture(&self, to: &str, content: &[u8]) -> Result<String, PhoneError> {
        let mut state = self.inner.state.lock();
        let key: [u8; 32] = state.rng.random();
        let file = encrypted(IMAGE_KEYS, &key, content);
        let hash = Sha256::digest(&file);
        let direct_path = self.inner.media.put(hex::encode(hash), file.into());
        let image = ImageMessage {
            mimetype: Some("image/jpeg".to_owned()),
            file_sha256: Some(Sha256::digest(content).to_vec()),
            file_length: Some(content.len() as u64),
            media_key: Some(key.to_vec()),
            file_enc_sha256: Some(hash.to_vec()),
            direct_path: Some(direct_path),
            ..ImageMessage::default()
        };
        let message = Message {
            image_message: Some(image),
            ..Message::default()
        };
        let (id, to) = self.send_content(&mut state, to, &message, "media")?;
        state.files.insert(id.clone(), (Arc::clone(&to), message));
        Ok(id)
    }
}

/// As the media host keeps it: AES-256-CBC, and the start of an HMAC.
pub(super) fn encrypted(info: &[u8], key: &[u8; 32], plain: &[u8]) -> Vec<u8> {
    let mut keys = [0; KEYS_BYTES];
    Hkdf::<Sha256>::new(None, key)
        .expand(info, &mut keys)
        .expect("the output is not too long");
    let (iv, rest) = keys.split_at(16);
    let (cipher_key, rest) = rest.split_at(32);
    let mac_key = &rest[..32];
    let cipher = cbc::Encryptor::<Aes256>::new_from_slices(cipher_key, iv)
        .expect("key and vector have their sizes");
    let mut file = cipher.encrypt_padded_vec::<Pkcs7>(plain);
    let mut mac = Hmac::<Sha256>::new_from_slice(mac_key).expect("HMAC takes keys of any length");
    mac.update(iv);
    mac.update(&file);
    file.extend_from_slice(&mac.finalize().into_bytes()[..MAC_BYTES]);
    file
}
