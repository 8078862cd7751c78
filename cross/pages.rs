//! Writes what a package needs besides the program: manual pages and completions for shells, made from the definition of the command
//! line.
//!
//! usage: cargo run --example pages FOLDER

use std::path::Path;

use clap::{Arg, CommandFactory, ValueHint};
use clap_complete::Shell;

#[allow(dead_code)]
#[path = "../src/cli/args.rs"]
mod args;

/// What the definition of the command line does not say, at the end of every manual page.
const COMMON: &str = r#".fi
.SH "EXIT STATUS"
0: success, "no answer" included; 1: failure; 2: wrong usage.
.SH ENVIRONMENT
.TP
.B EDGEQA_MODEL
The model file, where \-\-model names none.
.TP
.B EDGEQA_KERNEL
The int8 kernel to compute with, one of those that
.B edgeqa doctor
lists, instead of the fastest.
.TP
.B RUST_LOG
What is logged on standard error: error, warn, info, debug or trace.
.TP
.B NO_COLOR
If it is set, the log has no colours.
.SH FILES
.TP
.I /usr/share/edgeqa/model.safetensors
The demo model of the package.
.TP
.I ~/.local/share/edgeqa/model.safetensors
The model that
.B edgeqa model install
has put there for a user; it comes first.
.TP
.I /var/lib/edgeqa/model.safetensors
The model that root has installed.
.TP
.I /etc/default/edgeqa\fR, \fI/etc/edgeqa/kiosk.toml
Settings of the service and of its page.
"#;

fn main() -> std::io::Result<()> {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: pages FOLDER");
        std::process::exit(2);
    };
    let folder = Path::new(&folder);
    std::fs::create_dir_all(folder)?;
    let mut command = with_hints(args::Cli::command());
    clap_mangen::generate_to(command.clone(), folder)?;
    command.build();
    complete_pages(&command, "edgeqa", folder)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut command, "edgeqa", folder)?;
    }
    Ok(())
}

/// Says which arguments are files and which are folders: shells complete paths without it, too, but split those with spaces.
fn with_hints(command: clap::Command) -> clap::Command {
    let hint = |arg: Arg| match (arg.get_value_hint(), arg.get_id().as_str()) {
        (ValueHint::AnyPath, "docs") => arg.value_hint(ValueHint::DirPath),
        (ValueHint::AnyPath, _) => arg.value_hint(ValueHint::FilePath),
        _ => arg,
    };
    command.mut_args(hint).mut_subcommands(with_hints)
}

/// Adds [`COMMON`] and a list of the other pages to the page called `page` and to those of its subcommands.
fn complete_pages(command: &clap::Command, page: &str, folder: &Path) -> std::io::Result<()> {
    let path = folder.join(format!("{page}.1"));
    // What stands below the options: examples, whose lines have to stay, first.
    let mut text = std::fs::read_to_string(&path)?.replace(".SH EXTRA\n", ".SH NOTES\n.nf\n");
    text = text.replace(".SH VERSION\n", ".fi\n.SH VERSION\n");
    // Pages of subcommands are of the same program and version.
    let title = format!(".TH {page} 1 \"\" \"edgeqa {}\"", env!("CARGO_PKG_VERSION"));
    let lines: Vec<&str> =
        text.lines().map(|line| if line.starts_with(".TH ") { title.as_str() } else { line }).collect();
    text = lines.join("\n") + "\n";
    // Examples are of what the package has.
    for (source, packaged) in [
        ("models/demo/documents", "/usr/share/edgeqa/documents"),
        ("models/demo/squad.json", "/usr/share/doc/edgeqa/examples/squad.json"),
        ("inspect models/demo/model.safetensors", "inspect /usr/share/edgeqa/model.safetensors"),
    ] {
        text = text.replace(source, packaged);
    }
    let subcommands: Vec<_> =
        command.get_subcommands().filter(|command| command.get_name() != "help" && !command.is_hide_set()).collect();
    let name = |command: &clap::Command| format!("{page}-{}", command.get_name());
    let mut others: Vec<String> = subcommands.iter().map(|command| name(command)).collect();
    others.extend(page.rsplit_once('-').map(|(parent, _)| parent.to_owned()));
    let others: Vec<String> = others.iter().map(|other| format!(".BR {} (1)", other.replace('-', "\\-"))).collect();
    std::fs::write(&path, format!("{text}{COMMON}.SH \"SEE ALSO\"\n{}\n", others.join(",\n")))?;
    subcommands.into_iter().try_for_each(|command| complete_pages(command, &name(command), folder))
}
