//! Hard limits on memory, and those that this process lives under ([`limits`]).

use std::fs;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Where control groups are mounted.
pub(super) const CGROUPS: &str = "/sys/fs/cgroup";
/// Values of version 1 from here on mean that there is no limit: it counts pages in a `long`, which may have 32 bits.
const UNLIMITED: u64 = i32::MAX as u64 * 4096;

/// A hard limit on memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// The limit.
    pub bytes: u64,
    /// Who enforces it, on what.
    pub kind: Kind,
}

/// What a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// `memory.max` of a control group, version 2: private memory and the pages of files that the group was first to read.
    Cgroup2,
    /// `memory.limit_in_bytes` of a control group, version 1: the same.
    Cgroup1,
    /// `RLIMIT_DATA`: private memory that can be written, whether used or not. Pages of files do not count.
    Data,
    /// `RLIMIT_AS`: all addresses, whether used or not. The whole model file counts.
    AddressSpace,
}

impl Kind {
    /// For people.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Cgroup2 => "control group (v2)",
            Kind::Cgroup1 => "control group (v1)",
            Kind::Data => "RLIMIT_DATA",
            Kind::AddressSpace => "RLIMIT_AS",
        }
    }
}

/// The hard limits on the memory of this process; of several groups around it, the tightest of a version.
pub fn limits() -> Vec<Limit> {
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let group = |(kind, folder): &(Kind, PathBuf)| {
        let bytes = folder.ancestors().filter_map(|folder| group_limit(*kind, folder)).min()?;
        Some(Limit { bytes, kind: *kind })
    };
    let processes = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let process = [("Max data size", Kind::Data), ("Max address space", Kind::AddressSpace)];
    let process =
        process.into_iter().filter_map(|(name, kind)| Some(Limit { bytes: resource_limit(&processes, name)?, kind }));
    group_folders(&groups, Path::new(CGROUPS)).iter().filter_map(group).chain(process).collect()
}

/// How much memory this process may lock, in bytes, unless it has the privilege to lock any. `None` if that is not limited, or the system
/// does not tell.
pub fn lockable() -> Option<u64> {
    resource_limit(&fs::read_to_string("/proc/self/limits").ok()?, "Max locked memory")
}

/// The folders of the groups in `/proc/PID/cgroup` that may limit memory.
pub(super) fn group_folders(text: &str, root: &Path) -> Vec<(Kind, PathBuf)> {
    let folder = |line: &str| {
        let mut fields = line.splitn(3, ':');
        let (id, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        let (kind, mounts) = if id == "0" && controllers.is_empty() {
            (Kind::Cgroup2, [root.to_owned(), root.join("unified")])
        } else if controllers.split(',').any(|controller| controller == "memory") {
            (Kind::Cgroup1, [root.join("memory"), root.join(controllers)])
        } else {
            return None;
        };
        let inside = mounts.iter().map(|mount| mount.join(path.trim_start_matches('/')));
        // In a container, the group that the system names can lie outside of what is mounted: the mount itself is ours then.
        let found = inside.chain(mounts.clone()).find(|folder| folder.join("cgroup.procs").exists())?;
        Some((kind, found))
    };
    text.lines().filter_map(folder).collect()
}

/// The limit of the group at `folder` alone.
pub(super) fn group_limit(kind: Kind, folder: &Path) -> Option<u64> {
    let value = fs::read_to_string(folder.join(limit_file(kind))).ok()?;
    // "max" is no number.
    value.trim().parse().ok().filter(|&bytes| bytes < UNLIMITED)
}

pub(super) fn limit_file(kind: Kind) -> &'static str {
    if kind == Kind::Cgroup2 { "memory.max" } else { "memory.limit_in_bytes" }
}

/// The soft limit called `name` in `/proc/PID/limits`, which is the one that is enforced.
pub(super) fn resource_limit(text: &str, name: &str) -> Option<u64> {
    let values = text.lines().find_map(|line| line.strip_prefix(name))?;
    values.split_whitespace().next()?.parse().ok()
}

