//! Makes a new identity durable before the server hears that it is taken.
//!
//! When a phone links this device, the engine sends `pair-device-sign` as soon
//! as it has the identity in memory; from then on the phone shows the device.
//! A crash before the next save would lose a linked device for good. So, until
//! the identity is known to be stored, no frame passes while there is one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use whatsapp_rust::store::Device;
use whatsapp_rust::store::error::StoreError;
use whatsapp_rust::store::persistence_manager::PersistenceManager;
use whatsapp_rust::store::traits::DeviceStore;

use crate::backend::Backend;

/// Stands before every frame until the account's identity is durable.
pub(crate) struct IdentityBarrier {
    manager: Arc<PersistenceManager>,
    backend: Backend,
    /// Nothing more to do: the device was linked when it was loaded, or has
    /// been stored complete.
    settled: AtomicBool,
    /// The device as it was stored last. It comes to be in several steps.
    stored: Mutex<Option<Arc<Device>>>,
}

impl IdentityBarrier {
    /// A barrier for the device of `manager`; open if it is linked already.
    pub(crate) fn new(manager: Arc<PersistenceManager>, backend: Backend) -> Self {
        let settled = AtomicBool::new(manager.get_device_snapshot().is_registered());
        Self {
            manager,
            backend,
            settled,
            stored: Mutex::default(),
        }
    }

    /// Returns once no identity is there, or it is durable as it stands.
    ///
    /// # Errors
    /// It could not be stored; the frame must not leave.
    pub(crate) async fn pass(&self) -> Result<(), StoreError> {
        if self.settled.load(Ordering::Acquire) {
            return Ok(());
        }
        let device = self.manager.get_device_snapshot();
        if !device.is_registered() || self.is_stored(&device) {
            return Ok(());
        }
        // Not the manager's own flush: that returns at once while its
        // background task is about to save.
        self.backend.save(&device.to_serializable()).await?;
        *self.stored.lock() = Some(device);
        Ok(())
    }

    /// Makes the identity durable once more at the end of the connection that
    /// it came to be on, and opens the barrier for good.
    ///
    /// # Errors
    /// It could not be stored; the barrier stands.
    pub(crate) async fn settle(&self) -> Result<(), StoreError> {
        self.pass().await?;
        if self.manager.get_device_snapshot().is_registered() {
            self.settled.store(true, Ordering::Release);
            *self.stored.lock() = None;
        }
        Ok(())
    }

    /// True from the moment that the device is linked until the barrier is
    /// settled.
    pub(crate) fn is_new_identity(&self) -> bool {
        !self.settled.load(Ordering::Acquire) && self.manager.get_device_snapshot().is_registered()
    }

    fn is_stored(&self, device: &Arc<Device>) -> bool {
        self.stored
            .lock()
            .as_ref()
            .is_some_and(|stored| Arc::ptr_eq(stored, device))
    }
}

#[cfg(test)]
mod tests;
