//! The progress bars of what takes long, for programs.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::eval::Observer;
use indicatif::{ProgressBar, ProgressStyle};

/// How long something must take before there is a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows on standard error, if that is a terminal, how much of a task is done. It vanishes when dropped.
pub struct Progress {
    started: Instant,
    doing: &'static str,
    unit: &'static str,
    bar: OnceLock<ProgressBar>,
}

impl Progress {
    /// For a text that is read window by window.
    pub fn of_windows() -> Self {
        Self::start("reading", "windows")
    }

    /// For a question to documents, passage by passage.
    pub fn of_passages() -> Self {
        Self::start("reading", "passages")
    }

    /// For many questions, of which it says that they are `doing`.
    pub fn of_questions(doing: &'static str) -> Self {
        Self::start(doing, "questions, {per_sec}")
    }

    /// For processes that measure.
    pub fn of_measurements() -> Self {
        Self::start("measuring", "processes")
    }

    /// `unit` is what is counted, and what else the bar says of it.
    fn start(doing: &'static str, unit: &'static str) -> Self {
        Self { started: Instant::now(), doing, unit, bar: OnceLock::new() }
    }

    /// Says that `done` of `all` are done.
    pub fn update(&self, done: usize, all: usize) {
        if self.bar.get().is_none() && (done >= all || self.started.elapsed() < PATIENCE) {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            let template = format!("{} {{wide_bar}} {{pos}}/{{len}} {}, {{eta}} left", self.doing, self.unit);
            let style = ProgressStyle::with_template(&template);
            let bar = ProgressBar::new(all as u64).with_elapsed(self.started.elapsed());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(done as u64);
    }
}

impl Observer for Progress {
    fn answered(&self, done: usize, all: usize) {
        self.update(done, all);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

/// Shows on standard error, if that is a terminal, that something goes on whose end is not known. It vanishes when dropped.
pub struct Spinner(ProgressBar);

impl Spinner {
    /// Shows `what`.
    pub fn start(what: &'static str) -> Self {
        let bar = ProgressBar::new_spinner().with_message(what);
        bar.enable_steady_tick(Duration::from_millis(200));
        Self(bar)
    }
}

impl Drop for Spinner {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
