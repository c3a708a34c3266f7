//! What a worker counts of itself, from its `/metrics`: calls of the store.

use anyhow::Result;
use harness::api::Api;

/// Every call of the store, by operation.
const CALLS: &str = "leasehold_store_call_duration_seconds_count{";

/// Operations that write.
const WRITES: [&str; 2] = ["commit", "commit_each"];

/// Operations that read.
const READS: [&str; 2] = ["get", "query"];

/// Calls of the store so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    /// Commits, each of one or more documents.
    pub(crate) commits: u64,
    /// Reads and queries.
    pub(crate) reads: u64,
}

impl Calls {
    /// As a worker counts them.
    ///
    /// # Errors
    /// It does not answer.
    pub(crate) async fn of(api: &Api) -> Result<Self> {
        Ok(Self::read(&api.get("/metrics").await?.expect(200)?.text()))
    }

    fn read(exposition: &str) -> Self {
        let mut calls = Self::default();
        for line in exposition.lines() {
            let Some((labels, count)) = line
                .strip_prefix(CALLS)
                .and_then(|line| line.rsplit_once("} "))
            else {
                continue;
            };
            let count = count.trim().parse::<f64>().unwrap_or_default() as u64;
            let is = |operation: &&str| labels.contains(&format!("operation=\"{operation}\""));
            if WRITES.iter().any(is) {
                calls.commits += count;
            } else if READS.iter().any(is) {
                calls.reads += count;
            }
        }
        calls
    }

    /// What came since an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self {
            commits: self.commits.saturating_sub(before.commits),
            reads: self.reads.saturating_sub(before.reads),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_added_up_by_what_they_do() {
        let text = "# TYPE leasehold_store_call_duration_seconds histogram\n\
            leasehold_store_call_duration_seconds_count{operation=\"commit\",outcome=\"ok\"} 12\n\
            leasehold_store_call_duration_seconds_count{operation=\"commit\",outcome=\"rejected\"} 1\n\
            leasehold_store_call_duration_seconds_count{operation=\"get\",outcome=\"ok\"} 7\n\
            leasehold_store_call_duration_seconds_count{operation=\"query\",outcome=\"ok\"} 2\n\
            leasehold_store_call_duration_seconds_count{operation=\"ping\",outcome=\"ok\"} 9\n\
            leasehold_store_call_duration_seconds_sum{operation=\"get\",outcome=\"ok\"} 0.5\n";
        let calls = Calls::read(text);
        assert_eq!(
            calls,
            Calls {
                commits: 13,
                reads: 9
            }
        );
        let before = Calls {
            commits: 3,
            reads: 9,
        };
        assert_eq!(calls.since(before).commits, 10);
        assert_eq!(calls.since(before).reads, 0);
    }
}
