//! Addresses of guests and of the links of chains. A lease is a file named after the address, below the run directory that all nfio of
//! this machine share, holding the path of the guest's directory: several roots never clash, and a lease whose
//! guest is gone is free again. Whoever changes leases or the bridge holds [`lock`].

use nix::fcntl::{Flock, FlockArg};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::net::Ipv4Addr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// An IPv4 network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Subnet {
    base: u32,
    pub(crate) prefix: u8,
}

impl Subnet {
    pub(crate) fn parse(text: &str) -> io::Result<Self> {
        let wrong = || {
            io::Error::other(format!(
                "{text:?} is no subnet for guests: write an IPv4 network with its prefix length, 8 to 29, such as 10.203.0.0/16"
            ))
        };
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: Ipv4Addr = address.parse().map_err(|_| wrong())?;
        let prefix: u8 = prefix.parse().map_err(|_| wrong())?;
        if !(8..=29).contains(&prefix) {
            return Err(wrong());
        }
        Ok(Self { base: u32::from(address) & (u32::MAX << (32 - prefix)), prefix })
    }

    /// The bridge's own address: the first.
    pub(crate) fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from(self.base + 1)
    }

    /// The addresses for guests.
    fn guests(&self) -> impl Iterator<Item = Ipv4Addr> {
        let last = self.base | (u32::MAX >> self.prefix);
        (self.base + 2..last).map(Ipv4Addr::from)
    }

    /// The lower addresses of all pairs of neighbours (networks of prefix length 31), without the first.
    fn pairs(&self) -> impl Iterator<Item = Ipv4Addr> {
        let last = self.base | (u32::MAX >> self.prefix);
        (self.base + 2..last).step_by(2).map(Ipv4Addr::from)
    }

    /// Whether an address is one of the network's.
    pub(crate) fn contains(&self, address: Ipv4Addr) -> bool {
        u32::from(address) & (u32::MAX << (32 - self.prefix)) == self.base
    }

    /// Whether both have addresses in common.
    pub(crate) fn overlaps(&self, other: Self) -> bool {
        self.contains(Ipv4Addr::from(other.base)) || other.contains(Ipv4Addr::from(self.base))
    }

    /// Whether an address is one for guests.
    fn holds(&self, address: Ipv4Addr) -> bool {
        let contained = self.contains(address);
        let address = u32::from(address);
        contained && address > self.base + 1 && address != self.base | (u32::MAX >> self.prefix)
    }
}

/// One at a time over all nfio of this machine, until dropped.
pub(crate) fn lock(run: &Path) -> io::Result<Flock<File>> {
    fs::DirBuilder::new().recursive(true).mode(0o755).create(run)?;
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(run.join("lock"))?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| e.into())
}

/// Takes an address for the guest in `dir`: the one that it holds or had before, while that is free.
pub(crate) fn acquire(
    run: &Path,
    subnet: Subnet,
    dir: &Path,
    before: Option<Ipv4Addr>,
) -> io::Result<Ipv4Addr> {
    let _lock = lock(run)?;
    let leases = run.join("leases");
    fs::create_dir_all(&leases)?;
    let before = before.filter(|address| subnet.holds(*address));
    first_free(&leases, before.into_iter().chain(subnet.guests()), |holder| holder == dir, dir)?.ok_or_else(|| {
        io::Error::other(format!(
            "every address of the guests' subnet (gateway {}/{}) is taken: destroy guests, or configure a larger subnet",
            subnet.gateway(),
            subnet.prefix
        ))
    })
}

/// Takes pairs of neighbouring addresses, as many as `count`, for the chain whose directory is `dir`: the two ends of a
/// link each. Answers the lower one of each pair.
pub(crate) fn acquire_pairs(
    run: &Path,
    subnet: Subnet,
    dir: &Path,
    count: usize,
) -> io::Result<Vec<Ipv4Addr>> {
    let _lock = lock(run)?;
    let leases = run.join("leases");
    fs::create_dir_all(&leases)?;
    let mut candidates = subnet.pairs();
    let mut taken = Vec::new();
    while taken.len() < count {
        // A pair that it holds already is another link's.
        match first_free(&leases, &mut candidates, |_| false, dir)? {
            Some(address) => taken.push(address),
            None => {
                return Err(io::Error::other(
                    "every address of the chains' subnet is taken: destroy chains, or configure a larger subnet in [chains]",
                ));
            }
        }
    }
    Ok(taken)
}

