//! What this process costs in memory, as the system counts it, and what limits it ([`limit`], [`Limited`]).
//!
//! Everything is read from `/proc` and `None` where the system has none.

pub mod limit;
mod limited;
mod need;

use std::fs::{self, File};
use std::io;
use std::path::Path;

use serde::Serialize;

pub use limit::Limit;
pub use limited::Limited;
pub use need::{Need, Shortage};

/// The memory of this process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Usage {
    /// In memory, pages of mapped files included.
    pub resident: u64,
    /// As `resident`, with every page divided by the number of processes that share it.
    pub pss: u64,
    /// Pages of files that other processes map, too. The system can drop them, as it can [`Usage::private_clean`].
    pub shared_clean: u64,
    /// Pages of files that only this process maps.
    pub private_clean: u64,
    /// Pages that only this process maps and whose content is on no disk: its own, and those of files that were just written, which
    /// nobody has brought to the disk yet.
    pub private_dirty: u64,
    /// Pages that belong to no file: heap, stacks, and written copies of file pages. They cannot be dropped.
    pub anonymous: u64,
    /// Pages that were swapped out.
    pub swap: u64,
    /// Pages that must stay in memory.
    pub locked: u64,
}

/// The memory of this process now.
pub fn usage() -> Option<Usage> {
    rollup(&fs::read_to_string("/proc/self/smaps_rollup").ok()?)
}

/// Reads `/proc/PID/smaps_rollup`.
fn rollup(text: &str) -> Option<Usage> {
    let mut usage = Usage::default();
    let mut found = false;
    for (name, bytes) in text.lines().filter_map(field) {
        let place = match name {
            "Rss" => &mut usage.resident,
            "Pss" => &mut usage.pss,
            "Shared_Clean" => &mut usage.shared_clean,
            "Private_Clean" => &mut usage.private_clean,
            "Private_Dirty" => &mut usage.private_dirty,
            "Anonymous" => &mut usage.anonymous,
            "Swap" => &mut usage.swap,
            "Locked" => &mut usage.locked,
            _ => continue,
        };
        *place = bytes;
        found |= name == "Rss";
    }
    found.then_some(usage)
}

/// Name and bytes of a line such as `Rss:     12 kB`, where the kernel means units of 1024 bytes.
fn field(line: &str) -> Option<(&str, u64)> {
    let (name, value) = line.split_once(':')?;
    let units: u64 = value.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some((name, units.checked_mul(1024)?))
}

/// The most memory that this process had resident so far, in bytes; pages of mapped files count.
pub fn peak() -> Option<u64> {
    status("VmHWM", &fs::read_to_string("/proc/self/status").ok()?)
}

/// The addresses that this process uses, in bytes, as `RLIMIT_AS` counts them.
pub fn addresses() -> Option<u64> {
    status("VmSize", &fs::read_to_string("/proc/self/status").ok()?)
}

/// The bytes of field `name` of `/proc/PID/status`.
pub(crate) fn status(name: &str, text: &str) -> Option<u64> {
    text.lines().filter_map(field).find_map(|(found, bytes)| (found == name).then_some(bytes))
}

/// Page faults of this process, all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Faults {
    /// Those served from memory, the page cache included.
    pub minor: u64,
    /// Those that waited for the disk.
    pub major: u64,
}

/// Page faults so far.
pub fn faults() -> Option<Faults> {
    fault_counts(&fs::read_to_string("/proc/self/stat").ok()?)
}

/// Reads `/proc/PID/stat`, whose second field is a name in parentheses that may hold anything.
fn fault_counts(stat: &str) -> Option<Faults> {
    let (_, rest) = stat.rsplit_once(')')?;
    // Fields 10 and 12 of proc(5); the rest begins with field 3.
    let mut fields = rest.split_whitespace().skip(10 - 3);
    let minor = fields.next()?.parse().ok()?;
    let major = fields.nth(1)?.parse().ok()?;
    Some(Faults { minor, major })
}

/// The mappings of one file in this process, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Mapped {
    /// Addresses.
    pub bytes: u64,
    /// Of these, in memory.
    pub resident: u64,
    /// Of these, copies that belong to this process alone, and are no longer pages of the file.
    pub anonymous: u64,
}

/// What of the file at `path` is mapped.
pub fn mapped(path: &Path) -> Option<Mapped> {
    let path = path.canonicalize().ok()?;
    Some(mappings(&fs::read_to_string("/proc/self/smaps").ok()?, path.to_str()?))
}

/// Adds up the entries of `/proc/PID/smaps` that belong to the file at `path`.
fn mappings(smaps: &str, path: &str) -> Mapped {
    let mut sum = Mapped::default();
    let mut ours = false;
    for line in smaps.lines() {
        match field(line) {
            Some((name, bytes)) => match name {
                "Size" if ours => sum.bytes += bytes,
                "Rss" if ours => sum.resident += bytes,
                "Anonymous" if ours => sum.anonymous += bytes,
                _ => {}
            },
            None if line.starts_with("VmFlags:") => {}
            // Addresses, permissions, offset, device, inode, and the file.
            None => {
                ours =
                    line.ends_with(path) && line.split_whitespace().nth(5).is_some_and(|file| path.starts_with(file));
            }
        }
    }
    sum
}

