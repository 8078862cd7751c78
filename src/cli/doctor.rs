//! `edgeqa doctor`.

use std::fmt::Write;
use std::path::Path;
use std::time::Instant;

use edgeqa::bench::host::Host;
use edgeqa::errors::one_line;
use edgeqa::kernels::cpu::{Isa, features};
use edgeqa::kernels::gemm::{OVERRIDE_VARIABLE, TABLE, chosen, overridden};
use edgeqa::memory::{Limit, Need, Shortage};
use edgeqa::shown::count;
use edgeqa::threads::Threads;
use serde::Serialize;

use super::args::DoctorArgs;
use super::excerpt::clean;
use super::memory::{Memory, need, need_rows};
use super::{load, locate, pretty, print, try_out};

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
    /// Whether it is the one in use.
    kernel_override_taken: Option<bool>,
    /// The instructions of everything else.
    vectors: &'static str,
    /// Threads that work on a question.
    threads: usize,
    default_threads: usize,
    physical_cores: usize,
    usable_cpus: usize,
    page_bytes: usize,
    /// `None` if none can be used.
    model: Option<String>,
    /// Why.
    problem: Option<String>,
    /// After the question.
    memory: Memory,
    /// What a window of the default length needs.
    memory_need: Option<Need>,
    /// How each limit of `memory` compares with that.
    memory_limits: Vec<Verdict>,
    weights_are_mapped: Option<bool>,
    /// From opening the model to being ready, in milliseconds.
    load_ms: Option<f64>,
    /// One short question, in milliseconds.
    answer_ms: Option<f64>,
}

/// A limit, and whether it is enough.
#[derive(Serialize)]
struct Verdict {
    #[serde(flatten)]
    limit: Limit,
    /// `enough`, `slow`, or `fatal` if the system may end the program.
    verdict: &'static str,
    /// Bytes, if it is not enough.
    needed: Option<u64>,
}

/// A question, answered.
struct Trial {
    model: String,
    memory: Memory,
    memory_need: Need,
    load_ms: f64,
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

/// Prints the report, also where no question can be answered.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let threads = args.threads.start();
    // Where no more start, the calling one is left.
    let count = threads.as_ref().map_or(1, Threads::count);
    let (trial, error) = match threads.map_err(anyhow::Error::from).and_then(|threads| Trial::new(args, threads)) {
        Ok(trial) => (Some(trial), None),
        Err(error) => (None, Some(error)),
    };
    let report = Report::new(count, trial, error.as_ref());
    let text = if args.json { pretty(&report)? } else { report.page()? };
    print(&text)?;
    error.map_or(Ok(()), Err)
}

impl Trial {
    fn new(args: &DoctorArgs, threads: Threads) -> anyhow::Result<Self> {
        let path = locate::model(args.model.model.as_deref())?;
        let count = threads.count();
        let started = Instant::now();
        let (artifact, reader) = load(&path, &args.model, count, None)?;
        let reader = reader.on(threads);
        let load_ms = started.elapsed().as_secs_f64() * 1e3;
        let started = Instant::now();
        try_out(&reader, &path)?;
        let answer_ms = started.elapsed().as_secs_f64() * 1e3;
        Ok(Self {
            model: path.to_string_lossy().into_owned(),
            memory: Memory::now(Some(&path)),
            memory_need: need(&artifact, count, None),
            load_ms,
            answer_ms,
        })
    }

    fn verdicts(&self) -> Vec<Verdict> {
        let verdict = |limit: &Limit| {
            let (verdict, needed) = match self.memory_need.shortage(limit) {
                None => ("enough", None),
                Some(Shortage::Slow { needed }) => ("slow", Some(needed)),
                Some(Shortage::Fatal { needed }) => ("fatal", Some(needed)),
            };
            Verdict { limit: *limit, verdict, needed }
        };
        self.memory.limits.iter().map(verdict).collect()
    }
}

impl Report {
    /// With `threads` threads; without a trial, because of `error`.
    fn new(threads: usize, trial: Option<Trial>, error: Option<&anyhow::Error>) -> Self {
        let kernel = |kernel: &edgeqa::kernels::gemm::Kernel| Kernel {
            name: kernel.name,
            available: kernel.is_available(),
            chosen: std::ptr::eq(kernel, chosen()),
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            target: edgeqa::target(),
            cpu: cpu_name(),
            features: features().into_iter().map(|(name, available)| Feature { name, available }).collect(),
            kernels: TABLE.iter().map(kernel).collect(),
            kernel: chosen().name,
            kernel_override: overridden(),
            kernel_override_taken: overridden().map(|name| name == chosen().name),
            vectors: Isa::chosen().name(),
            threads,
            default_threads: Threads::default_count().get(),
            physical_cores: num_cpus::get_physical(),
            usable_cpus: Threads::usable_cpus().get(),
            page_bytes: rustix::param::page_size(),
            model: trial.as_ref().map(|trial| trial.model.clone()),
            problem: error.map(|error| one_line(error.as_ref())),
            memory_need: trial.as_ref().map(|trial| trial.memory_need),
            memory_limits: trial.as_ref().map_or_else(Vec::new, Trial::verdicts),
            weights_are_mapped: trial.as_ref().and_then(|trial| trial.memory.is_mapped()),
            load_ms: trial.as_ref().map(|trial| trial.load_ms),
            answer_ms: trial.as_ref().map(|trial| trial.answer_ms),
            memory: trial.map_or_else(|| Memory::now(None), |trial| trial.memory),
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
            let ignored = if name == self.kernel { "" } else { " (ignored: no kernel of this CPU)" };
            row("  override", &format!("{OVERRIDE_VARIABLE}={name}{ignored}"))?;
        }
        row("vectors", self.vectors)?;
        let cores = count(self.physical_cores, "physical core");
        let (cpus, default) = (count(self.usable_cpus, "usable CPU"), self.default_threads);
        row("threads", &format!("{} (default {default}; {cores}, {cpus})", self.threads))?;
        row("page size", &format!("{} bytes", self.page_bytes))?;
        row("model", self.model.as_deref().unwrap_or("(none can be used)"))?;
        for (i, line) in self.problem.iter().flat_map(|problem| problem.lines()).enumerate() {
            row(if i == 0 { "problem" } else { "" }, line)?;
        }
        let weights = self.model.as_ref().map(|_| self.memory.weights_row());
        let needed = self.memory_need.iter().flat_map(|need| need_rows(need, &self.memory.limits));
        for (name, value) in weights.into_iter().chain(self.memory.rows()).chain(needed) {
            row(name, &value)?;
        }
        if let (Some(load), Some(answer)) = (self.load_ms, self.answer_ms) {
            row("load", &format!("{load:.1} ms"))?;
            row("answer", &format!("{answer:.1} ms for a short question"))?;
        }
        Ok(text)
    }
}

/// The kinds of cores, and the board or product, as far as the system tells.
fn cpu_name() -> Option<String> {
    let host = Host::read(Path::new("/"));
    let cores: Vec<String> = host.cpus.into_iter().map(|cpu| cpu.name).collect();
    let cores = (!cores.is_empty()).then(|| cores.join(", "));
    match (cores, host.board) {
        (Some(cores), Some(board)) => Some(format!("{cores} ({board})")),
        (cores, board) => cores.or(board),
    }
}
