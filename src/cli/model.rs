//! `edgeqa model`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use edgeqa::errors::one_line;
use edgeqa::serve::install::{Installed, install, rollback};
use edgeqa::serve::model::Proven;
use edgeqa::serve::previous;
use edgeqa::threads::Threads;
use serde::Serialize;

use super::{locate, print};

const EXAMPLES: &str = "\
Examples:
  sudo edgeqa model install new.safetensors
  edgeqa model status --json
  sudo edgeqa model rollback

A model is compared with its checksum and asked a question before it is put in place, in one step: a power
cut leaves the old or the new one. A running `edgeqa serve` notices it and takes it within seconds.";

/// Arguments of `edgeqa model`.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct ModelCommandArgs {
    /// What to do.
    #[command(subcommand)]
    pub action: Action,
}

/// What `edgeqa model` can do.
#[derive(Debug, Subcommand)]
pub enum Action {
    /// Put a model in place, after a check, and keep the one before
    Install {
        /// Model file to install; it is copied
        file: PathBuf,
        /// Where to.
        #[command(flatten)]
        to: Place,
    },
    /// Bring back the model before; the present one is kept instead
    Rollback {
        /// Where.
        #[command(flatten)]
        to: Place,
    },
    /// Show the installed model and the one before, and check them
    Status {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Where.
        #[command(flatten)]
        to: Place,
    },
}

/// Where the model is installed.
#[derive(Debug, Args)]
pub struct Place {
    /// Path of the installed model [default: $EDGEQA_MODEL, else /var/lib/edgeqa/model.safetensors for root,
    /// edgeqa/model.safetensors in the user's data directory for others]
    #[arg(long, value_name = "PATH")]
    pub to: Option<PathBuf>,
}

impl Place {
    fn path(&self) -> anyhow::Result<PathBuf> {
        self.to.clone().map_or_else(locate::installed, Ok)
    }
}

pub fn run(args: &ModelCommandArgs) -> anyhow::Result<()> {
    let threads = Threads::new(Threads::default_count(), false)?;
    match &args.action {
        Action::Install { file, to } => {
            let to = to.path()?;
            match install(file, &to, &threads)? {
                Installed::New(sha256) => print(&format!("installed {} (sha256 {sha256})\n", to.display())),
                Installed::Same(sha256) => {
                    print(&format!("{} is this model already (sha256 {sha256})\n", to.display()))
                }
            }
        }
        Action::Rollback { to } => {
            let to = to.path()?;
            let sha256 = rollback(&to, &threads)?;
            print(&format!("brought back {} (sha256 {sha256})\n", to.display()))
        }
        Action::Status { json, to } => {
            let to = to.path()?;
            let status = Status { installed: Entry::of(&to, &threads), previous: Entry::of(&previous(&to), &threads) };
            print(&if *json { serde_json::to_string_pretty(&status)? + "\n" } else { status.page() })
        }
    }
}

/// What `status --json` prints.
#[derive(Serialize)]
struct Status {
    installed: Entry,
    previous: Entry,
}

/// One file.
#[derive(Serialize)]
struct Entry {
    path: String,
    exists: bool,
    sha256: Option<String>,
    license: Option<String>,
    bytes: Option<usize>,
    /// What is wrong with it.
    problem: Option<String>,
}

impl Entry {
    fn of(path: &Path, threads: &Threads) -> Self {
        let model = if path.exists() { Some(Proven::open(path, threads)) } else { None };
        let good = model.as_ref().and_then(|model| model.as_ref().ok()).map(Proven::artifact);
        Self {
            path: path.to_string_lossy().into_owned(),
            exists: model.is_some(),
            sha256: good.map(|artifact| artifact.data_sha256().to_owned()),
            license: good.map(|artifact| artifact.metadata().license.clone()),
            bytes: good.map(|artifact| artifact.file_len()),
            problem: model.as_ref().and_then(|model| model.as_ref().err()).map(|problem| one_line(problem)),
        }
    }

    fn page(&self) -> String {
        let state = match (&self.sha256, &self.problem) {
            (Some(sha256), _) => format!("sha256 {sha256}"),
            (_, Some(problem)) => format!("cannot be used: {problem}"),
            _ => "there is none".into(),
        };
        format!("{}\n          {state}\n", self.path)
    }
}

impl Status {
    fn page(&self) -> String {
        format!("installed {}previous  {}", self.installed.page(), self.previous.page())
    }
}