/// Asks the system to forget what it has read of the file at `path`, so that the next to use it waits for the disk. Pages that
/// a process maps, or that were not yet written, stay.
///
/// # Errors
/// If the file cannot be opened, or the system does not take the advice.
pub fn drop_cached(path: &Path) -> io::Result<()> {
    let file = File::open(path)?;
    file.sync_all()?;
    Ok(rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed)?)
}

/// Gives memory that the allocator keeps for later back to the system, where it can be asked to: with glibc. Worth its while after
/// something large was freed of which small parts are still in use.
pub fn trim() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call takes no memory from anyone; glibc locks what it looks at.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Asks the allocator of this process, for the rest of its life, to give large blocks back as soon as they are freed, and to keep all
/// others in one place, where [`trim`] reaches them. Call it first of all, before there is a second thread. Does nothing but with glibc,
/// which otherwise takes larger and larger blocks for worth keeping, and has a heap of its own for every thread.
pub fn keep_little() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    for (parameter, value) in [(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE)]
    {
        // SAFETY: the call takes two numbers and sets a parameter of the allocator under its lock.
        unsafe {
            libc::mallopt(parameter, value);
        }
    }
}

/// Bytes of a block, or of what is free at the end of the heap, that go back to the system at once: four times the default, so that
/// the buffers of a question over a short text stay.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE: libc::c_int = 512 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::skip::skipped;

    #[test]
    fn the_high_water_mark_is_found() {
        assert_eq!(status("VmHWM", "Name:\tx\nVmPeak:\t  9 kB\nVmHWM:\t   12345 kB\n"), Some(12345 * 1024));
        for text in ["", "VmHWM:", "VmHWM: 5 MB", "VmHWM: x kB", "VmHWM: 99999999999999999999 kB", "VmHWMx: 5 kB"] {
            assert_eq!(status("VmHWM", text), None, "{text:?}");
        }
    }

    #[test]
    fn the_rollup_is_read_by_name() {
        let text = "\
55b821af1000-7fffcd08c000 ---p 00000000 00:00 0                          [rollup]
Rss:                1748 kB
Pss:                 279 kB
Pss_Dirty:           112 kB
Shared_Clean:       1596 kB
Shared_Dirty:          7 kB
Private_Clean:        40 kB
Private_Dirty:       112 kB
Anonymous:           111 kB
AnonHugePages:         9 kB
Swap:                  3 kB
SwapPss:               2 kB
Locked:                5 kB
";
        let kb = 1024;
        let want = Usage {
            resident: 1748 * kb,
            pss: 279 * kb,
            shared_clean: 1596 * kb,
            private_clean: 40 * kb,
            private_dirty: 112 * kb,
            anonymous: 111 * kb,
            swap: 3 * kb,
            locked: 5 * kb,
        };
        assert_eq!(rollup(text), Some(want));
        for text in ["", "Rss: x kB", "Pss: 3 kB"] {
            assert_eq!(rollup(text), None, "{text:?}");
        }
    }

    #[test]
    fn faults_are_found_behind_any_name() {
        let fields = "R 11944 11944 7794 0 -1 4194304 100 7 13 0 0 0 0 0 20";
        for name in ["cat", "a b", "x) S 1 2 3 4 5 6 7 8 9", "(", ""] {
            let want = Faults { minor: 100, major: 13 };
            assert_eq!(fault_counts(&format!("11955 ({name}) {fields}")), Some(want), "{name}");
        }
        for text in ["", "1 (x)", "1 (x) R 1 2", "1 (x) R 1 2 3 4 5 6 x 8 9 10"] {
            assert_eq!(fault_counts(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_mappings_of_the_file_count() {
        let smaps = "\
7f00-7f01 r--s 00000000 fe:00 12                       /a/model.safetensors
Size:                 40 kB
Rss:                  20 kB
Private_Dirty:        16 kB
Anonymous:             4 kB
VmFlags: rd sh
7f02-7f03 r--p 00000000 fe:00 13                       /b/a/model.safetensors
Size:                400 kB
7f04-7f05 r--s 00000000 fe:00 12                       /a/model.safetensors
Size:                  8 kB
7f06-7f07 rw-p 00000000 00:00 0
Size:                400 kB
";
        let want = Mapped { bytes: 48 * 1024, resident: 20 * 1024, anonymous: 4 * 1024 };
        assert_eq!(mappings(smaps, "/a/model.safetensors"), want);
        assert_eq!(mappings(smaps, "/c"), Mapped::default());
    }

    /// Private pages are touched, which the system must notice.
    #[test]
    fn this_process_is_measured() {
        let (Some(before), Some(faults_before)) = (usage(), faults()) else {
            skipped("this_process_is_measured: no /proc/self/smaps_rollup");
            return;
        };
        let bytes = 64 << 20;
        let block = vec![1u8; bytes];
        let (after, faults_after) = (usage().expect("as before"), faults().expect("as before"));
        assert_eq!(std::hint::black_box(&block)[bytes / 2], 1);
        // Other tests of this process may free some meanwhile.
        let some = bytes as u64 / 2;
        assert!(after.anonymous >= before.anonymous + some, "{before:?} {after:?}");
        assert!(after.resident >= before.resident + some && after.private_dirty >= before.private_dirty + some);
        assert!(peak() >= Some(after.anonymous));
        assert!(faults_after.minor > faults_before.minor);
    }
}
