//! Listings that are being read. The kernel reads directories without opening them here (opendir is declined), so a
//! place in a listing says which one it is of: a directory is read whole at its beginning, and who reads on goes on in
//! that list, whatever is made or removed meanwhile.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The place behind the last name.
const END: u64 = 1 << 62;
/// Names kept over all listings; of those that are left half read the oldest go first.
const MOST: usize = 1 << 16;

/// A name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listed {
    pub(crate) name: OsString,
    pub(crate) node: u64,
    /// File type bits of a mode.
    pub(crate) kind: u32,
}

/// All listings that somebody has begun and not ended.
#[derive(Default)]
pub(crate) struct Listings(Mutex<Table>);

#[derive(Default)]
struct Table {
    open: VecDeque<Listing>,
    last: u32,
}

struct Listing {
    number: u32,
    node: u64,
    names: Arc<[Listed]>,
}

impl Listings {
    fn lock(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives names of `node` from the place `offset` on to `add` (place of the next, name) until that says no; `read`
    /// reads the directory.
    pub(crate) fn read<E>(
        &self,
        node: u64,
        offset: u64,
        read: impl FnOnce() -> Result<Vec<Listed>, E>,
        mut add: impl FnMut(u64, &Listed) -> bool,
    ) -> Result<(), E> {
        if offset >= END {
            return Ok(());
        }
        let (number, first) = ((offset >> 32) as u32, (offset & u64::from(u32::MAX)) as usize);
        let known = (offset != 0).then(|| self.find(node, number)).flatten();
        // One that was left for long is read again: its order is the same but for what came or went.
        let (names, number) = match known {
            Some(names) => (names, number),
            None => (read()?.into(), self.number()),
        };
        for (at, listed) in names.iter().enumerate().skip(first) {
            let next = if at + 1 == names.len() { END } else { (u64::from(number) << 32) | (at as u64 + 1) };
            if !add(next, listed) {
                self.keep(Listing { number, node, names });
                return Ok(());
            }
        }
        self.lock().open.retain(|listing| listing.number != number);
        Ok(())
    }

    fn find(&self, node: u64, number: u32) -> Option<Arc<[Listed]>> {
        let table = self.lock();
        let mut open = table.open.iter();
        open.find(|one| one.number == number && one.node == node).map(|one| Arc::clone(&one.names))
    }

    /// A number that no listing of late has; never 0, which would begin one.
    fn number(&self) -> u32 {
        let mut table = self.lock();
        table.last = table.last % (END >> 32).saturating_sub(1) as u32 + 1;
        table.last
    }

    fn keep(&self, listing: Listing) {
        let mut table = self.lock();
        if table.open.iter().all(|known| known.number != listing.number) {
            table.open.push_back(listing);
        }
        while table.open.len() > 1 && table.open.iter().map(|one| one.names.len()).sum::<usize>() > MOST {
            table.open.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(all: &[&str]) -> Result<Vec<Listed>, ()> {
        Ok(all.iter().map(|name| Listed { name: name.into(), node: 7, kind: 0 }).collect())
    }

    /// What one request gives that has room for so many, and where to go on.
    fn take(listings: &Listings, offset: u64, room: usize, now: &[&str]) -> (Vec<String>, u64) {
        let (mut all, mut next) = (Vec::new(), offset);
        let add = |place, listed: &Listed| {
            let fits = all.len() < room;
            if fits {
                all.push(listed.name.to_str().unwrap().to_owned());
                next = place;
            }
            fits
        };
        listings.read(7, offset, || names(now), add).unwrap();
        (all, next)
    }

    #[test]
    fn who_has_begun_goes_on_in_the_same_list() {
        let listings = Listings::default();
        let (first, place) = take(&listings, 0, 2, &["a", "b", "c"]);
        assert_eq!(first, ["a", "b"]);
        let (other, _) = take(&listings, 0, 1, &["b", "c", "d"]);
        assert_eq!(other, ["b"]);
        let (rest, end) = take(&listings, place, 9, &["gone"]);
        assert_eq!(rest, ["c"]);
        assert_eq!(take(&listings, end, 9, &["x"]), (Vec::new(), end));
        assert_eq!(listings.lock().open.len(), 1, "what was read to its end is forgotten");
    }

    #[test]
    fn a_short_list_is_not_kept_and_an_empty_one_ends() {
        let listings = Listings::default();
        let (all, end) = take(&listings, 0, 9, &["a", "b"]);
        assert_eq!((all.len(), listings.lock().open.len()), (2, 0));
        assert_eq!(take(&listings, end, 9, &["a"]).0, Vec::<String>::new());
        assert_eq!(take(&listings, 0, 9, &[]).0, Vec::<String>::new());
    }

    #[test]
    fn those_left_half_read_do_not_pile_up_and_can_still_go_on() {
        let listings = Listings::default();
        let many: Vec<String> = (0..MOST / 4).map(|n| n.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let places: Vec<u64> = (0..9).map(|_| take(&listings, 0, 1, &many).1).collect();
        assert!(listings.lock().open.len() <= 4);
        assert_eq!(take(&listings, places[0], 2, &many).0, ["1", "2"]);
    }
}
