//! `edgeqa doctor`.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use edgeqa::artifact::Artifact;
use edgeqa::kernels::cpu::{Isa, features};
use edgeqa::kernels::gemm::{OVERRIDE_VARIABLE, TABLE, chosen};
use edgeqa::memory::Need;
use edgeqa::qa::{AskOptions, Reader};
use edgeqa::threads::Threads;
use serde::Serialize;

use super::args::DoctorArgs;
use super::excerpt::clean;
use super::memory::{Memory, need, need_rows};
use super::{load, locate, pretty, print};

/// A question that any model can be asked.
const QUESTION: &str = "What is this?";
const TEXT: &str = "This is a text to see whether questions can be answered here.";

/// What this machine has for answering.
#[derive(Serialize)]
struct Report {
    version: &'static str,
    target: String,
    /// As the system names it.
    cpu: Option<String>,
    features: Vec<Feature>,
    kernels: Vec<Kernel>,
    /// The int8 kernel of the linear layers.
    kernel: &'static str,
    /// Kernel that the environment asks for.
    kernel_override: Option<String>,
    /// The instructions of everything else.
    vectors: &'static str,
    /// Threads that work on a question.
    threads: usize,
    default_threads: usize,
    physical_cores: usize,
    usable_cpus: usize,
    page_bytes: usize,
    model: String,
    /// After the question.
    memory: Memory,
    /// What a window of the default length needs.
    memory_need: Need,
    weights_are_mapped: Option<bool>,
    /// From opening the model to being ready, in milliseconds.
    load_ms: f64,
    /// One short question, in milliseconds.
    answer_ms: f64,
}

#[derive(Serialize)]
struct Feature {
    name: &'static str,
    available: bool,
}

#[derive(Serialize)]
struct Kernel {
    name: &'static str,
    available: bool,
    chosen: bool,
}

pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let path = locate::model(args.model.model.as_deref())?;
    let threads = args.threads.start()?;
    let started = Instant::now();
    let (artifact, reader) = load(&path, &args.model, threads.count(), None)?;
    let reader = reader.on(threads);
    let load_ms = started.elapsed().as_secs_f64() * 1e3;
    let started = Instant::now();
    reader.ask(QUESTION, TEXT, &AskOptions::default())?;
    let answer_ms = started.elapsed().as_secs_f64() * 1e3;
    let report = Report::new(&path, &artifact, &reader, load_ms, answer_ms);
    let text = if args.json { pretty(&report)? } else { report.page()? };
    print(&text)
}

impl Report {
    fn new(path: &Path, artifact: &Artifact, reader: &Reader, load_ms: f64, answer_ms: f64) -> Self {
        let kernel = |kernel: &edgeqa::kernels::gemm::Kernel| Kernel {
            name: kernel.name,
            available: kernel.is_available(),
            chosen: std::ptr::eq(kernel, chosen()),
        };
        let memory = Memory::now(path);
        Self {
            version: env!("CARGO_PKG_VERSION"),
            target: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
            cpu: cpu_name(),
            features: features().into_iter().map(|(name, available)| Feature { name, available }).collect(),
            kernels: TABLE.iter().map(kernel).collect(),
            kernel: chosen().name,
            kernel_override: std::env::var(OVERRIDE_VARIABLE).ok(),
            vectors: Isa::chosen().name(),
            threads: reader.model().threads().count(),
            default_threads: Threads::default_count().get(),
            physical_cores: num_cpus::get_physical(),
            usable_cpus: std::thread::available_parallelism().map_or(1, usize::from),
            page_bytes: rustix::param::page_size(),
            model: path.to_string_lossy().into_owned(),
            weights_are_mapped: memory.is_mapped(),
            memory,
            memory_need: need(artifact, reader.model().threads().count(), None),
            load_ms,
            answer_ms,
        }
    }

    fn page(&self) -> Result<String, std::fmt::Error> {
        let mut text = String::new();
        let mut row = |name: &str, value: &str| writeln!(text, "{name:<14}{}", clean(value));
        row("edgeqa", &format!("{} for {}", self.version, self.target))?;
        row("cpu", self.cpu.as_deref().unwrap_or("(the system gives no name)"))?;
        let names = |available| -> String {
            let names: Vec<_> = self.features.iter().filter(|f| f.available == available).map(|f| f.name).collect();
            if names.is_empty() { "(none that matter here)".into() } else { names.join(" ") }
        };
        row("features", &names(true))?;
        row("  missing", &names(false))?;
        for (i, kernel) in self.kernels.iter().rev().enumerate() {
            let state = match (kernel.chosen, kernel.available) {
                (true, _) => "chosen",
                (_, true) => "available",
                _ => "not on this CPU",
            };
            row(if i == 0 { "kernels" } else { "" }, &format!("{:<32}{state}", kernel.name))?;
        }
        if let Some(name) = &self.kernel_override {
            row("  override", &format!("{OVERRIDE_VARIABLE}={name}"))?;
        }
        row("vectors", self.vectors)?;
        let (cores, cpus) = (self.physical_cores, self.usable_cpus);
        let default = self.default_threads;
        row("threads", &format!("{} (default {default}; {cores} physical cores, {cpus} usable CPUs)", self.threads))?;
        row("page size", &format!("{} bytes", self.page_bytes))?;
        row("model", &self.model)?;
        for (name, value) in self.memory.rows().into_iter().chain(need_rows(&self.memory_need, &self.memory.limits)) {
            row(name, &value)?;
        }
        row("load", &format!("{:.1} ms", self.load_ms))?;
        row("answer", &format!("{:.1} ms for a short question", self.answer_ms))?;
        Ok(text)
    }
}

/// The name of the CPU, or of the board, as Linux gives it.
fn cpu_name() -> Option<String> {
    let info = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let line = info.lines().find(|line| line.starts_with(name))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let board = || Some(std::fs::read_to_string("/proc/device-tree/model").ok()?.trim_end_matches('\0').to_owned());
    field("model name").or_else(board).or_else(|| field("Model"))
}
