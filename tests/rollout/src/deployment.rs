//! The pods, and what a Deployment and its ReplicaSets do with them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Result, bail};
use futures::future::try_join_all;
use harness::api::Api;
use harness::held;
use harness::scene::Scene;
use harness::worker::WorkerSetup;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::manifest::Manifest;
use crate::network::{Network, PodNetwork};
use crate::pod::{Ending, Pod};
use crate::service::Service;

/// Before each start of a pod's worker, as the kubelet has them: a worker that
/// ended so often before it served will always do so.
const PAUSES_S: [u64; 5] = [0, 0, 10, 20, 40];

/// What a pod runs.
#[derive(Debug, Clone)]
pub(crate) struct Version {
    /// Its name, which pods show as their deployment.
    pub(crate) name: &'static str,
    /// Its program.
    pub(crate) binary: PathBuf,
}

/// See the module.
pub(crate) struct Deployment<'a> {
    scene: &'a Scene,
    template: WorkerSetup,
    manifest: &'a Manifest,
    network: &'a Network,
    service: Service,
    /// Pods that were not told to end, oldest first, and how many there ever were.
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    pods: Vec<Pod>,
    made: usize,
    restarts: usize,
}

impl<'a> Deployment<'a> {
    /// No pods yet.
    pub(crate) fn new(
        scene: &'a Scene,
        template: WorkerSetup,
        manifest: &'a Manifest,
        network: &'a Network,
        service: Service,
    ) -> Self {
        Self {
            scene,
            template,
            manifest,
            network,
            service,
            state: Mutex::default(),
        }
    }

    /// How many pods were not told to end.
    pub(crate) async fn count(&self) -> usize {
        self.state.lock().await.pods.len()
    }

    /// How often a worker was started again because it had ended before it served.
    pub(crate) async fn restarts(&self) -> usize {
        self.state.lock().await.restarts
    }

    /// Memory of each pod, in bytes.
    pub(crate) async fn resident_bytes(&self) -> Vec<u64> {
        let state = self.state.lock().await;
        state.pods.iter().filter_map(Pod::resident_bytes).collect()
    }

    /// Replaces every pod of another version, as many at a time as the manifest
    /// lets come and go.
    ///
    /// # Errors
    /// A pod does not become available, or does not end in an orderly way.
    pub(crate) async fn roll(&self, to: &Version) -> Result<Vec<Ending>> {
        let Manifest {
            surge, unavailable, ..
        } = *self.manifest;
        let mut to_come = self.others(to).await;
        let mut leaving = self.take_others(to, unavailable).await;
        let mut endings = Vec::new();
        while to_come > 0 {
            let coming = to_come.min(surge + unavailable).max(1);
            let come = try_join_all((0..coming).map(|_| self.add(to)));
            // Nobody waits for a pod's end before the next one comes.
            let (ended, _) = tokio::try_join!(self.delete(leaving), come)?;
            endings.extend(ended);
            // What is available now makes room for as many to go.
            leaving = self.take_others(to, coming).await;
            to_come -= coming;
        }
        endings.extend(self.delete(leaving).await?);
        Ok(endings)
    }

    /// Makes or ends pods until there are `replicas`; the newest end first.
    ///
    /// # Errors
    /// As for [`Deployment::roll`].
    pub(crate) async fn scale(&self, version: &Version, replicas: usize) -> Result<Vec<Ending>> {
        let now = self.count().await;
        try_join_all((now..replicas).map(|_| self.add(version))).await?;
        let surplus = {
            let mut state = self.state.lock().await;
            let keep = replicas.min(state.pods.len());
            state.pods.split_off(keep)
        };
        self.delete(surplus).await
    }

    /// Loses `count` pods without a word; nobody replaces them yet. They run on, and
    /// where they have networks of their own nothing of them is heard any more.
    ///
    /// # Errors
    /// There are not so many.
    pub(crate) async fn lose(&self, count: usize) -> Result<Vec<Pod>> {
        let lost = {
            let mut state = self.state.lock().await;
            if state.pods.len() <= count {
                bail!("{} pods are too few to lose {count}", state.pods.len());
            }
            state.pods.drain(..count).collect::<Vec<_>>()
        };
        for pod in &lost {
            pod.lose()?;
        }
        Ok(lost)
    }