/// The least memory that a program can be limited to: with less, not even a shell starts.
const LEAST: u64 = 1 << 20;

/// Bytes of a size such as `64M`: a number with `K`, `M` or `G` for the powers of 1024, or none for bytes.
///
/// # Errors
/// A message if it is no such size, or less than 1M.
pub fn parse_bytes(text: &str) -> Result<u64, String> {
    let (digits, shift) = match text.char_indices().next_back() {
        Some((at, 'k' | 'K')) => (&text[..at], 10),
        Some((at, 'm' | 'M')) => (&text[..at], 20),
        Some((at, 'g' | 'G')) => (&text[..at], 30),
        _ => (text, 0),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    match bytes {
        Some(bytes) if bytes >= LEAST => Ok(bytes),
        Some(bytes) if bytes > 0 && shift < 20 => {
            Err(format!("{bytes} bytes are too little to run anything; write {digits}M for so many MiB"))
        }
        Some(bytes) => Err(format!("{bytes} bytes are too little to run anything; give 1M or more")),
        None => Err("not a size such as 64M (K, M, G: powers of 1024)".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, bytes) in [("64M", 64 << 20), ("1g", 1 << 30), ("3000K", 3_072_000), ("1048576", 1 << 20)] {
            assert_eq!(parse_bytes(text), Ok(bytes), "{text}");
        }
        for text in ["", "M", "0", "0M", "-1", "64MB", "1.5M", "99999999999999999999", "99999999999999999G", "6\u{e9}"]
        {
            assert!(parse_bytes(text).is_err(), "{text:?}");
        }
        for text in ["0", "0M", "0g"] {
            assert!(parse_bytes(text).is_err_and(|error| error.ends_with("give 1M or more")), "{text}");
        }
        for text in ["64", "1048575", "64k"] {
            let problem = parse_bytes(text).expect_err("too little");
            assert!(problem.contains("too little") && problem.contains("M for so many MiB"), "{problem}");
        }
    }

    #[test]
    fn resource_limits_are_read() {
        let text = "\
Limit                     Soft Limit           Hard Limit           Units     
Max data size             1048576              unlimited            bytes     
Max address space         unlimited            unlimited            bytes     
";
        assert_eq!(resource_limit(text, "Max data size"), Some(1 << 20));
        assert_eq!(resource_limit(text, "Max address space"), None);
        assert_eq!(resource_limit(text, "Max of anything"), None);
    }

    #[test]
    fn groups_are_found_where_they_are_mounted() {
        let root = tempfile::tempdir().expect("a folder");
        let root = root.path();
        let make = |folder: &str, files: &[(&str, &str)]| {
            let folder = root.join(folder);
            fs::create_dir_all(&folder).expect("a folder");
            for (name, text) in files.iter().chain(&[("cgroup.procs", "")]) {
                fs::write(folder.join(name), text).expect("a file");
            }
            folder
        };
        let slice = make("user.slice/a:b", &[("memory.max", "67108864\n")]);
        make("user.slice", &[("memory.max", "max\n")]);
        make("", &[]);
        let old = make("memory", &[("memory.limit_in_bytes", "9223372036854771712\n")]);
        let text = "0::/user.slice/a:b\n5:cpu,memory:/docker/x\n4:cpu:/\nnonsense\n";
        let want = vec![(Kind::Cgroup2, slice.clone()), (Kind::Cgroup1, old.clone())];
        assert_eq!(group_folders(text, root), want);
        assert_eq!(group_limit(Kind::Cgroup2, &slice), Some(64 << 20));
        assert_eq!(group_limit(Kind::Cgroup2, &root.join("user.slice")), None);
        assert_eq!(group_limit(Kind::Cgroup1, &old), None);
        assert_eq!(group_folders("", root), vec![]);
    }
}
