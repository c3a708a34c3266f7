//! Linking, played through by a phone and a device.
#![allow(clippy::unwrap_used, reason = "tests")]

use base64::{Engine as _, prelude::BASE64_STANDARD};
use rand::{Rng as _, SeedableRng, rngs::StdRng};

use super::*;

const ENTRY: DeviceEntry = DeviceEntry {
    raw_id: 7,
    timestamp: 1_700_000_000,
    key_index: 1,
};

/// A device that is being linked: what it does in steps 1 and 3.
struct Device {
    noise: KeyPair,
    identity: KeyPair,
    secret: [u8; 32],
}

impl Device {
    fn generate(rng: &mut StdRng) -> Self {
        let mut secret = [0; 32];
        rng.fill_bytes(&mut secret);
        Self {
            noise: KeyPair::generate(rng),
            identity: KeyPair::generate(rng),
            secret,
        }
    }

    fn code(&self) -> String {
        let [noise, identity, secret] = [self.noise.public(), self.identity.public(), &self.secret]
            .map(|bytes| BASE64_STANDARD.encode(bytes));
        format!("2@ref,{noise},{identity},{secret}")
    }

    fn sign(&self, pair_success: &[u8], account: &[u8; 32], rng: &mut StdRng) -> Vec<u8> {
        let outer = AdvSignedDeviceIdentityHmac::decode(pair_success).unwrap();
        let inner = outer.details.unwrap();
        Hmac::<Sha256>::new_from_slice(&self.secret)
            .unwrap()
            .chain_update(&inner)
            .verify_slice(&outer.hmac.unwrap())
            .unwrap();
        let mut identity = AdvSignedDeviceIdentity::decode(&inner[..]).unwrap();
        let details = identity.details.clone().unwrap();
        let message = [&[6, 1][..], &details, self.identity.public(), account].concat();
        identity.device_signature = Some(xeddsa::sign(&self.identity, &message, rng).to_vec());
        identity.account_signature_key = None;
        identity.encode_to_vec()
    }
}

#[test]
fn a_device_signs_what_the_phone_signed() {
    let rng = &mut StdRng::seed_from_u64(1);
    let account = KeyPair::generate(rng);
    let device = Device::generate(rng);

    let qr = parse_qr(&device.code()).unwrap();
    let success = build_pair_success_identity(&account, &qr, ENTRY, rng);
    let signed = device.sign(&success, account.public(), rng);
    let verified = verify_device_signature(account.public(), device.identity.public(), &signed);
    assert_eq!(verified, Ok(ENTRY));

    let full = with_account_key(&signed, account.public()).unwrap();
    let identity = AdvSignedDeviceIdentity::decode(&full[..]).unwrap();
    assert_eq!(
        identity.account_signature_key.as_deref(),
        Some(&account.public()[..])
    );
    assert!(identity.device_signature.is_some());
}

#[test]
fn forged_identities_are_refused() {
    let rng = &mut StdRng::seed_from_u64(2);
    let account = KeyPair::generate(rng);
    let (device, other) = (Device::generate(rng), Device::generate(rng));
    let qr = parse_qr(&device.code()).unwrap();
    let success = build_pair_success_identity(&account, &qr, ENTRY, rng);

    let signed = device.sign(&success, account.public(), rng);
    let verify = |account: &KeyPair, device: &Device, signed: &[u8]| {
        verify_device_signature(account.public(), device.identity.public(), signed)
    };
    assert_eq!(
        verify(&account, &other, &signed),
        Err(AdvError::AccountSignature)
    );
    assert_eq!(
        verify(&other.identity, &device, &signed),
        Err(AdvError::AccountSignature)
    );
    let for_another_account = device.sign(&success, other.identity.public(), rng);
    assert_eq!(
        verify(&account, &device, &for_another_account),
        Err(AdvError::DeviceSignature)
    );
    assert_eq!(verify(&account, &device, b"\xff"), Err(AdvError::Malformed));
}

#[test]
fn the_device_list_is_signed_by_the_account() {
    let rng = &mut StdRng::seed_from_u64(3);
    let account = KeyPair::generate(rng);
    let bytes = signed_key_index_list(&account, 7, 9, 2, &[0, 2], rng);
    let list = AdvSignedKeyIndexList::decode(&bytes[..]).unwrap();
    let details = list.details.unwrap();
    let signed = [&[6, 2][..], &details].concat();
    assert!(xeddsa::verify(
        account.public(),
        &signed,
        &list.account_signature.unwrap()
    ));
    let details = AdvKeyIndexList::decode(&details[..]).unwrap();
    assert_eq!((details.raw_id, details.timestamp), (Some(7), Some(9)));
    assert_eq!(
        (details.current_index, details.valid_indexes),
        (Some(2), vec![0, 2])
    );
}

#[test]
fn codes_of_all_clients_are_read() {
    let rng = &mut StdRng::seed_from_u64(4);
    let device = Device::generate(rng);
    let code = device.code();
    let wanted = parse_qr(&code).unwrap();
    assert_eq!(wanted.ref_, "2@ref");
    assert_eq!(&wanted.noise, device.noise.public());
    assert_eq!(&wanted.identity, device.identity.public());
    for text in [
        format!("{code},1"),
        format!("https://wa.me/settings/linked_devices#{code},1"),
        format!("{code},1,https://faq.whatsapp.com/r/ld\n"),
    ] {
        assert_eq!(parse_qr(&text), Ok(wanted.clone()));
    }
}

#[test]
fn other_texts_are_no_codes() {
    let key = BASE64_STANDARD.encode([1; 32]);
    assert_eq!(parse_qr("https://example.org"), Err(QrError::Fields(1)));
    assert_eq!(
        parse_qr(&format!(",{key},{key},{key}")),
        Err(QrError::NoRef)
    );
    assert_eq!(
        parse_qr(&format!("r,{key},x,{key}")),
        Err(QrError::BadKey("identity key"))
    );
    assert_eq!(
        parse_qr(&format!("r,{key},{key},AAAA")),
        Err(QrError::BadKey("secret"))
    );
    let qr = parse_qr(&format!("r,{key},{key},{key}")).unwrap();
    assert!(!format!("{qr:?}").contains("AQEB"));
}
