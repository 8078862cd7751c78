//! What makes figures doubtful.

use super::record::{Record, Runs};
use super::report::all_runs;
use crate::shown::count;

/// A share of CPU time that others may use without a warning.
const OTHERS: f64 = 0.05;
/// The same, of the hypervisor.
const STEAL: f64 = 0.01;
/// What to do about others, at the end of a warning.
pub const AGAIN: &str = "; end them and measure again";
/// Why nothing is judged of figures that others had a part in.
pub const BUSY: &str = "machine was busy";

/// What makes figures doubtful.
pub fn warnings(record: &Record) -> Vec<String> {
    let mut warnings = Vec::new();
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    if let Some(share) = stolen(record) {
        warnings.push(format!("the hypervisor gave {} of the CPU time to other guests", percent(share)));
    }
    if let Some(share) = used_by_others(record) {
        warnings.push(format!("other programs used {} of the CPU time{AGAIN}", percent(share)));
    }
    if let Some(load) = high_load(record) {
        warnings.push(format!("the load was {load:.1} on {} CPUs before the start", cpus(record)));
    }
    // Flags that stay set cannot tell of a second time, and the machine is looked at only between processes.
    let boot = record.before.throttled_since_boot();
    if !boot.is_empty() && record.throttled.is_empty() {
        warnings.push(format!(
            "before this run there was {}: whether it came again between two looks is unknown; start the board anew and measure again",
            boot.join(", ")
        ));
    }
    warnings.extend(record.limit.as_ref().and_then(|limit| limit.doubt.clone()));
    let mut waited = Vec::new();
    for (name, runs) in all_runs(record) {
        let Some(summary) = &runs.summary else { continue };
        // A slow machine has few runs; one of them says nothing.
        if summary.outliers * 20 > summary.runs && summary.outliers > 1 {
            warnings.push(format!("{name}: {} of {} times are far out", summary.outliers, summary.runs));
        }
        waited.extend(runs.cpu_share.filter(|_| self::waited(runs)).map(|share| (share, name)));
    }
    if let Some((share, name)) = waited.iter().min_by(|a, b| a.0.total_cmp(&b.0)) {
        warnings.push(format!(
            "at {} threads had to wait for a CPU; they had one {} of the time for {name}",
            count(waited.len(), "point"),
            percent(*share)
        ));
    }
    warnings
}

/// Why times of `record` may be those of other programs, or of a slower machine.
pub fn unsteady(record: &Record) -> Option<&'static str> {
    // A high load before the start may have been the measurement before; it counts where nothing tells what others used.
    let busy = || {
        stolen(record).is_some()
            || used_by_others(record).is_some()
            || record.others.is_none() && high_load(record).is_some()
    };
    match () {
        () if !record.throttled.is_empty() => Some("machine was throttled"),
        () if !record.before.throttled_since_boot().is_empty() => Some("machine may have been throttled"),
        () if busy() => Some(BUSY),
        () => None,
    }
}

/// Whether threads had to wait for a CPU. Waiting for the disk is part of what is measured.
pub fn waited(runs: &Runs) -> bool {
    runs.cpu_share.is_some_and(|share| share < 0.9) && runs.major_faults.is_none_or(|faults| faults < 1.0)
}

fn stolen(record: &Record) -> Option<f64> {
    record.steal.filter(|share| *share > STEAL)
}

fn used_by_others(record: &Record) -> Option<f64> {
    record.others.filter(|share| *share > OTHERS)
}

fn high_load(record: &Record) -> Option<f64> {
    record.before.load.filter(|load| *load > 0.5 * cpus(record) as f64)
}

fn cpus(record: &Record) -> usize {
    record.host.cpus.iter().map(|cpu| cpu.count).sum::<usize>().max(1)
}
