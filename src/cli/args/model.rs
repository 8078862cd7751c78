//! The command line of `edgeqa model`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

const EXAMPLES: &str = "\
Examples:
  sudo edgeqa model install new.safetensors
  sudo edgeqa model status --json
  sudo edgeqa model rollback

A model is compared with its checksum and asked a question before it is put in
place, in one step: a power cut leaves the old or the new one. A running
`edgeqa serve` notices it and takes it within seconds.";

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
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Where to.
        #[command(flatten)]
        to: Place,
    },
    /// Bring back the model before; the present one is kept instead
    Rollback {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Where.
        #[command(flatten)]
        to: Place,
    },
    /// Show the installed model and the one before, and check them; fails if there is an installed one that cannot be used
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
