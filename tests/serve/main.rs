//! `edgeqa serve` and `edgeqa model` as clients, owners and systemd use them. Everything goes over loopback.
#![cfg(target_os = "linux")]

mod bytes;
#[path = "../common/mod.rs"]
mod common;
mod daemon;
mod http;
mod install;
mod life;
mod limits;
mod lines;
#[allow(dead_code, reason = "what is shared with the fuzzers")]
#[path = "../fuzz/properties.rs"]
mod properties;
mod swap;
