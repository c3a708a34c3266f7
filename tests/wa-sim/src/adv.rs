//! How a phone vouches for its linked devices ("advanced device verification").
//!
//! The phone's Signal identity is the account's key. Linking a device:
//!
//! 1. The device shows a QR code: [`parse_qr`].
//! 2. The phone signs the device's identity, and proves with the code's secret
//!    that it is the phone that scanned it: [`build_pair_success_identity`].
//! 3. The device signs back: [`verify_device_signature`]. What it signed goes
//!    into its prekey bundles: [`with_account_key`].
//!
//! Instead of scanning, the phone's owner may type a code: [`code`].
//!
//! Which devices an account has is signed too: [`signed_key_index_list`].
//!
//! Pure functions: who may link, and to what, is not decided here.

pub(crate) mod code;
mod qr;
#[cfg(test)]
mod tests;

use hmac::{Hmac, KeyInit, Mac};
use prost::Message as _;
use proto::whatsapp::{
    AdvDeviceIdentity, AdvEncryptionType, AdvKeyIndexList, AdvSignedDeviceIdentity,
    AdvSignedDeviceIdentityHmac, AdvSignedKeyIndexList,
};
use rand::CryptoRng;
use sha2::Sha256;

pub use self::code::WrongCode;
pub use self::qr::{Qr, QrError, parse_qr};
use crate::{keys::KeyPair, signal::xeddsa};

/// What a signature is about: the first two bytes of what is signed. The first
/// two are checked by clients; that of the list is the same family's next.
const ACCOUNT_SIGNATURE: [u8; 2] = [6, 0];
const DEVICE_SIGNATURE: [u8; 2] = [6, 1];
const KEY_INDEX_LIST_SIGNATURE: [u8; 2] = [6, 2];

/// Why a device's identity is not what the phone signed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum AdvError {
    #[error("the device identity is malformed")]
    Malformed,
    #[error("the account's signature is wrong")]
    AccountSignature,
    #[error("the device's signature is wrong")]
    DeviceSignature,
}

/// A device in the account's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceEntry {
    /// The same for all devices of an account, until the phone is replaced.
    pub raw_id: u32,
    /// Unix seconds.
    pub timestamp: u64,
    /// 1 for the first linked device; never used twice.
    pub key_index: u32,
}

/// The content of `<pair-success><device-identity>`: the phone's signature over
/// the new device's identity, under an HMAC with the QR code's secret.
pub fn build_pair_success_identity<R: CryptoRng + ?Sized>(
    account: &KeyPair,
    qr: &Qr,
    entry: DeviceEntry,
    rng: &mut R,
) -> Vec<u8> {
    let details = AdvDeviceIdentity {
        raw_id: Some(entry.raw_id),
        timestamp: Some(entry.timestamp),
        key_index: Some(entry.key_index),
        account_type: Some(AdvEncryptionType::E2ee.into()),
        device_type: Some(AdvEncryptionType::E2ee.into()),
    }
    .encode_to_vec();
    let signed = [&ACCOUNT_SIGNATURE[..], &details, &qr.identity].concat();
    let identity = AdvSignedDeviceIdentity {
        account_signature_key: Some(account.public().to_vec()),
        account_signature: Some(xeddsa::sign(account, &signed, rng).to_vec()),
        device_signature: None,
        details: Some(details),
    }
    .encode_to_vec();
    let mac = Hmac::<Sha256>::new_from_slice(qr.adv_secret())
        .expect("HMAC takes keys of any length")
        .chain_update(&identity)
        .finalize()
        .into_bytes();
    AdvSignedDeviceIdentityHmac {
        details: Some(identity),
        hmac: Some(mac.to_vec()),
        account_type: None,
    }
    .encode_to_vec()
}

/// Checks the content of `<pair-device-sign><device-identity>`: that the device
/// with that identity key signed exactly what the account signed.
///
/// Clients may leave the account's key out.
///
/// # Errors
/// See [`AdvError`].
pub fn verify_device_signature(
    account: &[u8; 32],
    device: &[u8; 32],
    signed_identity: &[u8],
) -> Result<DeviceEntry, AdvError> {
    let identity =
        AdvSignedDeviceIdentity::decode(signed_identity).map_err(|_| AdvError::Malformed)?;
    let details = identity.details.as_deref().ok_or(AdvError::Malformed)?;

    let by_account = [&ACCOUNT_SIGNATURE[..], details, device].concat();
    let signature = identity.account_signature.as_deref().unwrap_or_default();
    if !xeddsa::verify(account, &by_account, signature) {
        return Err(AdvError::AccountSignature);
    }
    let by_device = [&DEVICE_SIGNATURE[..], details, device, account].concat();
    let signature = identity.device_signature.as_deref().unwrap_or_default();
    if !xeddsa::verify(device, &by_device, signature) {
        return Err(AdvError::DeviceSignature);
    }

    let details = AdvDeviceIdentity::decode(details).map_err(|_| AdvError::Malformed)?;
    Ok(DeviceEntry {
        raw_id: details.raw_id.ok_or(AdvError::Malformed)?,
        timestamp: details.timestamp.ok_or(AdvError::Malformed)?,
        key_index: details.key_index.ok_or(AdvError::Malformed)?,
    })
}

/// A device's identity with the account's key in it, as prekey bundles carry
/// it for those who do not know the account yet.
///
/// # Errors
/// [`AdvError::Malformed`]
pub fn with_account_key(signed_identity: &[u8], account: &[u8; 32]) -> Result<Vec<u8>, AdvError> {
    let mut identity =
        AdvSignedDeviceIdentity::decode(signed_identity).map_err(|_| AdvError::Malformed)?;
    identity.account_signature_key = Some(account.to_vec());
    Ok(identity.encode_to_vec())
}

/// The content of `<key-index-list>`: which linked devices the account has.
///
/// `current` is the highest key index ever given out; `valid` those in use.
pub fn signed_key_index_list<R: CryptoRng + ?Sized>(
    account: &KeyPair,
    raw_id: u32,
    timestamp: u64,
    current: u32,
    valid: &[u32],
    rng: &mut R,
) -> Vec<u8> {
    let details = AdvKeyIndexList {
        raw_id: Some(raw_id),
        timestamp: Some(timestamp),
        current_index: Some(current),
        valid_indexes: valid.to_vec(),
        account_type: Some(AdvEncryptionType::E2ee.into()),
    }
    .encode_to_vec();
    let signed = [&KEY_INDEX_LIST_SIGNATURE[..], &details].concat();
    AdvSignedKeyIndexList {
        account_signature: Some(xeddsa::sign(account, &signed, rng).to_vec()),
        account_signature_key: Some(account.public().to_vec()),
        details: Some(details),
    }
    .encode_to_vec()
}
