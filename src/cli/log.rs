//! The log on standard error.

use std::io::Write;

use env_logger::{Builder, Env};
use log::Level;

use super::Cli;
use super::args::Command;

/// Whether standard error goes to systemd's journal: `JOURNAL_STREAM` has its device and inode, as `systemd.exec(5)` says.
pub fn is_journal() -> bool {
    #[cfg(target_os = "linux")]
    if let (Ok(stream), Ok(stat)) = (std::env::var("JOURNAL_STREAM"), rustix::fs::fstat(std::io::stderr())) {
        return stream == format!("{}:{}", stat.st_dev, stat.st_ino);
    }
    false
}

/// Starts the log. A service tells what it does, a command only what is wrong, unless RUST_LOG says otherwise. If standard error
/// goes to systemd's journal, lines begin with their priority, as `sd-daemon(3)` describes.
pub fn start(cli: &Cli) {
    let level = match &cli.command {
        #[cfg(target_os = "linux")]
        Command::Serve(_) => "info",
        _ => "warn",
    };
    let mut log = Builder::from_env(Env::default().default_filter_or(level));
    log.format_timestamp(None);
    if is_journal() {
        log.format(|out, record| {
            let priority = match record.level() {
                Level::Error => 3,
                Level::Warn => 4,
                Level::Info => 6,
                Level::Debug | Level::Trace => 7,
            };
            writeln!(out, "<{priority}>{}", record.args().to_string().replace('\n', " "))
        });
    }
    log.init();
}
