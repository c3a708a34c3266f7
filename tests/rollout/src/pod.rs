//! One worker process, as a pod: started, probed, ended.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use harness::api::Api;
use harness::wait::{self, Look};
use harness::worker::{Worker, WorkerSetup};
use serde::Serialize;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::manifest::{Manifest, Probe};
use crate::network::PodNetwork;
use crate::service::Service;

/// From the decision that a pod ends until nobody sends it anything: what
/// endpoints and kube-proxy take, below the hook's time.
const ENDPOINTS_DELAY: Duration = Duration::from_secs(1);

/// For a pod to become ready.
const READY_LIMIT: Duration = Duration::from_secs(120);

/// A pod that runs. Dropped, it is killed.
pub(crate) struct Pod {
    name: String,
    version: String,
    worker: Worker,
    // Goes after the worker.
    network: Option<Arc<PodNetwork>>,
    service: Service,
    probing: Probing,
    ready_since: Option<Instant>,
}

/// How a pod ended.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Ending {
    /// Its name.
    pub(crate) pod: String,
    /// From SIGTERM to the end of the process.
    pub(crate) drain_s: f64,
    /// Whether the grace period was over before.
    pub(crate) was_killed: bool,
}

impl Pod {
    /// Starts a worker and probes it from then on.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) async fn start(
        setup: WorkerSetup,
        network: Option<Arc<PodNetwork>>,
        version: &str,
        service: &Service,
        manifest: &Manifest,
    ) -> Result<Self> {
        let setup = match &network {
            Some(network) => network.inside(setup),
            None => setup,
        };
        let worker = setup.start().await?;
        let name = setup.name;
        let address = worker.address().to_owned();
        service.add(&name, worker.api().clone(), address);
        let probing = probe(name.clone(), service.clone(), manifest.readiness.clone());
        Ok(Self {
            probing: Probing(tokio::spawn(probing)),
            name,
            version: version.to_owned(),
            worker,
            network,
            service: service.clone(),
            ready_since: None,
        })
    }

    /// Its name, which is the worker's.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What it runs.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// Its own API.
    pub(crate) fn api(&self) -> &Api {
        self.worker.api()
    }

    /// Memory that its process has now.
    pub(crate) fn resident_bytes(&self) -> Option<u64> {
        self.worker.resident_bytes()
    }

    /// Waits until it has been ready for `min_ready`.
    ///
    /// # Errors
    /// It is not ready in time.
    pub(crate) async fn until_available(&mut self, min_ready: Duration) -> Result<()> {
        let (name, service) = (self.name.clone(), self.service.clone());
        let limit = READY_LIMIT + min_ready;
        wait::until(&format!("{name} is available"), limit, async || {
            let is_ready = service.pods().get(&name).is_some_and(|pod| pod.is_ready);
            let since = is_ready.then(|| *self.ready_since.get_or_insert_with(Instant::now));
            self.ready_since = since;
            let is_available = since.is_some_and(|since| since.elapsed() >= min_ready);
            Ok(Look::some(is_available.then_some(()), is_ready))
        })
        .await
    }

    /// Ends it as Kubernetes does: no new connections, the hook, SIGTERM, and
    /// SIGKILL once the grace period is over.
    ///
    /// # Errors
    /// It ended by itself before, or with a failure.
    pub(crate) async fn delete(self, manifest: &Manifest) -> Result<Ending> {
        let announced = Instant::now();
        let endpoints = async {
            sleep(ENDPOINTS_DELAY).await;
            self.probing.0.abort();
            self.service.set_ready(&self.name, false);
        };
        tokio::join!(endpoints, sleep(manifest.pre_stop));
        self.worker.ask_to_end()?;
        let asked = Instant::now();
        let left = manifest.grace.saturating_sub(announced.elapsed());
        let (status, _) = self.worker.ended_or_killed(left).await?;
        self.service.remove(&self.name);
        if let Some(status) = status.filter(|status| !status.success()) {
            bail!("{} ended with {status} in its drain", self.name);
        }
        Ok(Ending {
            pod: self.name,
            drain_s: asked.elapsed().as_secs_f64(),
            was_killed: status.is_none(),
        })
    }

    /// Its node is lost: nothing of it is heard any more, where it has a network of
    /// its own, and the service sends it nothing.
    ///
    /// # Errors
    /// Its link cannot be cut.
    pub(crate) fn lose(&self) -> Result<()> {
        if let Some(network) = &self.network {
            network.cut()?;
        }
        self.probing.0.abort();
        self.service.remove(&self.name);
        Ok(())
    }

    /// SIGKILL.
    ///
    /// # Errors
    /// It had ended before.
    pub(crate) async fn kill(self) -> Result<()> {
        self.worker.kill().await.map(drop)
    }

    /// SIGSTOP: from now on it does nothing, whatever it is told.
    ///
    /// # Errors
    /// As for [`Worker::pause`].
    pub(crate) async fn hang(&self) -> Result<()> {
        self.worker.pause().await
    }
}

/// Ends with the pod.
struct Probing(JoinHandle<()>);

impl Drop for Probing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Asks a pod again and again whether it is ready, and lets it have connections
/// accordingly.
async fn probe(name: String, service: Service, probe: Probe) {
    let mut pace = interval(probe.period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut failures = 0;
    loop {
        pace.tick().await;
        let Some(endpoint) = service.pods().remove(&name) else {
            return;
        };
        let answer = timeout(probe.timeout, endpoint.api.get(&probe.path)).await;
        let is_good = matches!(answer, Ok(Ok(answer)) if answer.status == 200);
        failures = if is_good { 0 } else { failures + 1 };
        if is_good {
            service.set_ready(&name, true);
        } else if failures >= probe.failures {
            service.set_ready(&name, false);
        }
    }
}
