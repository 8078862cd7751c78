//! What the machine is: facts that do not change while it runs. Readers take the root of the file system, so that they can be
//! shown other machines.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::kernels::cpu::{Isa, features};
use crate::kernels::gemm::chosen;

/// A machine and its system. What the system does not tell is absent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The board as the device tree names it, or the product as the firmware of a PC does.
    pub board: Option<String>,
    /// The kinds of cores.
    pub cpus: Vec<Cpu>,
    /// Those of the CPU's features that matter here.
    pub features: Vec<String>,
    /// The int8 kernel of the linear layers.
    pub kernel: String,
    /// The instructions of everything else.
    pub vectors: String,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Bytes of a page.
    pub page_bytes: usize,
    /// The distribution.
    pub system: Option<String>,
    /// The release of Linux.
    pub linux: Option<String>,
    /// The C library that runs this program.
    pub libc: Option<String>,
}

/// Cores of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    /// How it is called.
    pub name: String,
    /// How many there are.
    pub count: usize,
    /// The designer's number, on Arm.
    pub implementer: Option<String>,
    /// The designer's number for this kind, on Arm.
    pub part: Option<String>,
    /// Variant and revision, on Arm, as in r0p3.
    pub revision: Option<String>,
}

impl Host {
    /// The machine whose file system is at `root`; features and kernel are those of this process.
    pub fn read(root: &Path) -> Self {
        let text = |path: &str| fs::read_to_string(root.join(path)).ok();
        let line = |path: &str| {
            let line = text(path)?.trim_matches(['\0', '\n', ' ']).to_owned();
            (!line.is_empty()).then_some(line)
        };
        let info = text("proc/cpuinfo").unwrap_or_default();
        let model = || field(&info, "Model").map(str::to_owned);
        let board = line("proc/device-tree/model").or_else(model).or_else(|| line("sys/class/dmi/id/product_name"));
        let memory = text("proc/meminfo").and_then(|info| {
            let units: u64 = field(&info, "MemTotal")?.strip_suffix("kB")?.trim().parse().ok()?;
            units.checked_mul(1024)
        });
        let system = text("etc/os-release").and_then(|text| {
            let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
            Some(name.trim_matches('"').to_owned())
        });
        Self {
            board,
            cpus: cpus(&info),
            features: features().into_iter().filter(|(_, has)| *has).map(|(name, _)| name.to_owned()).collect(),
            kernel: chosen().name.to_owned(),
            vectors: Isa::chosen().name().to_owned(),
            memory,
            page_bytes: rustix::param::page_size(),
            system,
            linux: line("proc/sys/kernel/osrelease"),
            libc: libc(root),
        }
    }

    /// A name for folders and titles.
    pub fn name(&self) -> String {
        let cpu = || self.cpus.first().map(|cpu| cpu.name.clone());
        self.board.clone().or_else(cpu).unwrap_or_else(|| std::env::consts::ARCH.to_owned())
    }
}

/// The first value called `name` of `name : value` lines.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(':')?;
        (found.trim() == name && !value.trim().is_empty()).then_some(value.trim())
    })
}

/// The kinds of cores in `/proc/cpuinfo`, in order of appearance.
fn cpus(info: &str) -> Vec<Cpu> {
    let mut cpus: Vec<Cpu> = Vec::new();
    for block in info.split("\n\n").filter(|block| field(block, "processor").is_some()) {
        let own = |name: &str| field(block, name).map(str::to_owned);
        let (implementer, part) = (own("CPU implementer"), own("CPU part"));
        let revision = field(block, "CPU variant").zip(field(block, "CPU revision")).and_then(|(variant, revision)| {
            let variant = u32::from_str_radix(variant.strip_prefix("0x")?, 16).ok()?;
            Some(format!("r{variant}p{revision}"))
        });
        let known = implementer.as_deref().zip(part.as_deref()).and_then(|(i, p)| arm_name(i, p)).map(str::to_owned);
        let unknown = || Some(format!("implementer {} part {}", implementer.as_deref()?, part.as_deref()?));
        let name = known.or_else(|| own("model name")).or_else(unknown).unwrap_or_else(|| "unnamed".into());
        let cpu = Cpu { name, count: 1, implementer, part, revision };
        match cpus.iter_mut().find(|other| Cpu { count: 1, ..(*other).clone() } == cpu) {
            Some(same) => same.count += 1,
            None => cpus.push(cpu),
        }
    }
    cpus
}

