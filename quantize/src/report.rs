//! What people see: progress on a terminal, the summary at the end.

use std::fmt::Write;

use edgeqa_quantize::convert::{STAGES, Stage, Summary};
use indicatif::{DecimalBytes, HumanCount, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A progress bar on stderr, drawn only on a terminal: one step per stage.
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    pub fn new() -> Self {
        let stages = STAGES.len() as u64;
        let bar = ProgressBar::with_draw_target(Some(stages), ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("[{bar:30}] {pos}/{len} {msg} [{elapsed}]") {
            bar.set_style(style.progress_chars("=> "));
        }
        bar.enable_steady_tick(std::time::Duration::from_millis(200));
        Self { bar }
    }

    /// Shows a stage and, if it has steps, how many of them are done.
    pub fn stage(&self, stage: Stage, done: usize, all: usize) {
        let finished = STAGES.iter().position(|s| *s == stage).unwrap_or(0);
        let count = if all > 0 { format!(", {done} of {all} layers") } else { String::new() };
        self.bar.set_position(finished as u64);
        self.bar.set_message(format!("{stage}{count}"));
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }
}

/// The summary as text.
pub fn text(s: &Summary) -> String {
    let mut out = String::new();
    let state = if s.written { "written" } else { "dry run, not written" };
    let mut line = |label: &str, value: String| {
        let _ = writeln!(out, "{label:<12} {value}");
    };
    line("model", format!("{} ({state})", s.out.display()));
    let from = s.source.repo.as_ref().map_or_else(String::new, |repo| {
        format!(" from {repo} at {}", s.source.revision.as_deref().unwrap_or("an unknown revision"))
    });
    line("source", format!("{}{from}", s.source.kind));
    line("parameters", format!("{}, {} encoder layers", HumanCount(s.parameters as u64), s.layers));
    line(
        "size",
        format!(
            "{} -> {} ({:.2}x smaller)",
            DecimalBytes(s.source_bytes),
            DecimalBytes(s.artifact_bytes as u64),
            s.source_bytes as f64 / s.artifact_bytes as f64
        ),
    );
    line("data sha256", s.data_sha256.clone());
    line(
        "import",
        match &s.proof {
            Some(p) => format!(
                "proven against the graph at lengths {:?}: logits differ by at most {:.1e} ({:.1e} of their range)",
                p.lengths,
                p.max_difference,
                p.relative()
            ),
            None => "by the names of the weights; a folder has no graph to prove it against".into(),
        },
    );
    line("noise", "signal-to-noise ratio of int8 against fp32 layer outputs, on random tokens".into());
    for (layer, snr) in s.noise.layer_snr_db.iter().enumerate() {
        line("", format!("layer {layer:>2}  {} dB", snr.map_or_else(|| "    -".into(), |snr| format!("{snr:5.1}"))));
    }
    let error = s.noise.logit_error.map_or_else(|| "no".into(), |error| format!("{error:.3}"));
    line("", format!("logits    {error} relative RMS error"));
    line("accuracy", "not measured: F1 and EM against fp32 are a separate evaluation".into());
    if s.written {
        line("next", format!("edgeqa ask \"Who ...?\" --context-file text.txt --model {}", s.out.display()));
    }
    out
}
