//! What a process uses, as the kernel counts it.

use std::time::Duration;

use anyhow::{Context, Result};

/// In the unit of `/proc`, which Linux promises to programs (`USER_HZ`).
const TICKS_A_SECOND: u64 = 100;

/// CPU time of a process so far, in user and kernel mode, all threads.
///
/// # Errors
/// The process is gone.
pub(crate) fn cpu(pid: i32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).context("the kernel's line about a process")?;
    Ok(Duration::from_secs_f64(
        ticks as f64 / TICKS_A_SECOND as f64,
    ))
}

/// Its memory, in bytes: what is its own and what it shares.
///
/// # Errors
/// The process is gone.
pub(crate) fn resident(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    kibibytes(&status)
        .map(|kibibytes| kibibytes * 1024)
        .context("the kernel's lines about a process")
}

/// The 14th and the 15th word; the second one, in brackets, may have spaces.
fn ticks(stat: &str) -> Option<u64> {
    let (_, words) = stat.rsplit_once(')')?;
    let mut words = words.split_whitespace().skip(11);
    let user: u64 = words.next()?.parse().ok()?;
    let kernel: u64 = words.next()?.parse().ok()?;
    Some(user + kernel)
}

fn kibibytes(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_read() {
        let stat = "4711 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0";
        assert_eq!(ticks(stat), Some(300));
        assert_eq!(kibibytes("Name:\tx\nVmRSS:\t   1234 kB\n"), Some(1234));
        assert_eq!(kibibytes("Name:\tx\n"), None);
    }

    #[test]
    fn this_process_uses_something() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(resident(own).unwrap() > 0);
        cpu(own).unwrap();
    }
}
