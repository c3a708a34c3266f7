//! The one address that clients know, and the pods behind it: what Service,
//! endpoints and kube-proxy are together.
//!
//! A connection goes to one of the pods that are ready when it is opened, and
//! stays there. Nothing is retried here; whoever asks does that.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Result;
use harness::api::Api;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

/// A pod, as far as others know it.
#[derive(Debug, Clone)]
pub(crate) struct Endpoint {
    /// Its own API.
    pub(crate) api: Api,
    /// Where it listens.
    pub(crate) address: String,
    /// Whether it gets connections.
    pub(crate) is_ready: bool,
}

/// See the module. Clones are the same service.
#[derive(Debug, Clone, Default)]
pub(crate) struct Service {
    endpoints: Arc<Mutex<BTreeMap<String, Endpoint>>>,
    turn: Arc<AtomicUsize>,
}

impl Service {
    /// A pod has come. It is not ready yet.
    pub(crate) fn add(&self, pod: &str, api: Api, address: String) {
        let endpoint = Endpoint {
            api,
            address,
            is_ready: false,
        };
        self.lock().insert(pod.to_owned(), endpoint);
    }

    /// Lets a pod have connections, or no more of them.
    pub(crate) fn set_ready(&self, pod: &str, is_ready: bool) {
        if let Some(endpoint) = self.lock().get_mut(pod) {
            endpoint.is_ready = is_ready;
        }
    }

    /// A pod has gone.
    pub(crate) fn remove(&self, pod: &str) {
        self.lock().remove(pod);
    }

    /// All pods that have not gone, by name.
    pub(crate) fn pods(&self) -> BTreeMap<String, Endpoint> {
        self.lock().clone()
    }

    /// Takes connections for ever.
    ///
    /// # Errors
    /// The port can no longer be listened to.
    pub(crate) async fn run(self, listener: TcpListener) -> Result<()> {
        let mut connections = JoinSet::new();
        loop {
            let (client, _) = listener.accept().await?;
            while connections.try_join_next().is_some() {}
            if let Some(address) = self.next() {
                connections.spawn(carry(client, address));
            }
        }
    }

    /// The address of the pod whose turn it is.
    fn next(&self) -> Option<String> {
        let endpoints = self.lock();
        let ready: Vec<&Endpoint> = endpoints.values().filter(|pod| pod.is_ready).collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let endpoint = ready.get(turn.checked_rem(ready.len())?)?;
        Some(endpoint.address.clone())
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Endpoint>> {
        self.endpoints
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Until either side has closed it; whatever ends it, the client sees the end.
async fn carry(mut client: TcpStream, address: String) {
    if let Ok(mut pod) = TcpStream::connect(&address).await {
        let _ = copy_bidirectional(&mut client, &mut pod).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ready_pods_have_their_turn_one_after_the_other() {
        let service = Service::default();
        assert_eq!(service.next(), None);
        for (pod, address) in [("a", "a:1"), ("b", "b:1"), ("c", "c:1")] {
            service.add(pod, Api::at("http://127.0.0.1:9"), address.to_owned());
        }
        assert_eq!(service.next(), None, "none is ready");
        service.set_ready("a", true);
        service.set_ready("c", true);
        let turns: Vec<_> = (0..4).filter_map(|_| service.next()).collect();
        assert_eq!(turns.len(), 4);
        assert_ne!(turns[0], turns[1]);
        assert_eq!(turns[..2], turns[2..]);
        assert!(!turns.contains(&"b:1".to_owned()), "{turns:?}");
        service.remove("a");
        service.set_ready("c", false);
        assert_eq!(service.next(), None);
        assert_eq!(service.pods().len(), 2);
    }
}
