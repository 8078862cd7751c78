//! What the operating system says about this process.

use rustix::time::{ClockId, clock_gettime};

/// CPU time of all threads since the process started, in milliseconds.
pub fn cpu_ms() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 * 1e3 + time.tv_nsec as f64 * 1e-6
}

/// A field of `/proc/self/status`, e.g. `VmHWM`, in MB (1024 KB). None where there is no such file or field.
pub fn memory_mb(field: &str) -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let value = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    let kilobytes: f64 = value.split_whitespace().next()?.parse().ok()?;
    Some(kilobytes / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_time_grows_with_work_and_memory_is_known_on_linux() {
        let before = cpu_ms();
        let work = (0..20_000_000u64).fold(0, |sum, i| std::hint::black_box(sum ^ i));
        assert!(cpu_ms() > before, "{work}");
        if cfg!(target_os = "linux") {
            assert!(memory_mb("VmHWM") >= memory_mb("VmRSS").filter(|mb| *mb > 0.0));
            assert_eq!(memory_mb("Vm"), None);
        }
    }
}
