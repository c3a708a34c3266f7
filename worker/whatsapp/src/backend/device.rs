//! The device: the account's own identity, keys and watermarks, in one record.
//!
//! The engine saves it whole, from a background task and on demand, and awaits
//! what must not be lost; so every save is durable when it returns. Saves are
//! few once an account is paired.

use async_trait::async_trait;
use session::Kind;
use wacore::store::Device;
use whatsapp_rust::store::error::{Result, StoreError};
use whatsapp_rust::store::traits::DeviceStore;

use super::{Backend, BackendError};

/// The one device of a session has no other name.
const KEY: &[u8] = b"";

#[async_trait]
impl DeviceStore for Backend {
    async fn save(&self, device: &Device) -> Result<()> {
        let encoded = serde_json::to_vec(device)
            .map_err(|error| StoreError::Serialization(Box::new(error)))?;
        self.write_durably(|files| {
            files.update(Kind::Device, KEY, |stored| match stored {
                Some(stored) if unlinks(&stored.value, device) => Some(stored),
                Some(_) | None => Some(encoded.into()),
            })?;
            Ok(())
        })
        .await?;
        Ok(())
    }

    async fn load(&self) -> Result<Option<Device>> {
        let stored = self.get(Kind::Device, KEY);
        let device = stored.map(|stored| {
            serde_json::from_slice(&stored).map_err(|_| BackendError::Corrupt(Kind::Device))
        });
        Ok(device.transpose()?)
    }

    async fn exists(&self) -> Result<bool> {
        Ok(self.get(Kind::Device, KEY).is_some())
    }

    async fn create(&self) -> Result<i32> {
        // A new device comes to be with its first save.
        Ok(0)
    }
}

/// True if saving `device` would take the stored one's account away.
///
/// The engine's saver may hold a copy that it took just before a phone linked
/// the device, and save it after the identity was stored. Nothing ever unlinks
/// a device by saving it: a session that has ended is put aside as a whole.
fn unlinks(stored: &[u8], device: &Device) -> bool {
    let is_linked = |device: &Device| device.pn.is_some() && device.account.is_some();
    !is_linked(device) && serde_json::from_slice::<Device>(stored).is_ok_and(|old| is_linked(&old))
}
