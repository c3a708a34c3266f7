//! Memory, time, files and threads of this process, from `/proc`, by the names
//! of OpenTelemetry's conventions. Where there is no `/proc` they are absent.

use std::fs;

use opentelemetry::metrics::Meter;

/// The kernel's ticks a second, as it shows them to every process.
const TICKS: f64 = 100.0;

/// What `/proc/self` says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Usage {
    memory: u64,
    cpu_seconds: f64,
    threads: u64,
}

/// Registers the metrics.
pub(super) fn observe(meter: &Meter) {
    meter
        .u64_observable_gauge("process.memory.usage")
        .with_description("Memory of the process that is in RAM")
        .with_unit("By")
        .with_callback(|observer| {
            if let Some(usage) = usage() {
                observer.observe(usage.memory, &[]);
            }
        })
        .build();
    meter
        .f64_observable_counter("process.cpu.time")
        .with_description("Time of all processors that the process has used")
        .with_unit("s")
        .with_callback(|observer| {
            if let Some(usage) = usage() {
                observer.observe(usage.cpu_seconds, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("process.thread.count")
        .with_description("Threads of the process")
        .with_callback(|observer| {
            if let Some(usage) = usage() {
                observer.observe(usage.threads, &[]);
            }
        })
        .build();
    meter
        .u64_observable_gauge("process.open_file_descriptor.count")
        .with_description("Files and connections that the process has open")
        .with_callback(|observer| {
            if let Ok(files) = fs::read_dir("/proc/self/fd") {
                observer.observe(files.count() as u64, &[]);
            }
        })
        .build();
}

fn usage() -> Option<Usage> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let status = fs::read_to_string("/proc/self/status").ok()?;
    parse(&stat, &status)
}

fn parse(stat: &str, status: &str) -> Option<Usage> {
    // The name, in brackets, may have spaces; numbers come after it.
    let numbers: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |place: usize| numbers.get(place)?.parse::<u64>().ok();
    let ticks = number(11)? + number(12)?;
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?
        .split_whitespace()
        .next()?
        .parse::<u64>()
        .ok()?;
    Some(Usage {
        memory: kilobytes * 1024,
        cpu_seconds: ticks as f64 / TICKS,
        threads: number(17)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_confuse() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 0 0 0 250 50 0 0 20 0 12 0 100 1 2";
        let usage = parse(stat, "Name:\tx\nVmRSS:\t    2048 kB\n").unwrap();
        assert_eq!(
            usage,
            Usage {
                memory: 2048 * 1024,
                cpu_seconds: 3.0,
                threads: 12,
            }
        );
        assert_eq!(parse("", ""), None);
    }
}
