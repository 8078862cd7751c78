//! The processes that measure: one per point and round, and those that start the program as a user does.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

use super::BenchError;
use super::measure::{Measured, Task, Work};
use super::record::{Runs, Starts};
use super::run::{Plan, QUESTIONS, TEXT, WORKER};
use super::state::State;
use super::stats::median;
use super::subject::drop_model;
use crate::memory::Limited;

/// What was seen on the way.
pub struct Done<'a> {
    pub count: usize,
    pub throttled: Vec<String>,
    pub before: &'a State,
}

impl Done<'_> {
    pub fn note(&mut self, now: &State) {
        for reason in now.throttled_since(self.before) {
            // The count of a counter only ever gets higher.
            let kind = |reason: &str| reason.replace(char::is_numeric, "");
            self.throttled.retain(|old| kind(old) != kind(&reason));
            self.throttled.push(reason);
        }
    }
}

/// Starts the processes that measure, and waits for each.
pub struct Runner<'a> {
    pub plan: &'a Plan,
    pub limited: Option<Limited>,
    pub observe: &'a dyn Fn(usize, usize),
    /// How many processes there are to be.
    pub all: usize,
}

impl Runner<'_> {
    fn command(&self) -> Command {
        match &self.limited {
            Some(limited) => limited.command(&self.plan.program),
            None => Command::new(&self.plan.program),
        }
    }

    fn done(&self, done: &mut Done<'_>) {
        done.count += 1;
        done.note(&State::read(Path::new("/")));
        (self.observe)(done.count.min(self.all), self.all);
    }

    fn task(&self, threads: usize, work: &Work) -> Task {
        let settings = &self.plan.settings;
        let rounds = settings.rounds.max(1);
        Task {
            model: self.plan.model.clone().into(),
            threads,
            pin: settings.pinned,
            warm_up: settings.warm_up,
            min_runs: settings.min_runs.div_ceil(rounds),
            min_seconds: settings.min_seconds / rounds as f64,
            work: work.clone(),
        }
    }

    /// The threads that loading and starting are measured with.
    fn threads(&self) -> usize {
        self.plan.threads.iter().copied().max().unwrap_or(1)
    }

    /// Lets a new process measure `task`.
    fn measure(&self, task: &Task) -> Result<Measured, String> {
        let mut command = self.command();
        command.args(["bench", WORKER]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |error: io::Error| format!("cannot start this program again: {error}");
        let mut child = command.spawn().map_err(failed)?;
        let json = serde_json::to_vec(task).map_err(|error| error.to_string())?;
        // A process that was killed does not read; its status says more.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(&json));
        let output = child.wait_with_output().map_err(failed)?;
        if !output.status.success() {
            return Err(self.why(output.status, &output.stderr));
        }
        serde_json::from_slice(&output.stdout).map_err(|error| format!("a measuring process wrote no figures: {error}"))
    }

    /// Why a process ended.
    fn why(&self, status: ExitStatus, errors: &[u8]) -> String {
        let errors = String::from_utf8_lossy(errors);
        let lines = || errors.lines().map(str::trim).filter(|line| !line.is_empty());
        let said = lines().find(|line| line.contains("error")).or_else(|| lines().next()).unwrap_or_default();
        let said = said.trim_start_matches("edgeqa: error: ");
        match (status.signal(), &self.limited) {
            (Some(9), Some(limited)) => {
                format!(
                    "killed: it needs more than {} MiB ({})",
                    mib(limited.limit().bytes),
                    limited.limit().kind.name()
                )
            }
            (Some(signal), Some(limited)) => format!(
                "ended by signal {signal} under the limit of {} MiB ({}): {said}",
                mib(limited.limit().bytes),
                limited.limit().kind.name()
            ),
            (Some(9), None) => "killed by signal 9; the machine may have run out of memory".into(),
            (Some(signal), None) => format!("ended by signal {signal}: {said}"),
            (None, _) => format!("failed: {said}"),
        }
    }

    /// Adds the runs of one more process.
    pub fn add(&self, runs: &mut Runs, threads: usize, work: &Work, done: &mut Done<'_>) {
        if runs.failure.is_none() {
            match self.measure(&self.task(threads, work)) {
                Ok(measured) => runs.add(measured, threads),
                Err(problem) => runs.failure = Some(problem),
            }
        }
        self.done(done);
    }

    pub fn load(&self, done: &mut Done<'_>) -> Starts {
        self.starts(done, || Ok(self.measure(&self.task(self.threads(), &Work::Load))?.load_seconds))
    }

    /// From the start of the program to its answer; and the time of that question in a process that is warm.
    ///
    /// # Errors
    /// If the text cannot be written to a file.
    pub fn first_answer(&self, done: &mut Done<'_>) -> Result<(Starts, Option<f64>), BenchError> {
        if self.plan.settings.starts == 0 {
            return Ok((Starts::default(), None));
        }
        let mut file = tempfile::NamedTempFile::new().map_err(BenchError::Temporary)?;
        file.write_all(TEXT.as_bytes()).map_err(BenchError::Temporary)?;
        let starts = self.starts(done, || self.ask(file.path()));
        let work = Work::Questions { questions: vec![QUESTIONS[0].into()], text: TEXT.into() };
        let warm = self.measure(&self.task(self.threads(), &work)).ok().map(|measured| median(&measured.seconds));
        self.done(done);
        Ok((starts, warm))
    }

    /// Starts `edgeqa ask`, and waits for its answer.
    fn ask(&self, text: &Path) -> Result<f64, String> {
        let mut command = self.command();
        command.args(["ask", QUESTIONS[0], "--json", "--threads", &self.threads().to_string(), "--context-file"]);
        command.arg(text).arg("--model").arg(&self.plan.model);
        if self.plan.settings.pinned {
            command.arg("--pin");
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let started = Instant::now();
        let mut child = command.spawn().map_err(|error| format!("cannot start this program again: {error}"))?;
        let mut answer = String::new();
        let read = child.stdout.take().map(|stdout| BufReader::new(stdout).read_line(&mut answer));
        let seconds = started.elapsed().as_secs_f64();
        let mut errors = Vec::new();
        let _ = child.stderr.take().map(|mut stderr| stderr.read_to_end(&mut errors));
        let status = child.wait().map_err(|error| error.to_string())?;
        match read {
            Some(Ok(1..)) if status.success() => Ok(seconds),
            _ => Err(self.why(status, &errors)),
        }
    }

    /// Measures `start` with the model in the page cache, then without.
    fn starts(&self, done: &mut Done<'_>, start: impl Fn() -> Result<f64, String>) -> Starts {
        if self.plan.settings.starts == 0 {
            return Starts::default();
        }
        let mut starts = Starts { threads: Some(self.threads()), ..Starts::default() };
        // The first one may be cold.
        if let Err(problem) = start() {
            starts.failure = Some(problem);
        }
        for cold in [false, true] {
            for _ in 0..self.plan.settings.starts {
                if starts.failure.is_none() && (!cold || starts.note.is_none()) {
                    if cold {
                        starts.note = drop_model(&self.plan.model).map(|reason| format!("not measured: {reason}"));
                    }
                    match start() {
                        Ok(seconds) if cold && starts.note.is_none() => starts.cold.push(seconds),
                        Ok(_) if cold => {}
                        Ok(seconds) => starts.warm.push(seconds),
                        Err(problem) => starts.failure = Some(problem),
                    }
                }
                self.done(done);
            }
        }
        starts
    }
}

fn mib(bytes: u64) -> u64 {
    bytes >> 20
}
