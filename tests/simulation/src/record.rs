//! What happened in a run: counts, violations, and a hash over everything.
//!
//! The hash takes in every event of the timeline and every note, so that two
//! runs of one seed can be compared to the event.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use parking_lot::Mutex;

/// Violations that one run keeps; more only count.
const VIOLATIONS_MAX: usize = 20;

/// A rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The check that found it.
    pub check: &'static str,
    /// When, since the run began.
    pub at: Duration,
    /// What was seen.
    pub text: String,
}

impl Violation {
    /// Whether it is about safety: two owners, a fork; not about accounts that
    /// nobody works for, or that move without need.
    pub fn is_safety(&self) -> bool {
        self.check.starts_with('S') || matches!(self.check, "history" | "messages")
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{:.3} {}: {}",
            self.at.as_secs_f64(),
            self.check,
            self.text
        )
    }
}

/// A run's record.
pub struct Record {
    /// Whether notes are printed as they are made.
    trace: bool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    now: u64,
    hash: u64,
    faults: BTreeMap<String, u64>,
    transitions: BTreeMap<String, u64>,
    violations: Vec<Violation>,
}

impl Record {
    /// An empty record; with `trace` notes are printed.
    pub fn new(trace: bool) -> Self {
        Self {
            trace,
            state: Mutex::default(),
        }
    }

    /// An event of the timeline.
    pub(crate) fn tick(&self, now: u64, kind: u64) {
        let mut state = self.state.lock();
        state.now = now;
        state.mix(now);
        state.mix(kind);
    }

    /// Something worth reading in a trace.
    pub fn note(&self, who: &str, what: fmt::Arguments<'_>) {
        let mut state = self.state.lock();
        let text = what.to_string();
        for byte in who.bytes().chain(text.bytes()) {
            state.mix(u64::from(byte));
        }
        if self.trace {
            print(state.now, who, &text);
        }
    }

    /// A fault was injected.
    pub fn fault(&self, kind: &str) {
        count(&mut self.state.lock().faults, kind);
    }

    /// Something was reached.
    pub fn reached(&self, kind: &str) {
        count(&mut self.state.lock().transitions, kind);
    }

    /// A rule did not hold.
    pub fn violation(&self, check: &'static str, text: String) {
        self.note("VIOLATION", format_args!("{check}: {text}"));
        let mut state = self.state.lock();
        let at = Duration::from_nanos(state.now);
        if state.violations.len() < VIOLATIONS_MAX {
            state.violations.push(Violation { check, at, text });
        }
    }

    /// The hash over everything so far.
    pub fn hash(&self) -> u64 {
        self.state.lock().hash
    }

    /// The violations so far.
    pub fn violations(&self) -> Vec<Violation> {
        self.state.lock().violations.clone()
    }

    /// Faults by kind.
    pub fn faults(&self) -> BTreeMap<String, u64> {
        self.state.lock().faults.clone()
    }

    /// Transitions by kind.
    pub fn transitions(&self) -> BTreeMap<String, u64> {
        self.state.lock().transitions.clone()
    }
}

impl State {
    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    }
}

fn count(counts: &mut BTreeMap<String, u64>, kind: &str) {
    match counts.get_mut(kind) {
        Some(count) => *count += 1,
        None => {
            counts.insert(kind.to_owned(), 1);
        }
    }
}

fn print(now: u64, who: &str, text: &str) {
    use std::io::Write as _;
    let seconds = Duration::from_nanos(now).as_secs_f64();
    // Whoever closed the pipe has seen enough.
    let _ = writeln!(std::io::stdout(), "{seconds:10.4}  {who:<12} {text}");
}
