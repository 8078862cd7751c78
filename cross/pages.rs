//! Writes what a package needs besides the program: manual pages and completions for shells, made from the definition of the command
//! line.
//!
//! usage: cargo run --example pages FOLDER

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

#[allow(dead_code)]
#[path = "../src/cli/args.rs"]
mod args;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: pages FOLDER");
        std::process::exit(2);
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let command = args::Cli::command();
    clap_mangen::generate_to(command.clone(), folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command.clone(), "edgeqa", folder)?;
    }
    Ok(())
}