/// What a core is called, by the numbers of its identification register.
fn arm_name(implementer: &str, part: &str) -> Option<&'static str> {
    let number = |text: &str| u32::from_str_radix(text.strip_prefix("0x")?, 16).ok();
    Some(match (number(implementer)?, number(part)?) {
        (0x41, 0xb76) => "Arm ARM1176",
        (0x41, 0xc05) => "Arm Cortex-A5",
        (0x41, 0xc07) => "Arm Cortex-A7",
        (0x41, 0xc08) => "Arm Cortex-A8",
        (0x41, 0xc09) => "Arm Cortex-A9",
        (0x41, 0xc0e) => "Arm Cortex-A17",
        (0x41, 0xc0f) => "Arm Cortex-A15",
        (0x41, 0xd03) => "Arm Cortex-A53",
        (0x41, 0xd04) => "Arm Cortex-A35",
        (0x41, 0xd05) => "Arm Cortex-A55",
        (0x41, 0xd07) => "Arm Cortex-A57",
        (0x41, 0xd08) => "Arm Cortex-A72",
        (0x41, 0xd09) => "Arm Cortex-A73",
        (0x41, 0xd0a) => "Arm Cortex-A75",
        (0x41, 0xd0b) => "Arm Cortex-A76",
        (0x41, 0xd0c) => "Arm Neoverse-N1",
        (0x41, 0xd0d) => "Arm Cortex-A77",
        (0x41, 0xd40) => "Arm Neoverse-V1",
        (0x41, 0xd41) => "Arm Cortex-A78",
        (0x41, 0xd42) => "Arm Cortex-A78AE",
        (0x41, 0xd44) => "Arm Cortex-X1",
        (0x41, 0xd46) => "Arm Cortex-A510",
        (0x41, 0xd47) => "Arm Cortex-A710",
        (0x41, 0xd49) => "Arm Neoverse-N2",
        (0x41, 0xd4d) => "Arm Cortex-A715",
        (0x41, 0xd4f) => "Arm Neoverse-V2",
        (0x41, 0xd80) => "Arm Cortex-A520",
        (0x41, 0xd81) => "Arm Cortex-A720",
        (0x4e, 0x004) => "NVIDIA Carmel",
        _ => return None,
    })
}

/// The C library that this process has mapped, by what is written in it.
fn libc(root: &Path) -> Option<String> {
    if cfg!(target_env = "musl") {
        return Some("musl".into());
    }
    let maps = fs::read_to_string(root.join("proc/self/maps")).ok()?;
    let file = maps.lines().filter_map(|line| line.split_whitespace().nth(5)).find(|file| {
        let name = file.rsplit('/').next().unwrap_or_default();
        name.starts_with("libc.so") || name.starts_with("libc-2")
    })?;
    let bytes = fs::read(root.join(file.trim_start_matches('/'))).ok()?;
    let banner: &[u8] = b"GNU C Library ";
    let at = bytes.windows(banner.len()).position(|window| window == banner)?;
    let line = String::from_utf8_lossy(bytes.get(at..(at + 200).min(bytes.len()))?).into_owned();
    let (_, version) = line.lines().next()?.split_once("version ")?;
    Some(format!("glibc {}", version.trim_end().trim_end_matches('.')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_cores_are_counted() {
        let core = |n: u32, part: &str| {
            format!(
                "processor\t: {n}\nCPU implementer\t: 0x41\nCPU variant\t: 0x4\nCPU part\t: {part}\nCPU revision\t: 1\n\n"
            )
        };
        let info = [core(0, "0xd05"), core(1, "0xd05"), core(2, "0xd0b"), core(3, "0x123")].concat()
            + "Hardware\t: BCM2835\nModel\t\t: Raspberry Pi\n";
        let kinds: Vec<_> = cpus(&info).into_iter().map(|cpu| (cpu.name, cpu.count, cpu.revision)).collect();
        let revision = Some("r4p1".to_owned());
        let want = [("Arm Cortex-A55", 2), ("Arm Cortex-A76", 1), ("implementer 0x41 part 0x123", 1)];
        assert_eq!(kinds, want.map(|(name, count)| (name.to_owned(), count, revision.clone())));
        assert_eq!(cpus(""), []);
        assert_eq!(cpus("processor: 0\nmodel name: Some CPU\n\nprocessor: 1\nmodel name: Some CPU\n")[0].count, 2);
    }

    #[test]
    fn an_empty_machine_has_a_name() {
        let root = tempfile::tempdir().expect("a folder");
        let host = Host::read(root.path());
        assert_eq!((&host.board, &host.memory, &host.linux), (&None, &None, &None));
        assert!(!host.name().is_empty() && host.kernel.starts_with("gemm_i8_"));
    }
}
