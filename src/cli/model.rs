//! `edgeqa model`.

use std::path::{Path, PathBuf};

use anyhow::bail;
use edgeqa::errors::one_line;
use edgeqa::progress::Spinner;
use edgeqa::serve::install::{Installed, install, rollback};
use edgeqa::serve::model::Proven;
use edgeqa::serve::previous;
use edgeqa::threads::Threads;
use serde::Serialize;

use super::args::model::{Action, ModelCommandArgs, Place};
use super::{locate, pretty, print};

fn place(named: &Place) -> anyhow::Result<PathBuf> {
    named.to.clone().map_or_else(locate::installed, Ok)
}

pub fn run(args: &ModelCommandArgs) -> anyhow::Result<()> {
    let threads = Threads::new(Threads::default_count(), false)?;
    let text = match &args.action {
        Action::Install { file, json, to } => {
            let to = place(to)?;
            let progress = Spinner::start("checking and copying the model");
            let installed = install(file, &to, &threads)?;
            drop(progress);
            let (changed, sha256) = match &installed {
                Installed::New(sha256) => (true, sha256),
                Installed::Same(sha256) => (false, sha256),
            };
            let done = if changed { "installed" } else { "there already:" };
            Outcome::new(&to, sha256, changed).text(*json, done)?
        }
        Action::Rollback { json, to } => {
            let to = place(to)?;
            let progress = Spinner::start("checking the model");
            let sha256 = rollback(&to, &threads)?;
            drop(progress);
            Outcome::new(&to, &sha256, true).text(*json, "brought back")?
        }
        Action::Status { json, to } => {
            let to = place(to)?;
            let progress = Spinner::start("checking the models");
            let status = Status {
                installed: Entry::of(&to, &threads),
                previous: Entry::of(&previous(&to), &threads),
                taken: locate::model(None).ok().map(|path| path.to_string_lossy().into_owned()),
            };
            drop(progress);
            print(&if *json { pretty(&status)? } else { status.page() })?;
            if let Some(problem) = status.installed.problem {
                bail!("the installed model cannot be used: {problem}; install another one, or roll back");
            }
            return Ok(());
        }
    };
    print(&text)?;
    Ok(())
}

/// What `install --json` and `rollback --json` print.
#[derive(Serialize)]
struct Outcome {
    /// Where the model is.
    path: String,
    data_sha256: String,
    /// Whether files were moved.
    changed: bool,
}

impl Outcome {
    fn new(path: &Path, sha256: &str, changed: bool) -> Self {
        Self { path: path.to_string_lossy().into_owned(), data_sha256: sha256.to_owned(), changed }
    }

    /// What was `done`.
    fn text(&self, json: bool, done: &str) -> serde_json::Result<String> {
        if json {
            pretty(self)
        } else {
            Ok(format!("{done} {} (sha256 of its data {})\n", self.path, self.data_sha256))
        }
    }
}

/// What `status --json` prints.
#[derive(Serialize)]
struct Status {
    installed: Entry,
    previous: Entry,
    /// The model that this user's `edgeqa ask` takes where none is named, if there is one.
    taken: Option<String>,
}

/// One file.
#[derive(Serialize)]
struct Entry {
    path: String,
    exists: bool,
    data_sha256: Option<String>,
    license: Option<String>,
    bytes: Option<usize>,
    /// What is wrong with it.
    problem: Option<String>,
}

impl Entry {
    fn of(path: &Path, threads: &Threads) -> Self {
        // What cannot be looked at is there, and opening it says why.
        let model = path.try_exists().unwrap_or(true).then(|| Proven::open(path, threads));
        let good = model.as_ref().and_then(|model| model.as_ref().ok()).map(Proven::artifact);
        Self {
            path: path.to_string_lossy().into_owned(),
            exists: model.is_some(),
            data_sha256: good.map(|artifact| artifact.data_sha256().to_owned()),
            license: good.map(|artifact| artifact.metadata().license.clone()),
            bytes: good.map(|artifact| artifact.file_len()),
            problem: model.as_ref().and_then(|model| model.as_ref().err()).map(|problem| one_line(problem)),
        }
    }

    fn page(&self) -> String {
        let state = match (&self.data_sha256, &self.problem) {
            (Some(sha256), _) => format!("sha256 of its data {sha256}"),
            (_, Some(problem)) => format!("cannot be used: {problem}"),
            _ => "there is none".into(),
        };
        format!("{}\n          {state}\n", self.path)
    }
}

impl Status {
    fn page(&self) -> String {
        let taken = self.taken.as_deref().unwrap_or("(there is none)");
        format!(
            "installed {}previous  {}taken     {taken}\n          by this user's `edgeqa ask`, where no model is named\n",
            self.installed.page(),
            self.previous.page()
        )
    }
}
