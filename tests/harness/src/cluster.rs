//! Several worker processes that share their accounts, each with a name.
//!
//! A worker that has ended can be started again under its name, at the address
//! it had, so that clients find it again. All of them are killed when the
//! cluster is dropped, paused ones too.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Result, bail};

use crate::api::Api;
use crate::worker::{Worker, WorkerSetup};

/// See the module. Its methods take `&self`: clients write to the cluster while
/// somebody ends its workers.
#[derive(Debug)]
pub struct Cluster {
    template: WorkerSetup,
    members: Mutex<BTreeMap<String, Member>>,
}

/// One worker of the cluster.
#[derive(Debug)]
enum Member {
    Running(Worker),
    Paused(Worker),
    Ended(WorkerSetup),
}

impl Cluster {
    /// A cluster without workers yet; they will be started as `template` says,
    /// but for their names.
    pub fn new(template: WorkerSetup) -> Self {
        Self {
            template,
            members: Mutex::default(),
        }
    }

    /// How a worker of this name is, or would be, started.
    pub fn setup(&self, name: &str) -> WorkerSetup {
        match self.lock().get(name) {
            Some(Member::Running(worker) | Member::Paused(worker)) => worker.setup().clone(),
            Some(Member::Ended(setup)) => setup.clone(),
            None => WorkerSetup {
                name: name.to_owned(),
                ..self.template.clone()
            },
        }
    }

    /// Starts a worker, for the first time or again, and waits until it serves.
    /// Returns its process id.
    ///
    /// # Errors
    /// It runs already, or does not start.
    pub async fn start(&self, name: &str) -> Result<i32> {
        self.start_with(self.setup(name)).await
    }

    /// The same for a worker that is started unlike the others.
    ///
    /// # Errors
    /// As for [`Cluster::start`].
    pub async fn start_with(&self, setup: WorkerSetup) -> Result<i32> {
        let name = setup.name.as_str();
        if let Some(Member::Running(_) | Member::Paused(_)) = self.lock().get(name) {
            bail!("{name} runs already");
        }
        let worker = setup.start().await?;
        let id = worker.id();
        self.lock()
            .insert(setup.name.clone(), Member::Running(worker));
        Ok(id)
    }

    /// SIGKILL, and waits for the end.
    ///
    /// # Errors
    /// It does not run.
    pub async fn kill(&self, name: &str) -> Result<()> {
        let setup = self.take(name)?.kill().await?;
        self.lock().insert(name.to_owned(), Member::Ended(setup));
        Ok(())
    }

    /// SIGTERM, and waits for the orderly end.
    ///
    /// # Errors
    /// It does not run, or does not end in an orderly way.
    pub async fn terminate(&self, name: &str) -> Result<()> {
        let setup = self.take(name)?.terminate().await?;
        self.lock().insert(name.to_owned(), Member::Ended(setup));
        Ok(())
    }

    /// SIGSTOP: the worker stands still until [`Cluster::resume`]. See
    /// [`Worker::pause`].
    ///
    /// # Errors
    /// It does not run; it writes all the time.
    pub async fn pause(&self, name: &str) -> Result<()> {
        let worker = self.take(name)?;
        worker.pause().await?;
        self.lock().insert(name.to_owned(), Member::Paused(worker));
        Ok(())
    }

    /// SIGCONT to a paused worker.
    ///
    /// # Errors
    /// It is not paused, or has ended.
    pub fn resume(&self, name: &str) -> Result<()> {
        let mut members = self.lock();
        match members.remove(name) {
            Some(Member::Paused(worker)) => {
                worker.resume()?;
                members.insert(name.to_owned(), Member::Running(worker));
                Ok(())
            }
            Some(other) => {
                members.insert(name.to_owned(), other);
                bail!("{name} is not paused")
            }
            None => bail!("there is no worker {name}"),
        }
    }

    /// SIGTERM to every worker that runs, all at once; paused ones go on first.
    ///
    /// # Errors
    /// One of them did not end in an orderly way; the others did.
    pub async fn terminate_all(&self) -> Result<()> {
        for name in self.paused() {
            self.resume(&name)?;
        }
        let names = self.running();
        let mut endings = tokio::task::JoinSet::new();
        for name in &names {
            endings.spawn(self.take(name)?.terminate());
        }
        let mut outcome = Ok(());
        while let Some(ended) = endings.join_next().await {
            match ended? {
                Ok(setup) => {
                    self.lock().insert(setup.name.clone(), Member::Ended(setup));
                }
                Err(error) => outcome = Err(error),
            }
        }
        outcome
    }

    /// The names of the workers that run and are not paused.
    pub fn running(&self) -> Vec<String> {
        self.names_of(|member| matches!(member, Member::Running(_)))
    }

    /// The names of the paused workers.
    pub fn paused(&self) -> Vec<String> {
        self.names_of(|member| matches!(member, Member::Paused(_)))
    }