    /// Kills lost pods.
    ///
    /// # Errors
    /// One had ended before.
    pub(crate) async fn kill(&self, pods: Vec<Pod>) -> Result<()> {
        try_join_all(pods.into_iter().map(Pod::kill))
            .await
            .map(drop)
    }

    /// The accounts that the oldest pods have, as they say themselves.
    ///
    /// # Errors
    /// One does not answer.
    pub(crate) async fn owned_by_oldest(&self, count: usize) -> Result<usize> {
        let apis: Vec<Api> = {
            let state = self.state.lock().await;
            let oldest = state.pods.iter().take(count);
            oldest.map(|pod| pod.api().clone()).collect()
        };
        Ok(held::by_all(apis).await?.len())
    }

    /// A pod stands still, is told to end all the same, and is replaced at once.
    ///
    /// # Errors
    /// The new one does not become available.
    pub(crate) async fn hang_one(&self, version: &Version) -> Result<Vec<Ending>> {
        let pod = self.state.lock().await.pods.remove(0);
        pod.hang().await?;
        let (ended, ()) = tokio::try_join!(self.delete(vec![pod]), self.add(version))?;
        Ok(ended)
    }

    /// Ends all pods.
    ///
    /// # Errors
    /// One does not end in an orderly way.
    pub(crate) async fn delete_all(&self) -> Result<()> {
        let all = std::mem::take(&mut self.state.lock().await.pods);
        self.delete(all).await.map(drop)
    }

    /// Makes a pod and waits until it is available.
    ///
    /// # Errors
    /// It does not become available.
    pub(crate) async fn add(&self, version: &Version) -> Result<()> {
        let number = {
            let mut state = self.state.lock().await;
            state.made += 1;
            state.made
        };
        let mut setup = WorkerSetup {
            name: format!("leasehold-{}-{number}", version.name),
            binary: version.binary.clone(),
            ..self.template.clone()
        };
        setup = setup.with_variable("DEPLOYMENT_ID", version.name);
        for (name, value) in &self.manifest.environment {
            setup = setup.with_variable(name, value);
        }
        self.scene.watch(&setup);
        let network = self.network.pod()?.map(Arc::new);
        let mut pod = self.started(&setup, network, version).await?;
        pod.until_available(self.manifest.min_ready).await?;
        self.state.lock().await.pods.push(pod);
        Ok(())
    }

    /// Starts a pod's worker, and starts it again if it ends before it serves: at
    /// once, then after the kubelet's pauses.
    async fn started(
        &self,
        setup: &WorkerSetup,
        network: Option<Arc<PodNetwork>>,
        version: &Version,
    ) -> Result<Pod> {
        for pause in PAUSES_S {
            sleep(Duration::from_secs(pause)).await;
            let name = &setup.name;
            let (setup, network) = (setup.clone(), network.clone());
            let started = Pod::start(setup, network, version.name, &self.service, self.manifest);
            match started.await {
                Ok(pod) => return Ok(pod),
                Err(error) => {
                    let text = format!("{error:#}");
                    println!("  {name} is started again: {text:.150}");
                    self.state.lock().await.restarts += 1;
                }
            }
        }
        bail!("{} does not start", setup.name)
    }

    async fn delete(&self, pods: Vec<Pod>) -> Result<Vec<Ending>> {
        for pod in &pods {
            println!("  {} is told to end", pod.name());
        }
        try_join_all(pods.into_iter().map(|pod| pod.delete(self.manifest))).await
    }

    /// How many pods are of another version.
    async fn others(&self, version: &Version) -> usize {
        let state = self.state.lock().await;
        let others = state
            .pods
            .iter()
            .filter(|pod| pod.version() != version.name);
        others.count()
    }

    /// Takes out up to `count` pods of another version, oldest first.
    async fn take_others(&self, version: &Version, count: usize) -> Vec<Pod> {
        let mut state = self.state.lock().await;
        let mut taken = Vec::new();
        while taken.len() < count {
            let found = state
                .pods
                .iter()
                .position(|pod| pod.version() != version.name);
            match found {
                Some(at) => taken.push(state.pods.remove(at)),
                None => break,
            }
        }
        taken
    }
}
