//! The WhatsApp client version that all workers announce.
//!
//! WhatsApp refuses versions that are too old (405). Then one worker reads the
//! current one from WhatsApp's own page and writes it to `config/whatsapp`; all
//! the others take it from there. The greater of what is configured and what is
//! stored is announced.

use std::sync::Arc;
use std::time::Duration;

use coordinator_lib::clock::SharedClock;
use coordinator_lib::store::{CommitOutcome, Precondition, Store, StoreError, StoreTime};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};
use whatsapp::Proxy;

use crate::model::agreed::Seen;
use crate::model::{Agreed, Stored};

/// A client version.
pub type Version = (u32, u32, u32);

/// The document in `config`.
const DOCUMENT: &str = "whatsapp";

/// Reports that may wait; more say nothing new.
const REPORTS_MAX: usize = 16;

/// For one worker to read the page and write what it says.
const REFRESH_LIMIT: Duration = Duration::from_secs(90);

/// The page is not read more often than this.
const REFRESH_INTERVAL: Duration = Duration::from_secs(600);

/// Between two looks at whether another worker is done.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// Looks until another worker's attempt counts as failed: longer than its limit.
const LOOKS_MAX: u32 = 200;

/// `config/whatsapp`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct VersionDoc {
    /// As WhatsApp's page named it.
    pub version: Option<Version>,
    /// When the page was last read, with or without success.
    pub read_at: Option<StoreTime>,
    /// A worker is reading it, until then at the latest.
    pub reading_until: Option<StoreTime>,
}

impl Stored for VersionDoc {}

/// Lets accounts ask which version to announce; clones are the same.
#[derive(Clone)]
pub struct Versions {
    current: watch::Receiver<Version>,
    reports: mpsc::Sender<Report>,
}

/// What the task works with.
pub struct VersionParts {
    /// The documents.
    pub store: Store,
    /// Time.
    pub clock: SharedClock,
    /// The version that is configured.
    pub configured: Version,
    /// The page.
    pub url: String,
}

struct Report {
    used: Version,
    proxy: Option<Proxy>,
}

impl Versions {
    /// The versions, and the task that keeps them.
    pub fn new(parts: VersionParts) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (reports, queue) = mpsc::channel(REPORTS_MAX);
        let (current, seen) = watch::channel(parts.configured);
        let keeper = Keeper {
            document: Agreed::new(Arc::clone(&parts.store), DOCUMENT),
            parts,
            current,
        };
        let versions = Self {
            current: seen,
            reports,
        };
        (versions, keeper.run(queue))
    }

    /// The version to announce.
    pub fn current(&self) -> Version {
        *self.current.borrow()
    }

    /// To wait for another one.
    pub fn subscribe(&self) -> watch::Receiver<Version> {
        let mut current = self.current.clone();
        current.mark_unchanged();
        current
    }

    /// WhatsApp refused this version to an account with this proxy.
    pub fn outdated(&self, used: Version, proxy: Option<Proxy>) {
        // Full: others said so already.
        let _ = self.reports.try_send(Report { used, proxy });
    }
}

struct Keeper {
    parts: VersionParts,
    document: Agreed<VersionDoc>,
    current: watch::Sender<Version>,
}

