//! Where everything is printed: lines that stay, each with the time since the
//! start, and below them, on a terminal, one line that is drawn anew.

use std::io::{self, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Elsewhere than on a terminal, changes are lines: no more than one in this time.
const CHANGE_INTERVAL: Duration = Duration::from_millis(1_500);

/// See the module.
pub(crate) struct Screen {
    started: Instant,
    is_terminal: bool,
    live: Mutex<Live>,
}

#[derive(Default)]
struct Live {
    /// What the line that is drawn anew says now.
    line: String,
    /// What was last printed for good, and when; not on a terminal.
    printed: String,
    printed_at: Option<Instant>,
}

impl Screen {
    /// Standard output.
    pub(crate) fn new() -> Self {
        Self {
            started: Instant::now(),
            is_terminal: io::stdout().is_terminal(),
            live: Mutex::default(),
        }
    }

    /// Prints a line that stays.
    pub(crate) fn say(&self, text: &str) {
        let live = self.lock();
        let (erase, at) = (self.erase(), self.started.elapsed().as_secs_f64());
        println!("{erase}{at:>6.1} s  {text}");
        self.draw(&live.line);
    }

    /// Prints the name of what comes now.
    pub(crate) fn head(&self, text: &str) {
        let live = self.lock();
        println!("{}\n{text}", self.erase());
        self.draw(&live.line);
    }

    /// Shows a state that has changed: `line`, and `more` of what changes all
    /// the time, which is no reason to print it for good.
    pub(crate) fn show(&self, line: &str, more: &str) {
        let mut live = self.lock();
        live.line = format!("{line} | {more}");
        if self.is_terminal {
            self.draw(&live.line);
            return;
        }
        let is_due = live
            .printed_at
            .is_none_or(|at| at.elapsed() >= CHANGE_INTERVAL);
        if is_due && live.printed != line {
            println!("{:>6.1} s    {line}", self.started.elapsed().as_secs_f64());
            line.clone_into(&mut live.printed);
            live.printed_at = Some(Instant::now());
        }
    }

    /// Takes the line that is drawn anew away.
    pub(crate) fn clear(&self) {
        let mut live = self.lock();
        live.line.clear();
        self.draw("");
    }

    fn draw(&self, line: &str) {
        if self.is_terminal {
            print!("{}{line}", self.erase());
            // A terminal that is gone shows nothing anyway.
            let _ = io::stdout().flush();
        }
    }

    fn erase(&self) -> &'static str {
        if self.is_terminal { "\r\x1b[2K" } else { "" }
    }

    fn lock(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
