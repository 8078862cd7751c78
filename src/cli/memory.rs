//! What reports say about memory.

use std::path::Path;

use edgeqa::memory::{self, Limit, Mapped, Usage};
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
    /// As it is now, with the model at `path`.
    pub fn now(path: &Path) -> Self {
        Self {
            weights: memory::mapped(path),
            process: memory::usage(),
            peak_resident: memory::peak(),
            limits: memory::limit::limits(),
        }
    }

    /// Whether the weights are pages of the file, without copies.
    pub fn is_mapped(&self) -> Option<bool> {
        self.weights.map(|weights| weights.bytes > 0 && weights.private_dirty == 0)
    }

    /// Names and values of the rows of a page.
    pub fn rows(&self) -> Vec<(&'static str, String)> {
        let mut rows = Vec::new();
        match (self.weights, self.is_mapped()) {
            (Some(weights), Some(mapped)) => {
                let how = if mapped { "mapped" } else { "NOT mapped without copies" };
                let (all, resident, dirty) = (mb(weights.bytes), mb(weights.resident), mb(weights.private_dirty));
                rows.push(("weights", format!("{how}: {all} MB, {resident} MB resident, {dirty} MB private")));
            }
            _ => rows.push(("weights", "mapped; the system does not tell how much is resident".into())),
        }
        if let (Some(process), Some(peak)) = (self.process, self.peak_resident) {
            let (resident, dirty) = (mb(process.resident), mb(process.private_dirty));
            rows.push(("memory", format!("{resident} MB resident, {dirty} MB private dirty, {} MB at most", mb(peak))));
        }
        for (n, limit) in self.limits.iter().enumerate() {
            let name = if n == 0 { "  limit" } else { "" };
            rows.push((name, format!("{} MB ({})", mb(limit.bytes), limit.kind.name())));
        }
        rows
    }
}

fn mb(bytes: u64) -> String {
    format!("{:.1}", bytes as f64 / 1e6)
}
