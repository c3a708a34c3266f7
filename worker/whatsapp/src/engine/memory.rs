//! What an engine holds in memory, as it estimates itself.

use super::Engine;

impl Engine {
    /// Bytes that the engine's collections, buffers and caches hold: an estimate,
    /// and a lower bound. Walks through all of them, so it is not for every call.
    /// `None` once the instance is shut down.
    pub async fn memory_bytes(&self) -> Option<u64> {
        let client = self.client.read().clone()?;
        let report = Box::pin(client.resource_report()).await;
        Some(report.total_estimated_bytes())
    }
}
