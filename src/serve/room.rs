//! Who gives way when all connections are taken and none is idle.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Instant;

/// A connection, as far as it matters for who gives way.
#[derive(Clone, Copy, Debug)]
pub struct Held {
    /// Its number.
    pub id: u64,
    /// The other machine that it comes from; `None` if it comes from this one.
    pub machine: Option<IpAddr>,
    /// Until when its request may come in, or its reply go out; `None` if it must stay.
    pub transfer: Option<Instant>,
}

/// The connection that gives way to one from `newcomer`: of the other machine that has most, the one whose transfer has begun first.
/// None if that machine would then have fewer than the newcomer's, so that no two of them can go on closing each other's. Connections
/// from this machine never give way.
pub fn gives_way(held: &[Held], newcomer: Option<IpAddr>) -> Option<u64> {
    let mut counts: BTreeMap<IpAddr, usize> = BTreeMap::new();
    for machine in held.iter().filter_map(|connection| connection.machine) {
        *counts.entry(machine).or_default() += 1;
    }
    let count = |machine: &IpAddr| counts.get(machine).copied().unwrap_or(0);
    let movable =
        held.iter().filter_map(|connection| Some((count(&connection.machine?), connection.transfer?, connection.id)));
    let (most, _, id) = movable.max_by_key(|(count, transfer, _)| (*count, Reverse(*transfer)))?;
    (most >= newcomer.as_ref().map_or(0, count) + 2).then_some(id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// Connections as pairs: the last number of the machine, 0 for this one, and the seconds its transfer has, 0 if it must stay.
    fn held(connections: &[(u8, u64)]) -> Vec<Held> {
        let start = Instant::now();
        let of = |(id, &(machine, seconds)): (usize, &(u8, u64))| Held {
            id: id as u64,
            machine: ip(machine),
            transfer: (seconds > 0).then(|| start + Duration::from_secs(seconds)),
        };
        connections.iter().enumerate().map(of).collect()
    }

    fn ip(machine: u8) -> Option<IpAddr> {
        (machine > 0).then(|| IpAddr::from([10, 0, 0, machine]))
    }

    #[test]
    fn the_machine_with_most_connections_gives_the_oldest_transfer() {
        for (connections, newcomer, id) in [
            (&[(1, 5), (1, 3), (1, 4), (2, 1), (2, 1)][..], 0, Some(1)),
            (&[(1, 5), (1, 0), (1, 4), (2, 1), (2, 1)], 3, Some(2)),
            (&[(1, 5), (1, 3), (1, 4), (2, 1)], 2, Some(1)),
            // Whose questions are being answered keeps them; the next machine gives way.
            (&[(1, 0), (1, 0), (1, 0), (2, 2), (2, 1)], 0, Some(4)),
            // Nobody gives way to a machine that would have more afterwards, itself least of all.
            (&[(1, 5), (1, 3), (2, 1)], 2, None),
            (&[(1, 5), (1, 3), (1, 4)], 1, None),
            (&[(1, 5), (2, 5)], 0, None),
            (&[(0, 5), (0, 5), (0, 5)], 1, None),
            (&[], 1, None),
        ] {
            assert_eq!(gives_way(&held(connections), ip(newcomer)), id, "{connections:?} for {newcomer}");
        }
    }
}
