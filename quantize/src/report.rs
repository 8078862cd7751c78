//! What people see: progress on a terminal, the summary at the end.

use std::fmt::Write;

use edgeqa::shown::count;
use edgeqa_quantize::convert::{STAGES, Stage, Summary};
use edgeqa_quantize::linear::Choice;
use edgeqa_quantize::sensitivity::Sensitivity;
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
        let count = if all > 0 { format!(", {done} of {all}") } else { String::new() };
        // A model is written again once it is measured; the bar does not go back for that.
        self.bar.set_position(self.bar.position().max(finished as u64));
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
    line("parameters", format!("{}, {}", HumanCount(s.parameters as u64), count(s.layers, "encoder layer")));
    let shrunk = s.source_bytes as f64 / s.artifact_bytes as f64;
    let (times, what) = if shrunk >= 1.0 { (shrunk, "smaller") } else { (shrunk.recip(), "larger") };
    let (source, artifact) = (DecimalBytes(s.source_bytes), DecimalBytes(s.artifact_bytes as u64));
    line("size", format!("{source} -> {artifact} ({times:.2}x {what})"));
    line(
        "tokenizer",
        match s.tokenizer.compiled {
            true => format!("{}, compiled", DecimalBytes(s.tokenizer.bytes as u64)),
            false => format!(
                "{}, tokenizer.json as it is: takes memory and time at start (only Unigram and WordPiece are compiled)",
                DecimalBytes(s.tokenizer.bytes as u64)
            ),
        },
    );
    line("data sha256", s.data_sha256.clone());
    line(
        "import",
        match &s.proof {
            Some(p) => format!(
                "proven against the graph at {}: logits differ by at most {:.1e} ({:.1e} of their range)",
                p.fixed_length.map_or_else(
                    || format!("lengths {:?}", p.lengths),
                    |length| format!("its only length, {length} tokens")
                ),
                p.max_difference,
                p.relative()
            ),
            None => "by the names of the weights; a folder has no graph to prove it against".into(),
        },
    );
    match &s.calibration {
        None => line("calibration", "none: weights are rounded to the nearest step".into()),
        Some(c) => {
            line(
                "calibration",
                format!("{} tokens in {} sequences of {}", HumanCount(c.tokens as u64), c.sequences, c.source),
            );
            let geometric_mean = |error: fn(&Choice) -> f64| {
                (c.choices.values().map(|choice| error(choice).ln()).sum::<f64>() / c.choices.len().max(1) as f64).exp()
            };
            let factors = c.choices.values().filter(|choice| choice.strength.is_some()).count();
            line("", format!("{factors} of {} linear layers have input factors", c.choices.len()));
            let (before, after) = (geometric_mean(|c| c.error_before), geometric_mean(|c| c.error));
            line(
                "",
                format!(
                    "error of a layer's outputs, on the tokens that chose its factors: {:.2} % -> {:.2} %",
                    100.0 * before,
                    100.0 * after
                ),
            );
        }
    }
    for layer in &s.half {
        line("half", layer.clone());
    }
    line("noise", "signal-to-noise ratio of int8 against fp32 layer outputs, on random tokens".into());
    for (layer, snr) in s.noise.layer_snr_db.iter().enumerate() {
        line("", format!("layer {layer:>2}  {} dB", snr.map_or_else(|| "    -".into(), |snr| format!("{snr:5.1}"))));
    }
    let error = s.noise.logit_error.map_or_else(|| "no".into(), |error| format!("{error:.3}"));
    line("", format!("logits    {error} relative RMS error"));
    for (n, Sensitivity { layer, logit_error }) in s.sensitivity.iter().enumerate() {
        let label = if n == 0 { "sensitivity" } else { "" };
        line(label, format!("{layer:<30} {logit_error:.4} relative RMS error of the logits if only it is in int8"));
    }
    match &s.accuracy {
        None => line("accuracy", "not measured; --squad FILE compares F1 and EM with fp32".into()),
        Some(a) => {
            line(
                "accuracy",
                format!(
                    "F1 {:.2}, EM {:.2}; fp32: F1 {:.2}, EM {:.2}",
                    a.int8.f1, a.int8.exact, a.fp32.f1, a.fp32.exact
                ),
            );
            let ratio = a.f1_ratio().map_or("undefined".into(), |ratio| format!("{ratio:.4}"));
            let (identical, questions) = (a.identical, a.questions);
            line("", format!("F1 ratio {ratio}, {identical} of {questions} answers identical, on {}", a.data));
        }
    }
    if let Some(gate) = &s.gate {
        line("gate", format!("passed: an F1 ratio of at least {} was asked for", gate.min_f1_ratio));
        for warning in &gate.warnings {
            line("", format!("warning: {warning}"));
        }
        for p in &gate.promoted {
            let ratio = p.f1_ratio.map_or("undefined".into(), |ratio| format!("{ratio:.4}"));
            let size = DecimalBytes(p.bytes as u64);
            let (before, after) = (1e3 * p.seconds_before, 1e3 * p.seconds_after);
            line(
                "",
                format!(
                    "{} to half precision: F1 ratio {ratio}, {size} more, {before:.0} -> {after:.0} ms a question",
                    p.layer
                ),
            );
        }
    }
    for warning in &s.warnings {
        line("warning", warning.clone());
    }
    if s.written {
        line("next", format!("edgeqa ask \"Who ...?\" --context-file text.txt --model {}", s.out.display()));
    }
    out
}
