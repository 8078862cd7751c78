//! What state the machine is in: clocks, temperature, throttling, and how busy it is. Readers take the root of the file system.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::{Deserialize, Serialize};

/// The state at one moment. What the system does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Clocks, one for each group of cores that share one.
    pub clocks: Vec<Clock>,
    /// Of the hottest sensor of the CPU, or of any if none is named so, in degrees Celsius.
    pub celsius: Option<f64>,
    /// What slows the machine down, by everyone who can tell.
    pub throttling: Vec<Throttling>,
    /// Programs that want to run, averaged over a minute.
    pub load: Option<f64>,
}

/// The clock of some cores.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clock {
    /// The cores, as in `0-3`.
    pub cpus: String,
    /// Who sets it.
    pub governor: Option<String>,
    /// Now, in kHz.
    pub khz: Option<u64>,
    /// The highest allowed, in kHz.
    pub max_khz: Option<u64>,
}

/// What one source says about throttling.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttling {
    /// Who says it.
    pub source: String,
    /// What it says, unchanged.
    pub raw: String,
    /// What holds now.
    pub now: Vec<String>,
    /// What has happened since the machine was started.
    pub since_boot: Vec<String>,
    /// How often it has happened since the machine was started, where that is counted.
    pub count: Option<u64>,
}

/// Bits of the Raspberry Pi's firmware: those that hold now. The same, 16 higher, have held since boot.
const FIRMWARE_BITS: [(u32, &str); 4] =
    [(0, "under-voltage"), (1, "clock capped"), (2, "throttled"), (3, "soft temperature limit")];
/// Where the firmware's flags are, if not from its own program.
const FIRMWARE_FILES: [&str; 2] =
    ["sys/devices/platform/soc/soc:firmware/get_throttled", "sys/devices/platform/soc@0/soc@0:firmware/get_throttled"];

impl State {
    /// Of the machine whose file system is at `root`.
    pub fn read(root: &Path) -> Self {
        let load = text(&root.join("proc/loadavg")).and_then(|text| text.split_whitespace().next()?.parse().ok());
        let throttling = firmware(root).into_iter().chain(cooling(root)).chain(counted(root)).collect();
        Self { clocks: clocks(root), celsius: celsius(root), throttling, load }
    }

    /// What throttled the machine at this moment, or between `before` and this moment.
    pub fn throttled_since(&self, before: &State) -> Vec<String> {
        let mut found = Vec::new();
        for here in &self.throttling {
            let old = before.throttling.iter().find(|old| old.source == here.source);
            let (mut now, mut news) = (here.now.clone(), Vec::new());
            if let Some(old) = old {
                now.extend(old.now.iter().filter(|flag| !here.now.contains(flag)).cloned());
                news.extend(
                    here.since_boot.iter().filter(|flag| !old.since_boot.contains(flag) && !now.contains(flag)),
                );
                if let Some(times) =
                    here.count.zip(old.count).and_then(|(new, old)| new.checked_sub(old)).filter(|n| *n > 0)
                {
                    found.push(format!("throttled {times} times ({})", here.source));
                }
            }
            found.extend(now.iter().chain(news).map(|flag| format!("{flag} ({})", here.source)));
        }
        found
    }

    /// What has throttled the machine some time since it was started.
    pub fn throttled_since_boot(&self) -> Vec<String> {
        let flags =
            |t: &Throttling| t.since_boot.iter().map(|flag| format!("{flag} ({})", t.source)).collect::<Vec<_>>();
        self.throttling.iter().flat_map(flags).collect()
    }
}

fn text(path: &Path) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim_matches(['\0', '\n', ' ']).to_owned())
}

fn number(path: &Path) -> Option<u64> {
    text(path)?.parse().ok()
}

/// Entries of a folder whose names begin with `prefix`, by number.
fn entries(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let mut found: Vec<(u64, PathBuf)> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let rest = entry.file_name().to_str()?.strip_prefix(prefix)?.parse().ok()?;
            Some((rest, entry.path()))
        })
        .collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn clocks(root: &Path) -> Vec<Clock> {
    let policies = entries(&root.join("sys/devices/system/cpu/cpufreq"), "policy");
    let clock = |policy: &PathBuf| Clock {
        cpus: text(&policy.join("affected_cpus")).map(|list| list.replace(' ', ",")).unwrap_or_default(),
        governor: text(&policy.join("scaling_governor")),
        khz: number(&policy.join("scaling_cur_freq")),
        max_khz: number(&policy.join("scaling_max_freq")),
    };
    policies.iter().map(clock).collect()
}

fn celsius(root: &Path) -> Option<f64> {
    let zones = entries(&root.join("sys/class/thermal"), "thermal_zone");
    let read = |zone: &PathBuf| {
        let kind = text(&zone.join("type")).unwrap_or_default().to_ascii_lowercase();
        let degrees = text(&zone.join("temp"))?.parse::<f64>().ok()? / 1000.0;
        let of_cpu = ["cpu", "soc", "x86_pkg", "core", "package"].iter().any(|name| kind.contains(name));
        (-40.0..200.0).contains(&degrees).then_some((of_cpu, degrees))
    };
    let (cpu, any): (Vec<_>, Vec<_>) = zones.iter().filter_map(read).partition(|(of_cpu, _)| *of_cpu);
    let zones = if cpu.is_empty() { any } else { cpu };
    zones.into_iter().map(|(_, degrees)| degrees).max_by(f64::total_cmp)
}