/// Takes the first candidate that nobody holds, or whose holder is `mine` already, or gone.
fn first_free(
    leases: &Path,
    candidates: impl IntoIterator<Item = Ipv4Addr>,
    mine: impl Fn(&Path) -> bool,
    dir: &Path,
) -> io::Result<Option<Ipv4Addr>> {
    for address in candidates {
        let file = leases.join(address.to_string());
        if take(&file, dir)? {
            return Ok(Some(address));
        }
        let holder = PathBuf::from(std::ffi::OsStr::from_bytes(&fs::read(&file)?));
        if mine(&holder) {
            return Ok(Some(address));
        }
        // A guest's directory goes last when it is destroyed, and with it the claim.
        if !holder.is_dir() {
            fs::remove_file(&file)?;
            if take(&file, dir)? {
                return Ok(Some(address));
            }
        }
    }
    Ok(None)
}

fn take(file: &Path, dir: &Path) -> io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(0o644).open(file) {
        Ok(mut lease) => {
            lease.write_all(dir.as_os_str().as_bytes())?;
            Ok(true)
        }
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(e) => Err(e),
    }
}

/// Gives back whatever the guest in `dir` holds.
pub(crate) fn release(run: &Path, dir: &Path) -> io::Result<()> {
    let leases = run.join("leases");
    if !leases.is_dir() {
        return Ok(());
    }
    let _lock = lock(run)?;
    for lease in fs::read_dir(leases)? {
        let lease = lease?.path();
        if fs::read(&lease)? == dir.as_os_str().as_bytes() {
            fs::remove_file(lease)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_ipv4_networks_with_room() {
        let subnet = Subnet::parse("10.203.7.9/16").unwrap();
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 203, 0, 1));
        assert_eq!(subnet.guests().count(), 65533);
        for text in ["10.203.0.0", "10.203.0.0/30", "10.203.0.0/7", "fd00::/64", "x/16"] {
            assert!(Subnet::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn chains_take_pairs_that_nobody_else_has_and_give_them_back() {
        let run = tempfile::tempdir().unwrap();
        let chains = tempfile::tempdir().unwrap();
        let subnet = Subnet::parse("10.1.2.0/29").unwrap();
        let take = |name: &str, count| {
            let dir = chains.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            acquire_pairs(run.path(), subnet, &dir, count)
        };
        let address = |n| Ipv4Addr::new(10, 1, 2, n);
        assert_eq!(take("a", 2).unwrap(), [address(2), address(4)]);
        assert!(take("b", 2).unwrap_err().to_string().contains("larger subnet in [chains]"));
        release(run.path(), &chains.path().join("b")).unwrap();
        assert_eq!(take("c", 1).unwrap(), [address(6)]);
        release(run.path(), &chains.path().join("a")).unwrap();
        assert_eq!(take("b", 2).unwrap(), [address(2), address(4)]);
    }

    #[test]
    fn guests_never_share_an_address_keep_theirs_and_leave_it_when_gone() {
        let run = tempfile::tempdir().unwrap();
        let guests = tempfile::tempdir().unwrap();
        let subnet = Subnet::parse("10.1.2.0/29").unwrap();
        let dir = |name: &str| {
            let dir = guests.path().join(name);
            fs::create_dir_all(&dir).unwrap();
            dir
        };
        let take = |name: &str, before| acquire(run.path(), subnet, &dir(name), before);
        let address = |n| Ipv4Addr::new(10, 1, 2, n);
        assert_eq!(take("a", None).unwrap(), address(2));
        assert_eq!(take("a", None).unwrap(), address(2));
        assert_eq!(take("b", Some(address(5))).unwrap(), address(5));
        assert_eq!(take("c", Some(address(5))).unwrap(), address(3));
        assert_eq!(take("d", Some(address(7))).unwrap(), address(4));
        assert_eq!(take("e", None).unwrap(), address(6));
        assert!(take("f", None).unwrap_err().to_string().contains("larger subnet"));
        release(run.path(), &dir("b")).unwrap();
        assert_eq!(take("f", None).unwrap(), address(5));
        fs::remove_dir(dir("c")).unwrap();
        assert_eq!(take("g", None).unwrap(), address(3));
    }
}
