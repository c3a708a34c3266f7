//! Who has just written here: before an answer leaves, what decrypted the
//! question must be durable.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Conversations that are remembered one by one as having written here.
const MARKS_MAX: usize = 4_096;

/// Conversations that have written here since the session was last made
/// durable on purpose.
#[derive(Debug, Default)]
pub struct InboundMarks {
    marked: Mutex<Marked>,
    /// Held while the session is made durable.
    pub(super) flushing: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
pub(super) struct Marked {
    threads: HashSet<String>,
    /// More than are remembered: any may be among them.
    all: bool,
}

impl InboundMarks {
    /// A conversation has written.
    pub fn mark(&self, thread_id: &str) {
        let mut marked = self.marked.lock();
        if marked.threads.len() >= MARKS_MAX {
            marked.all = true;
            marked.threads.clear();
        }
        if !marked.all {
            marked.threads.insert(thread_id.to_owned());
        }
    }

    pub(super) fn is_marked(&self, thread_id: &str) -> bool {
        let marked = self.marked.lock();
        marked.all || marked.threads.contains(thread_id)
    }

    pub(super) fn take(&self) -> Marked {
        std::mem::take(&mut *self.marked.lock())
    }

    pub(super) fn put_back(&self, taken: Marked) {
        let mut marked = self.marked.lock();
        marked.all |= taken.all;
        marked.threads.extend(taken.threads);
    }
}
