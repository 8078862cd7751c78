//! The progress bar of long texts.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

/// How long a text must take before there is a bar.
const PATIENCE: Duration = Duration::from_secs(1);

/// Shows on standard error, if that is a terminal, how many windows of a text are read. It vanishes when dropped.
pub struct Progress {
    started: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    pub fn start() -> Self {
        Self { started: Instant::now(), bar: None }
    }

    /// Says that `done` of `windows` are read.
    pub fn update(&mut self, done: usize, windows: usize) {
        if self.bar.is_none() && (done >= windows || self.started.elapsed() < PATIENCE) {
            return;
        }
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("reading {wide_bar} {pos}/{len} windows, {eta} left");
            let bar = ProgressBar::new(windows as u64).with_elapsed(self.started.elapsed());
            bar.with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        bar.set_position(done as u64);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
