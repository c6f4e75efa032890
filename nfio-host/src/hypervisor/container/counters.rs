//! Counters of a guest's interfaces, from the kernel: `/proc/<pid>/net/dev`.

use std::io;

use super::process::Held;
use crate::hypervisor::Counters;

/// The counters of the guest whose first process this is; None where it has ended.
pub(in crate::hypervisor) fn read(init: &Held) -> io::Result<Option<Counters>> {
    let path = format!("/proc/{}/net/dev", init.pid());
    let text = init.interfaces.read(path.as_ref());
    // Asked after reading: as long as it lives, its pid is nobody else's.
    if !init.alive() {
        return Ok(None);
    }
    let text = String::from_utf8(text?).ok();
    let sum = text.as_deref().and_then(sum);
    sum.map(Some).ok_or_else(|| io::Error::other(format!("{path} is malformed")))
}

/// All interfaces but lo. Columns: received bytes, packets, errors, dropped, four more; sent ones likewise.
fn sum(text: &str) -> Option<Counters> {
    let mut sum = Counters::default();
    for line in text.lines().skip(2) {
        let (name, columns) = line.split_once(':')?;
        if name.trim() == "lo" {
            continue;
        }
        let columns: Vec<u64> = columns.split_whitespace().map(str::parse).collect::<Result<_, _>>().ok()?;
        sum.rx_bytes += columns.first()?;
        sum.tx_bytes += columns.get(8)?;
        sum.pkt_drops += columns.get(3)? + columns.get(11)?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_interfaces_but_lo_are_added_up() {
        let text = "Inter-|   Receive    |  Transmit\n face |bytes packets\n    lo: 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9 9\n\
                    eth0: 100 2 0 3 0 0 0 0 50 1 0 4 0 0 0 0\n  eth1:1 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1\n";
        let counters = sum(text).unwrap();
        assert_eq!(counters, Counters { rx_bytes: 101, tx_bytes: 51, pkt_drops: 9 });
        assert_eq!(sum("a\nb\neth0: x\n"), None);
    }
}
