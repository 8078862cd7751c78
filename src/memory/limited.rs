//! Running programs under a hard limit on memory.
//!
//! A control group limits what counts on a board: private memory and the pages of files together, where the system drops the
//! latter and reads them again. Where no group can be made, `RLIMIT_DATA` limits private memory alone.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::limit::{CGROUPS, Kind, Limit, group_folders, limit_file};

/// A limit for programs that are yet to be started. A group that was made for it is removed when this is dropped, if the programs
/// have ended.
#[derive(Debug)]
pub struct Limited {
    limit: Limit,
    /// The folder of the group, if there is one.
    group: Option<PathBuf>,
    /// Says that the group has an owner. The system unlocks it when the process ends, however it does.
    _lock: Option<File>,
}

impl Limited {
    /// A limit of `bytes`: by a control group if this process may make one, else by `RLIMIT_DATA`; [`Limited::limit`] says which.
    pub fn new(bytes: u64) -> Self {
        let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        for (kind, folder) in group_folders(&groups, Path::new(CGROUPS)) {
            // A group of version 2 that has processes cannot have limited groups in it, one further up can.
            // What has no processes is no group, but what groups are mounted in.
            let groups = folder.ancestors().take_while(|folder| folder.join("cgroup.procs").exists());
            for parent in groups {
                if let Some(limited) = Self::in_group(kind, parent, bytes) {
                    return limited;
                }
            }
        }
        Self { limit: Limit { bytes, kind: Kind::Data }, group: None, _lock: None }
    }

