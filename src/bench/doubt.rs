//! What makes figures doubtful.

use super::record::Record;
use super::report::all_runs;

/// A share of CPU time that others may use without a warning.
const BUSY: f64 = 0.05;

/// What makes figures doubtful.
pub fn warnings(record: &Record) -> Vec<String> {
    let mut warnings = Vec::new();
    let percent = |share: f64| format!("{:.0} %", 100.0 * share);
    if let Some(share) = record.steal.filter(|share| *share > BUSY / 5.0) {
        warnings.push(format!("the hypervisor gave {} of the CPU time to other guests", percent(share)));
    }
    if let Some(share) = record.others.filter(|share| *share > BUSY) {
        warnings.push(format!("other programs used {} of the CPU time; end them and measure again", percent(share)));
    }
    let cpus = record.host.cpus.iter().map(|cpu| cpu.count).sum::<usize>().max(1);
    if let Some(load) = record.before.load.filter(|load| *load > 0.5 * cpus as f64) {
        warnings.push(format!("the load was {load:.1} on {cpus} CPUs before the start"));
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
        waited.extend(runs.cpu_share.filter(|share| *share < 0.9).map(|share| (share, name)));
    }
    if let Some((share, name)) = waited.iter().min_by(|a, b| a.0.total_cmp(&b.0)) {
        warnings.push(format!(
            "at {} points threads had to wait for a CPU; they had one {} of the time for {name}",
            waited.len(),
            percent(*share)
        ));
    }
    warnings
}
