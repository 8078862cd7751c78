//! What this process costs in memory.

use std::fs;

/// The most memory that this process had resident so far, in bytes; pages of mapped files count. `None` where the system
/// does not tell.
pub fn peak() -> Option<u64> {
    high_water_mark(&fs::read_to_string("/proc/self/status").ok()?)
}

/// The value of `VmHWM`, which the kernel gives in units of 1024 bytes.
fn high_water_mark(status: &str) -> Option<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let units: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    units.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_is_found() {
        assert_eq!(high_water_mark("Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   12345 kB\n"), Some(12345 * 1024));
        for status in ["", "VmHWM:", "VmHWM: 5 MB", "VmHWM: x kB", "VmHWM: 99999999999999999999 kB"] {
            assert_eq!(high_water_mark(status), None, "{status:?}");
        }
    }
}
