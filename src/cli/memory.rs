//! What this process costs in memory.

use std::fs;
use std::path::Path;

use serde::Serialize;

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

/// The mappings of one file in this process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mapped {
    /// Addresses.
    pub bytes: u64,
    /// Of these, in memory.
    pub resident: u64,
    /// Of these, copies that belong to this process alone.
    pub private_dirty: u64,
}

/// What of the file at `path` is mapped. `None` where the system does not tell.
pub fn mapped(path: &Path) -> Option<Mapped> {
    let path = path.canonicalize().ok()?;
    Some(mappings(&fs::read_to_string("/proc/self/smaps").ok()?, path.to_str()?))
}

/// Adds up the entries of `/proc/PID/smaps` that belong to the file at `path`.
fn mappings(smaps: &str, path: &str) -> Mapped {
    let mut sum = Mapped::default();
    let mut ours = false;
    for line in smaps.lines() {
        match line.split_once(':') {
            Some((name, value)) if !name.contains(' ') => {
                let units = value.trim().strip_suffix("kB").and_then(|units| units.trim().parse::<u64>().ok());
                let bytes = units.and_then(|units| units.checked_mul(1024)).unwrap_or(0);
                match name {
                    "Size" if ours => sum.bytes += bytes,
                    "Rss" if ours => sum.resident += bytes,
                    "Private_Dirty" if ours => sum.private_dirty += bytes,
                    _ => {}
                }
            }
            // Addresses, permissions, offset, device, inode, and the file.
            _ => {
                ours = line.ends_with(path) && line.split_whitespace().nth(5).is_some_and(|file| path.starts_with(file))
            }
        }
    }
    sum
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

    #[test]
    fn only_mappings_of_the_file_count() {
        let smaps = "\
7f00-7f01 r--s 00000000 fe:00 12                       /a/model.safetensors
Size:                 40 kB
Rss:                  20 kB
Private_Dirty:         4 kB
VmFlags: rd sh
7f02-7f03 r--p 00000000 fe:00 13                       /b/a/model.safetensors
Size:                400 kB
7f04-7f05 r--s 00000000 fe:00 12                       /a/model.safetensors
Size:                  8 kB
7f06-7f07 rw-p 00000000 00:00 0
Size:                400 kB
";
        let want = Mapped { bytes: 48 * 1024, resident: 20 * 1024, private_dirty: 4 * 1024 };
        assert_eq!(mappings(smaps, "/a/model.safetensors"), want);
        assert_eq!(mappings(smaps, "/c"), Mapped::default());
    }
}