/// The flags of the Raspberry Pi's firmware.
fn firmware(root: &Path) -> Option<Throttling> {
    let tool = ["usr/bin/vcgencmd", "opt/vc/bin/vcgencmd"].iter().find_map(|path| {
        let path = root.join(path);
        let output = path.is_file().then(|| Command::new(&path).arg("get_throttled").output().ok())??;
        let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
        Some(("vcgencmd", said.strip_prefix("throttled=")?.to_owned()))
    });
    let file = || FIRMWARE_FILES.iter().find_map(|path| Some(("firmware", text(&root.join(path))?)));
    let (source, raw) = tool.or_else(file)?;
    let bits = u32::from_str_radix(raw.strip_prefix("0x").unwrap_or(&raw), 16).ok()?;
    let flags = |shift: u32| {
        FIRMWARE_BITS
            .iter()
            .filter(|(bit, _)| bits >> (bit + shift) & 1 == 1)
            .map(|(_, name)| (*name).to_owned())
            .collect()
    };
    Some(Throttling { source: source.into(), now: flags(0), since_boot: flags(16), raw, count: None })
}

/// Cooling by a lower clock, as the kernel's thermal governor does it.
fn cooling(root: &Path) -> Option<Throttling> {
    let devices = entries(&root.join("sys/class/thermal"), "cooling_device");
    let states: Vec<(String, u64)> = devices
        .iter()
        .filter_map(|device| {
            let kind = text(&device.join("type"))?;
            (kind.contains("cpufreq") || kind.eq_ignore_ascii_case("processor"))
                .then(|| number(&device.join("cur_state")))?
                .map(|state| (kind, state))
        })
        .collect();
    let raw = states.iter().map(|(kind, state)| format!("{kind}={state}")).collect::<Vec<_>>().join(" ");
    let now = if states.iter().any(|(_, state)| *state > 0) { vec!["clock capped by heat".to_owned()] } else { vec![] };
    (!states.is_empty()).then(|| Throttling { source: "cooling device".into(), raw, now, ..Throttling::default() })
}

/// How often PC processors say that they were too hot.
fn counted(root: &Path) -> Option<Throttling> {
    let cores = entries(&root.join("sys/devices/system/cpu"), "cpu");
    let count = |core: &PathBuf| number(&core.join("thermal_throttle/core_throttle_count"));
    let counts: Vec<u64> = cores.iter().filter_map(count).collect();
    let sum = counts.iter().fold(0u64, |sum, count| sum.saturating_add(*count));
    let source = "core_throttle_count".to_owned();
    (!counts.is_empty()).then(|| Throttling { source, raw: sum.to_string(), count: Some(sum), ..Throttling::default() })
}

/// Time of all CPUs since the machine was started, in clock ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ticks {
    /// Spent on anything, steal included.
    pub busy: u64,
    /// Of these, spent by the hypervisor on other guests.
    pub steal: u64,
    /// Everything, idling included.
    pub all: u64,
    /// Of this process and its children that have ended.
    pub own: u64,
}

impl Ticks {
    /// Until now, of the machine whose file system is at `root`.
    pub fn read(root: &Path) -> Option<Self> {
        let stat = text(&root.join("proc/stat"))?;
        let cpu = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        // user nice system idle iowait irq softirq steal; guest times are part of user and nice.
        let fields: Vec<u64> = cpu.split_whitespace().take(8).filter_map(|field| field.parse().ok()).collect();
        let [_, _, _, idle, wait, .., steal] = fields[..] else { return None };
        let all: u64 = fields.iter().sum();
        let own = text(&root.join("proc/self/stat"))?;
        // utime stime cutime cstime are fields 14 to 17 of proc(5); behind the name begins field 3.
        let own: Vec<u64> = own
            .rsplit_once(')')?
            .1
            .split_whitespace()
            .skip(11)
            .take(4)
            .filter_map(|field| field.parse().ok())
            .collect();
        Some(Self { busy: all - idle - wait, steal, all, own: own.iter().sum() })
    }

    /// How much of all CPUs' time between `before` and this was stolen, and how much other programs used.
    pub fn shares_since(&self, before: &Self) -> Option<(f64, f64)> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)? as f64;
        let steal = self.steal.saturating_sub(before.steal);
        let own = self.own.saturating_sub(before.own);
        let others = self.busy.saturating_sub(before.busy).saturating_sub(steal + own);
        Some((steal as f64 / all, others as f64 / all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_of_others_are_what_is_left() {
        let before = Ticks { busy: 100, steal: 10, all: 1000, own: 20 };
        let after = Ticks { busy: 220, steal: 20, all: 1200, own: 100 };
        assert_eq!(after.shares_since(&before), Some((0.05, 0.15)));
        assert_eq!(before.shares_since(&before), None);
        let root = tempfile::tempdir().expect("a folder");
        assert_eq!(Ticks::read(root.path()), None);
        fs::create_dir_all(root.path().join("proc/self")).expect("a folder");
        fs::write(root.path().join("proc/stat"), "cpu  10 1 5 100 7 2 3 4 9 9\ncpu0 1\n").expect("written");
        fs::write(root.path().join("proc/self/stat"), "7 (a b) R 1 2 3 4 5 6 7 8 9 10 11 12 13 14 20 0\n")
            .expect("written");
        let want = Ticks { busy: 25, steal: 4, all: 132, own: 11 + 12 + 13 + 14 };
        assert_eq!(Ticks::read(root.path()), Some(want));
    }
}
