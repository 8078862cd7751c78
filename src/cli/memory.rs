//! What reports say about memory.

use std::path::Path;

use anyhow::anyhow;
use edgeqa::artifact::Artifact;
use edgeqa::memory::limit::{self, Kind};
use edgeqa::memory::{self, Limit, Mapped, Need, Shortage, Usage};
use edgeqa::qa::AskOptions;
use edgeqa::shown::megabytes;
use serde::Serialize;

/// The memory of this process. What the system does not tell is absent.
#[derive(Serialize)]
pub struct Memory {
    /// What of the model file is mapped.
    pub weights: Option<Mapped>,
    /// All of the process.
    pub process: Option<Usage>,
    /// The most that was resident so far, in bytes.
    pub peak_resident: Option<u64>,
    /// Hard limits.
    pub limits: Vec<Limit>,
}

impl Memory {
    /// As it is now, with the model at `path` if there is one.
    pub fn now(path: Option<&Path>) -> Self {
        Self {
            weights: path.and_then(memory::mapped),
            process: memory::usage(),
            peak_resident: memory::peak(),
            limits: limit::limits(),
        }
    }

    /// Whether the weights are pages of the file, without copies.
    pub fn is_mapped(&self) -> Option<bool> {
        self.weights.map(|weights| weights.bytes > 0 && weights.anonymous == 0)
    }

    /// Name and value of the row of a page that says what becomes of the weights.
    pub fn weights_row(&self) -> (&'static str, String) {
        let value = match (self.weights, self.is_mapped()) {
            (Some(weights), Some(mapped)) => {
                let how = if mapped { "mapped" } else { "NOT mapped without copies" };
                let (all, resident, own) =
                    (megabytes(weights.bytes), megabytes(weights.resident), megabytes(weights.anonymous));
                format!("{how}: {all} MB, {resident} MB resident, {own} MB private")
            }
            _ => "mapped; the system does not tell how much is resident".into(),
        };
        ("weights", value)
    }

    /// Names and values of the other rows.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        if let (Some(process), Some(peak)) = (self.process, self.peak_resident) {
            let (resident, own) = (megabytes(process.resident), megabytes(process.anonymous));
            rows.push(("memory", format!("{resident} MB resident, {own} MB private, {} MB at most", megabytes(peak))));
        }
        for (n, limit) in self.limits.iter().enumerate() {
            let name = if n == 0 { "  limit" } else { "" };
            rows.push((name, format!("{} MB ({})", megabytes(limit.bytes), limit.kind.name())));
        }
        rows
    }
}

/// Keeps the model in memory.
pub fn lock(artifact: &Artifact) -> anyhow::Result<()> {
    artifact.lock().map_err(|error| {
        let model = megabytes(artifact.file_len() as u64);
        let allowed =
            limit::lockable().map_or(String::new(), |bytes| format!(", RLIMIT_MEMLOCK is {} MB", megabytes(bytes)));
        anyhow!(
            "--mlock cannot keep the model's {model} MB in memory ({error}{allowed}); raise that limit (`ulimit -l`, \
             LimitMEMLOCK= of a systemd service), or use --prefault, which needs no permission"
        )
    })
}

/// Says so if the limits on this process are too tight to map the file at `path`: afterwards it would be an error without a reason.
pub fn warn_before_mapping(path: &Path) {
    let Ok(file) = std::fs::metadata(path) else { return };
    let used = memory::addresses().unwrap_or(0);
    let needed = used + file.len();
    for limit in limit::limits().iter().filter(|limit| limit.kind == Kind::AddressSpace && limit.bytes < needed) {
        log::error!(
            "RLIMIT_AS allows {} MB of addresses, of which {} MB are in use, and the model file takes {} MB: raise it by at least {} MB, \
             or limit RLIMIT_DATA instead, for which mapped files do not count",
            megabytes(limit.bytes),
            megabytes(used),
            megabytes(file.len()),
            megabytes(needed - limit.bytes)
        );
    }
}

/// What `threads` threads need for windows of up to `max_seq_len` tokens, or of the default length.
pub fn need(artifact: &Artifact, threads: usize, max_seq_len: Option<usize>) -> Need {
    let config = &artifact.metadata().config;
    let tokens = max_seq_len.unwrap_or(AskOptions::MAX_SEQ_LEN).min(config.max_positions);
    Need::estimate(config, tokens, threads, artifact.encoder().len(), artifact.file_len())
}

/// Says so if this process lives under limits that are too tight for `need`, before the system ends it without a word.
pub fn warn(need: &Need) {
    for limit in limit::limits() {
        match need.shortage(&limit) {
            // An estimate for the longest windows: short ones may do with less.
            Some(Shortage::Fatal { .. }) => log::warn!("{}", verdict(need, &limit)),
            Some(Shortage::Slow { .. }) => log::info!("{}", verdict(need, &limit)),
            None => {}
        }
    }
}

/// What is needed, and how that compares with each limit, as rows of a page.
pub fn need_rows(need: &Need, limits: &[Limit]) -> Vec<(&'static str, String)> {
    let Need { private, files, .. } = need;
    let row = format!("about {} MB private, {} MB of model and program", megabytes(*private), megabytes(*files));
    let verdicts = limits.iter().map(|limit| ("", verdict(need, limit)));
    std::iter::once(("  needed", row)).chain(verdicts).collect()
}

fn verdict(need: &Need, limit: &Limit) -> String {
    let allowed = format!("the limit of {} MB ({})", megabytes(limit.bytes), limit.kind.name());
    match need.shortage(limit) {
        None => format!("{allowed} is enough"),
        Some(Shortage::Slow { needed }) => format!(
            "{allowed} is {} MB less than the {} MB that are in use: parts of the model are read again and again, which is slow",
            megabytes(needed.saturating_sub(limit.bytes)),
            megabytes(needed)
        ),
        Some(Shortage::Fatal { needed }) => format!(
            "{allowed} is {} MB less than the {} MB that are needed, about{}: the system may end this program; raise it, or use \
             fewer --threads or shorter windows (--max-seq-len of ask and eval)",
            megabytes(needed.saturating_sub(limit.bytes)),
            megabytes(needed),
            match limit.kind {
                Kind::Data | Kind::AddressSpace =>
                    format!(" ({} MB of it for stacks of threads)", megabytes(need.stacks())),
                Kind::Cgroup1 | Kind::Cgroup2 => String::new(),
            }
        ),
    }
}