impl Keeper {
    /// Runs until nobody can report any more.
    async fn run(self, mut queue: mpsc::Receiver<Report>) {
        match self.document.read().await {
            Ok(seen) => self.take(&seen.value),
            Err(error) => tracing::warn!(%error, "the stored WhatsApp version was not read"),
        }
        while let Some(report) = queue.recv().await {
            if *self.current.borrow() > report.used {
                continue;
            }
            if let Err(error) = self.refresh(&report).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the WhatsApp version was not refreshed");
            }
        }
    }

    fn take(&self, doc: &VersionDoc) {
        self.current.send_if_modified(|current| {
            let newer = doc.version.filter(|version| version > current);
            if let Some(version) = newer {
                let (major, minor, patch) = version;
                tracing::info!(version = %format!("{major}.{minor}.{patch}"), "another WhatsApp version from now on");
                *current = version;
            }
            newer.is_some()
        });
    }

    /// Has one worker of the cluster read the page, and takes what it found.
    async fn refresh(&self, report: &Report) -> Result<(), StoreError> {
        for _ in 0..LOOKS_MAX {
            let Seen {
                value: doc,
                unchanged,
                at: now,
            } = self.document.read().await?;
            if doc.version.is_some_and(|version| version > report.used) {
                self.take(&doc);
                return Ok(());
            }
            let is_being_read = doc.reading_until.is_some_and(|until| until > now);
            if is_being_read {
                self.parts.clock.sleep(LOOK_INTERVAL).await;
                continue;
            }
            let is_fresh = doc
                .read_at
                .is_some_and(|at| now.since(at) < REFRESH_INTERVAL);
            if is_fresh {
                // The page knows no newer one either.
                return Ok(());
            }
            let claim = VersionDoc {
                reading_until: Some(now.saturating_add(REFRESH_LIMIT)),
                ..doc.clone()
            };
            if self.document.write(&claim, unchanged).await? == CommitOutcome::Rejected {
                continue;
            }
            let version = match whatsapp::fetch_version(&self.parts.url, report.proxy.clone()).await
            {
                Ok(version) => Some(version),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(error, "WhatsApp's page with its version was not read");
                    doc.version
                }
            };
            let found = VersionDoc {
                version: version.max(doc.version),
                read_at: Some(now),
                reading_until: None,
            };
            let _ = self.document.write(&found, Precondition::None).await?;
            self.take(&found);
            return Ok(());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::model::collections;
    use crate::testing::{Bench, until};

    /// A page that names this version; counts who reads it.
    async fn page(bench: &Bench, revision: u32) -> (String, Arc<AtomicUsize>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sw.js", listener.local_addr().unwrap());
        let reads = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&reads);
        bench.tracker.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let mut request = [0; 1024];
                let _ = stream.read(&mut request).await;
                let body = format!("x({{\\\"client_revision\\\":{revision}}})");
                let answer = format!(
                    "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        (url, reads)
    }

    fn versions(bench: &Bench, url: &str) -> Versions {
        let (versions, keeper) = Versions::new(VersionParts {
            store: Arc::clone(&bench.store),
            clock: Arc::clone(&bench.clock),
            configured: (2, 3000, 1),
            url: url.to_owned(),
        });
        bench.tracker.spawn(keeper);
        versions
    }

    #[tokio::test]
    async fn the_page_is_read_once_for_the_cluster() {
        let bench = Bench::new();
        let (url, reads) = page(&bench, 77).await;
        let workers = [versions(&bench, &url), versions(&bench, &url)];
        for worker in &workers {
            for _ in 0..10 {
                worker.outdated((2, 3000, 1), None);
            }
        }
        for worker in &workers {
            until("the new version", || async {
                (worker.current() == (2, 3000, 77)).then_some(())
            })
            .await;
        }
        assert_eq!(reads.load(Ordering::SeqCst), 1);
        // A worker that starts later knows it, too.
        let later = versions(&bench, &url);
        until("the stored version", || async {
            (later.current() == (2, 3000, 77)).then_some(())
        })
        .await;
        // Refused again: the page was read only just now.
        later.outdated((2, 3000, 77), None);
        tokio::task::yield_now().await;
        assert_eq!(reads.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_page_that_is_not_there_changes_nothing() {
        let bench = Bench::new();
        let versions = versions(&bench, "http://127.0.0.1:1/sw.js");
        versions.outdated((2, 3000, 1), None);
        let doc = until("the attempt is noted", || async {
            let path = collections::config(DOCUMENT).unwrap();
            let doc: VersionDoc = bench.read(path).await?;
            doc.read_at.is_some().then_some(doc)
        })
        .await;
        assert_eq!((doc.version, doc.reading_until), (None, None));
        assert_eq!(versions.current(), (2, 3000, 1));
    }
}