    /// The API at all addresses there are now: of workers that run, that are
    /// paused, and that will run there again. One that does not answer is
    /// passed over.
    ///
    /// # Panics
    /// No worker was ever started.
    pub fn api(&self) -> Api {
        let members = self.lock();
        Api::at_any(members.values().map(|member| match member {
            Member::Running(worker) | Member::Paused(worker) => worker.api().base().to_owned(),
            Member::Ended(setup) => format!("http://{}", setup.listen),
        }))
    }

    /// The API of the workers that run now and are not paused: for those who
    /// watch, and do not want to wait for one that does not answer.
    ///
    /// # Errors
    /// None of them runs.
    pub fn api_of_running(&self) -> Result<Api> {
        self.api_without("")
    }

    /// The same without one of them, which will not answer soon.
    ///
    /// # Errors
    /// No other one runs.
    pub fn api_without(&self, name: &str) -> Result<Api> {
        let members = self.lock();
        let others: Vec<String> = members
            .iter()
            .filter_map(|(its_name, member)| match member {
                Member::Running(worker) if its_name != name => Some(worker.api().base().to_owned()),
                Member::Running(_) | Member::Paused(_) | Member::Ended(_) => None,
            })
            .collect();
        if others.is_empty() {
            bail!("no other worker runs");
        }
        Ok(Api::at_any(others))
    }

    /// The API of one worker.
    ///
    /// # Errors
    /// It does not run.
    pub fn api_of(&self, name: &str) -> Result<Api> {
        match self.lock().get(name) {
            Some(Member::Running(worker) | Member::Paused(worker)) => Ok(worker.api().clone()),
            Some(Member::Ended(_)) | None => bail!("{name} does not run"),
        }
    }

    /// The process id of a worker.
    ///
    /// # Errors
    /// It does not run.
    pub fn process_id(&self, name: &str) -> Result<i32> {
        match self.lock().get(name) {
            Some(Member::Running(worker) | Member::Paused(worker)) => Ok(worker.id()),
            Some(Member::Ended(_)) | None => bail!("{name} does not run"),
        }
    }

    fn names_of(&self, is_meant: impl Fn(&Member) -> bool) -> Vec<String> {
        self.lock()
            .iter()
            .filter(|(_, member)| is_meant(member))
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Takes a running worker out, to be put back in its next state.
    fn take(&self, name: &str) -> Result<Worker> {
        let mut members = self.lock();
        match members.remove(name) {
            Some(Member::Running(worker)) => Ok(worker),
            Some(other) => {
                members.insert(name.to_owned(), other);
                bail!("{name} does not run")
            }
            None => bail!("there is no worker {name}"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Member>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for member in self.lock().values() {
            match member {
                // Its drop kills it, which a stopped process must be awake for.
                Member::Paused(worker) => drop(worker.resume()),
                Member::Running(_) | Member::Ended(_) => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::Path;

    use super::*;

    /// Says that it listens, and sleeps until it is ended.
    const SCRIPT: &str = "#!/bin/sh\n\
        trap 'exit 0' TERM\n\
        echo '{\"event\":\"listening\",\"addr\":\"127.0.0.1:9\"}'\n\
        while :; do sleep 0.05; done\n";

    fn cluster(folder: &Path) -> Cluster {
        let script = folder.join("worker");
        std::fs::write(&script, SCRIPT).unwrap();
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
        Cluster::new(WorkerSetup::new(script, "", folder, "ws://x"))
    }

    #[tokio::test]
    async fn workers_end_and_start_again_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster(folder.path());
        let first = cluster.start("alice").await.unwrap();
        cluster.start("bob").await.unwrap();
        assert_eq!(cluster.running(), ["alice", "bob"]);
        assert!(cluster.start("bob").await.is_err());

        cluster.kill("alice").await.unwrap();
        assert_eq!(cluster.running(), ["bob"]);
        assert!(cluster.kill("alice").await.is_err());
        assert_eq!(cluster.setup("alice").listen, "127.0.0.1:9");
        assert_ne!(cluster.start("alice").await.unwrap(), first);

        cluster.pause("alice").await.unwrap();
        assert_eq!(
            (cluster.paused(), cluster.running()),
            (vec!["alice".to_owned()], vec!["bob".to_owned()])
        );
        cluster.terminate_all().await.unwrap();
        assert!(cluster.running().is_empty());
    }

    #[tokio::test]
    async fn a_paused_worker_ends_with_the_cluster() {
        let folder = tempfile::tempdir().unwrap();
        let cluster = cluster(folder.path());
        let id = cluster.start("alice").await.unwrap();
        cluster.pause("alice").await.unwrap();
        drop(cluster);
        crate::wait::until("it ends", std::time::Duration::from_secs(5), async || {
            // A zombie until it is waited for, which tokio does in its own time.
            let state = std::fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
            let is_over = state.is_empty() || state.contains(") Z ");
            Ok(crate::wait::Look::some(is_over.then_some(()), state))
        })
        .await
        .unwrap();
    }
}
