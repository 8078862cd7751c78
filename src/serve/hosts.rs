//! By which names clients may call this machine: anybody can make a name of theirs point to it, and a page that was loaded under such a
//! name asks as if it were of this machine (DNS rebinding).

use std::net::IpAddr;

/// The names of this machine.
#[derive(Clone, Debug)]
pub struct Hosts {
    /// In lower case, without a full stop at the end.
    names: Vec<String>,
}

impl Hosts {
    /// `localhost`, the machine's own name, that name as `.local` (mDNS), and `more`.
    pub fn new(more: &[String]) -> Self {
        Self::of(&rustix::system::uname().nodename().to_string_lossy(), more)
    }

    fn of(own: &str, more: &[String]) -> Self {
        let first = own.split('.').next().unwrap_or_default();
        let mut names = vec!["localhost".to_owned(), plain(own), format!("{}.local", plain(first))];
        names.extend(more.iter().map(|name| plain(name)));
        names.retain(|name| !name.is_empty() && name != ".local");
        Self { names }
    }

    /// Whether `host`, with or without a port, is one of the names or an address.
    pub fn allow(&self, host: &str) -> bool {
        let is_port = |rest: &str| {
            rest.is_empty() || rest.strip_prefix(':').is_some_and(|port| port.bytes().all(|b| b.is_ascii_digit()))
        };
        match host.strip_prefix('[') {
            Some(rest) => rest.split_once(']').is_some_and(|(address, rest)| is_address(address) && is_port(rest)),
            None => {
                let (name, rest) = host.split_at(host.find(':').unwrap_or(host.len()));
                is_port(rest) && (is_address(name) || self.names.contains(&plain(name)))
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    text.parse::<IpAddr>().is_ok()
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_this_machine_and_addresses_are_allowed() {
        let hosts = Hosts::of("Kiosk", &["Museum.Example.".into()]);
        for host in [
            "localhost",
            "LOCALHOST:8017",
            "127.0.0.1",
            "127.0.0.1:1",
            "[::1]",
            "[::1]:8017",
            "10.0.0.7:80",
            "kiosk",
            "kiosk:8017",
            "KIOSK.local.",
            "museum.example:80",
            "localhost:",
        ] {
            assert!(hosts.allow(host), "{host}");
        }
        for host in [
            "",
            ":80",
            "evil.example",
            "evil.example:8017",
            "localhost.evil.example",
            "[evil]",
            "127.0.0.1.evil",
            "[::1].evil.example",
            "[::1]:8017.evil",
            "[::1",
            "::1",
            "kiosk.evil.example",
            "kiosk:80:evil",
            "a.museum.example",
            ".local",
        ] {
            assert!(!hosts.allow(host), "{host}");
        }
        assert_eq!(Hosts::of("", &[]).names, ["localhost"]);
        assert!(Hosts::of("a.b.example", &[]).allow("a.local") && Hosts::of("a.b.example", &[]).allow("a.b.example"));
    }
}
