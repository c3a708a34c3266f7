//! Whatever happens, what is loaded is what was flushed.

use std::collections::BTreeMap;

use bytes::Bytes;
use coordinator_lib::store::{Fault, Fields, Path, Precondition, Write};
use proptest::prelude::*;
use session::{Kind, SessionFiles};

use crate::bench::Bench;

type Model = BTreeMap<(Kind, u8), Bytes>;

#[derive(Clone, Debug)]
enum Step {
    Put(Kind, u8, usize),
    Remove(Kind, u8),
    Flush,
    /// A flush whose commits, one after the other, fail so.
    FlushWith(Vec<Fault>),
    /// Commits that were held back land.
    LandLate,
    /// The next owner claims and loads.
    Reload,
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Sessions),
        Just(Kind::Identities),
        Just(Kind::Pending),
        Just(Kind::PreKeys),
        Just(Kind::Device),
        Just(Kind::MsgSecrets),
    ]
}

fn fault() -> impl Strategy<Value = Fault> {
    prop_oneof![
        1 => Just(Fault::Unavailable),
        1 => Just(Fault::Contended),
        1 => Just(Fault::AmbiguousApplied),
        1 => Just(Fault::AmbiguousNotApplied),
        3 => Just(Fault::AmbiguousLate),
    ]
}

fn steps(
    sizes: impl Strategy<Value = usize> + Clone + 'static,
    faults: bool,
) -> BoxedStrategy<Vec<Step>> {
    let calm = prop_oneof![
        10 => (kind(), any::<u8>(), sizes).prop_map(|(kind, key, size)| Step::Put(kind, key, size)),
        5 => (kind(), any::<u8>()).prop_map(|(kind, key)| Step::Remove(kind, key)),
        3 => Just(Step::Flush),
        1 => Just(Step::Reload),
    ];
    let step = if faults {
        prop_oneof![
            12 => calm,
            2 => proptest::collection::vec(fault(), 1..3).prop_map(Step::FlushWith),
            1 => Just(Step::LandLate),
        ]
        .boxed()
    } else {
        calm.boxed()
    };
    proptest::collection::vec(step, 0..80).boxed()
}

fn content(files: &SessionFiles) -> Model {
    Kind::ALL
        .into_iter()
        .flat_map(|kind| {
            files
                .scan(kind, "")
                .into_iter()
                .map(move |(key, record)| ((kind, key[0]), record.value))
        })
        .collect()
}

/// Runs the steps, and checks after each reload.
async fn run(bench: Bench, steps: Vec<Step>) {
    let mut owner = bench.claim().await;
    let mut memory = Model::new();
    // Of each record, what a load may find: what the last flush that succeeded
    // stored, and what flushes that failed since may have.
    let mut stored = Model::new();
    let mut attempted: Vec<Model> = Vec::new();
    for (number, step) in (0..).zip(steps) {
        match step {
            Step::Put(kind, key, size) => {
                let mut value = vec![number; size];
                value.push(key);
                let value = Bytes::from(value);
                owner.files.put(kind, [key], value.clone()).unwrap();
                memory.insert((kind, key), value);
            }
            Step::Remove(kind, key) => {
                let existed = memory.remove(&(kind, key)).is_some();
                assert_eq!(owner.files.remove(kind, [key]), existed);
            }
            Step::Flush => {
                owner.files.flush().await.unwrap();
                assert!(!owner.files.is_dirty());
                assert_eq!(content(&owner.files), memory);
                stored = memory.clone();
                attempted.clear();
            }
            Step::FlushWith(faults) => {
                let left = owner.files.is_dirty();
                for fault in faults {
                    bench.faults().fail_next_commit(fault);
                }
                match owner.files.flush().await {
                    Ok(()) => {
                        stored = memory.clone();
                        attempted.clear();
                    }
                    Err(error) => {
                        assert!(!error.is_final(), "{error}");
                        assert!(left || !attempted.is_empty());
                        attempted.push(memory.clone());
                    }
                }
                bench.clear_faults().await;
            }
            Step::LandLate => bench.land_none().await,
            Step::Reload => {
                owner = bench.claim().await;
                let loaded = content(&owner.files);
                check(&loaded, &stored, &attempted);
                // What was held back belongs to an epoch that is over.
                bench.land_none().await;
                memory = loaded.clone();
                stored = loaded;
                attempted.clear();
            }
        }
        assert_eq!(owner.files.size().0, memory.len());
    }
    assert_eq!(content(&owner.files), memory);
    owner.files.flush().await.unwrap();
    assert_eq!(content(&bench.claim().await.files), memory);
}

fn check(loaded: &Model, stored: &Model, attempted: &[Model]) {
    if attempted.is_empty() {
        assert_eq!(loaded, stored);
        return;
    }
    let keys = attempted
        .iter()
        .chain([stored, loaded])
        .flat_map(Model::keys);
    for key in keys {
        let may_be = attempted
            .iter()
            .chain([stored])
            .any(|model| model.get(key) == loaded.get(key));
        assert!(may_be, "{key:?} is neither stored nor attempted");
    }
}

impl Bench {
    /// Commits that were held back land now, and change no file.
    async fn land_none(&self) {
        let Some(store) = &self.faults else { return };
        let before = self.documents().await;
        store.land_late();
        assert_eq!(self.documents().await, before);
    }

    /// Takes back the faults that no commit has met.
    async fn clear_faults(&self) {
        let probe = Write::Set {
            path: Path::new("probes/probe").unwrap(),
            fields: Fields::new(),
            precondition: Precondition::None,
        };
        while self.store.commit(vec![probe.clone()]).await.is_err() {}
    }
}

fn block_on(run: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(run);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn content_follows_the_model_through_faults(steps in steps(0..200usize, true)) {
        block_on(run(Bench::memory(), steps));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn content_follows_the_model_through_splits_and_faults(steps in steps(0..120_000usize, true)) {
        block_on(run(Bench::memory(), steps));
    }

    #[test]
    fn content_follows_the_model_on_disk(steps in steps(0..60_000usize, false)) {
        block_on(run(Bench::sqlite(), steps));
    }
}