    /// A new group in the one at `parent`, if it can be made, limited and entered.
    fn in_group(kind: Kind, parent: &Path, bytes: u64) -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        remove_left_behind(parent);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("{GROUP}{}-{number}", std::process::id()));
        fs::create_dir(&folder).ok()?;
        // From here on it is removed if something fails.
        let limited = Self { limit: Limit { bytes, kind }, group: Some(folder.clone()), _lock: lock(&folder) };
        let limit_file = folder.join(limit_file(kind));
        fs::OpenOptions::new()
            .write(true)
            .open(limit_file)
            .and_then(|mut file| file.write_all(bytes.to_string().as_bytes()))
            .ok()?;
        let swap = match kind {
            Kind::Cgroup2 => fs::write(folder.join("memory.swap.max"), "0"),
            _ => fs::write(folder.join("memory.memsw.limit_in_bytes"), bytes.to_string()),
        };
        if let Err(error) = swap {
            log::debug!("{}: swap is not limited: {error}", folder.display());
        }
        let quiet = |mut command: Command| command.stdin(Stdio::null()).stderr(Stdio::null()).status();
        quiet(limited.command("true")).is_ok_and(|status| status.success()).then_some(limited)
    }

    /// The limit, and who enforces it.
    pub fn limit(&self) -> Limit {
        self.limit
    }

    /// A command that starts `program` under the limit. It goes through `/bin/sh`, which replaces itself with the program.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("/bin/sh");
        match &self.group {
            Some(group) => {
                command.args(["-c", r#"echo $$ >"$1" || exit 126; shift; exec "$@""#, "sh"]);
                command.arg(group.join("cgroup.procs"));
            }
            None => {
                command.args(["-c", r#"ulimit -d "$1" || exit 126; shift; exec "$@""#, "sh"]);
                command.arg((self.limit.bytes / 1024).to_string());
            }
        }
        command.arg(program);
        command
    }

    /// How many programs the system has killed because of the limit. `None` where it does not tell.
    pub fn kills(&self) -> Option<u64> {
        let file = if self.limit.kind == Kind::Cgroup2 { "memory.events" } else { "memory.oom_control" };
        let events = fs::read_to_string(self.group.as_ref()?.join(file)).ok()?;
        events.lines().find_map(|line| line.strip_prefix("oom_kill "))?.trim().parse().ok()
    }

    /// The most memory that was used under the limit, in bytes, pages of files included. `None` where the system does not tell.
    pub fn peak(&self) -> Option<u64> {
        let file = if self.limit.kind == Kind::Cgroup2 { "memory.peak" } else { "memory.max_usage_in_bytes" };
        fs::read_to_string(self.group.as_ref()?.join(file)).ok()?.trim().parse().ok()
    }
}

/// What the names of groups begin with that are made here; the number of the process that made it and a count follow.
const GROUP: &str = "edgeqa-";

/// The folder, locked for this process; `None` if somebody else has it.
fn lock(folder: &Path) -> Option<File> {
    let folder = File::open(folder).ok()?;
    folder.try_lock().ok()?;
    Some(folder)
}

/// Removes the groups in the one at `parent` that were made here by processes that were killed. Locks tell, not numbers of processes, which
/// are others in a container. A group in which a program still runs stays: the system removes none that is in use.
fn remove_left_behind(parent: &Path) {
    let is_ours = |name: &str| {
        let numbers = name.strip_prefix(GROUP).and_then(|numbers| numbers.split_once('-'));
        numbers.is_some_and(|(process, count)| process.parse::<u32>().is_ok() && count.parse::<u32>().is_ok())
    };
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let folder = entry.path();
        if entry.file_name().to_str().is_some_and(is_ours)
            && let Some(_lock) = lock(&folder)
            && fs::remove_dir(&folder).is_ok()
        {
            log::debug!("removed {}, left behind by a process that was killed", folder.display());
        }
    }
}

/// How long programs that have been killed may take to be gone.
const PATIENCE: Duration = Duration::from_secs(1);

impl Drop for Limited {
    fn drop(&mut self) {
        let Some(group) = &self.group else { return };
        let started = Instant::now();
        while let Err(error) = fs::remove_dir(group) {
            if error.kind() != ErrorKind::ResourceBusy || started.elapsed() > PATIENCE {
                log::warn!("cannot remove the control group {}: {error}", group.display());
                return;
            }
            thread::sleep(Duration::from_millis(10));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::limit::{group_limit, resource_limit};
    use super::*;
    use crate::skip::skipped;

    #[test]
    fn groups_without_an_owner_are_removed() {
        let parent = tempfile::tempdir().expect("a folder");
        let names =
            ["edgeqa-7-0", "edgeqa-7-12", "edgeqa-8-0", "edgeqa-x-0", "edgeqa-7", "edgeqa-7-a.slice", "other-7-0"];
        for name in names {
            fs::create_dir(parent.path().join(name)).expect("a folder");
        }
        // As one with processes, which cannot be removed.
        fs::create_dir(parent.path().join("edgeqa-7-12/in_use")).expect("a folder");
        let owner = lock(&parent.path().join("edgeqa-8-0")).expect("nobody else's");
        let stay = || names.map(|name| parent.path().join(name).exists());
        remove_left_behind(parent.path());
        assert_eq!(stay(), [false, true, true, true, true, true, true]);
        // Not only dropped: a program that another test starts just now may have a copy.
        owner.unlock().expect("unlocked");
        remove_left_behind(parent.path());
        assert_eq!(stay(), [false, true, false, true, true, true, true]);
        remove_left_behind(&parent.path().join("nothing"));
    }

    /// Whoever enforces it, the program sees the limit and cannot fill more memory.
    #[test]
    fn a_program_runs_under_the_limit_and_not_beyond() {
        if !Path::new("/proc/self/limits").exists() {
            skipped("a_program_runs_under_the_limit_and_not_beyond: no /proc");
            return;
        }
        let bytes = 16 << 20;
        let data = Limited { limit: Limit { bytes, kind: Kind::Data }, group: None, _lock: None };
        let new = Limited::new(bytes);
        if new.group.is_none() {
            skipped(
                "a_program_runs_under_the_limit_and_not_beyond: the part with a control group, as none can be made",
            );
        }
        for limited in [new, data] {
            let output = |program: &str, args: &[&str]| limited.command(program).args(args).output().expect("runs");
            assert_eq!(output("echo", &["a b", "$0", "*"]).stdout, b"a b $0 *\n");
            if limited.limit.kind == Kind::Data {
                let limits = String::from_utf8(output("cat", &["/proc/self/limits"]).stdout).expect("text");
                assert_eq!(resource_limit(&limits, "Max data size"), Some(bytes));
            } else {
                println!("limited by {}", limited.limit.kind.name());
                let groups = String::from_utf8(output("cat", &["/proc/self/cgroup"]).stdout).expect("text");
                let folders = group_folders(&groups, Path::new(CGROUPS));
                let ours = folders.iter().find(|(kind, _)| *kind == limited.limit.kind).expect("our group");
                assert_eq!(group_limit(ours.0, &ours.1), Some(bytes));
                assert_eq!(limited.kills(), Some(0));
            }
            // A line of 64 MB, which a shell variable must hold.
            let fill = "x=$(head -c 67108864 /dev/zero | tr '\\0' x); echo ${#x}";
            let filled = output("/bin/sh", &["-c", fill]);
            assert_ne!(String::from_utf8_lossy(&filled.stdout).trim(), "67108864", "{limited:?}");
            if limited.group.is_some() {
                assert!(limited.kills() >= Some(1) && limited.peak() > Some(bytes / 2), "{limited:?}");
            }
            // Some of what was killed may be ending still.
            let group = limited.group.clone();
            drop(limited);
            assert!(!group.is_some_and(|group| group.exists()));
        }
    }
}
