//! Special files: what one open file reads, and how the VNF side is asked.

use middlebox_sdk::File;
use nix::errno::Errno;
use std::ops::Deref;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::lanes::Rules;
use super::operations::{Access, Lane, Operations};
use super::{Answer, Nfio, errno};
use crate::error::Result;
use crate::tree::{self, Instance, Node};

/// What one open special file reads: a snapshot of the text, taken at its first read and anew at each read at
/// offset 0.
///
/// A write moves the descriptor's position although offsets mean nothing to it, and whoever opened `command` for
/// both, wrote and reads on (`exec 3<>command`) does so from behind what was written. Therefore the position after
/// the last write counts as 0 of what is read next: reads at or behind it map to `offset - base`. The first read
/// before it (a seek back, pread at 0) ends that, and offsets are plain again. An answer of a write is what is read
/// from then on, from whichever beginning, until the next write.
#[derive(Default)]
pub(crate) struct Reader(Mutex<Reading>);

#[derive(Default)]
struct Reading {
    text: Option<Arc<Vec<u8>>>,
    base: u64,
    /// The text is the answer of a write: a read at the beginning does not take another.
    answered: bool,
}

/// A part of a snapshot.
pub(crate) struct Part {
    text: Arc<Vec<u8>>,
    from: usize,
    to: usize,
}

impl Deref for Part {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.text[self.from..self.to]
    }
}

impl Part {
    fn of(text: &Arc<Vec<u8>>, offset: u64, length: usize) -> Self {
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(text.len());
        let to = from.saturating_add(length).min(text.len());
        Self { text: Arc::clone(text), from, to }
    }
}

impl Reader {
    fn lock(&self) -> MutexGuard<'_, Reading> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is read at `offset`, where the snapshot serves; None: it is to be taken.
    pub(crate) fn read(&self, offset: u64, length: usize) -> Option<Part> {
        let mut reading = self.lock();
        if offset < reading.base {
            reading.base = 0;
        }
        let at = offset - reading.base;
        let serves = at > 0 || reading.answered;
        reading.text.as_ref().filter(|_| serves).map(|text| Part::of(text, at, length))
    }

    /// Keeps a snapshot and reads from it.
    pub(crate) fn take(&self, text: Vec<u8>, offset: u64, length: usize) -> Part {
        let mut reading = self.lock();
        let text = Arc::new(text);
        let part = Part::of(&text, offset.saturating_sub(reading.base), length);
        reading.text = Some(text);
        part
    }

    /// Whether this is what was last read.
    pub(crate) fn has_read(&self, text: &[u8]) -> bool {
        self.lock().text.as_ref().is_some_and(|read| read.as_slice() == text)
    }

    /// A write has ended; the descriptor's position is `position` now.
    pub(crate) fn written(&self, position: u64, answer: Option<Vec<u8>>) {
        let answered = answer.is_some();
        *self.lock() = Reading { text: answer.map(Arc::new), base: position, answered };
    }
}

/// Type and name of an instance, kept over a lane.
struct Place {
    ty: String,
    name: String,
}

impl Place {
    fn instance(&self) -> Instance<'_> {
        Instance { ty: &self.ty, name: &self.name }
    }
}

impl Nfio {
    /// Asks the VNF side about a special file, in the lane that it names for this access.
    pub(super) fn ask<T: 'static>(
        &self,
        node: u64,
        file: &Arc<File>,
        access: Access,
        question: impl FnOnce(&dyn Operations, Instance<'_>, &File) -> Result<T> + Send + 'static,
        reply: impl FnOnce(Answer<T>) + Send + 'static,
    ) {
        let Some(place) = self.place(node) else { return reply(Err(Errno::ENXIO)) };
        match self.rules(place.instance(), file, access) {
            None => reply(question(&*self.ops, place.instance(), file).map_err(|e| errno(&e))),
            Some(rules) => {
                let (ops, file) = (Arc::clone(&self.ops), Arc::clone(file));
                let job = move || question(&*ops, place.instance(), &file).map_err(|e| errno(&e));
                self.lanes.submit(rules, job, reply);
            }
        }
    }

    /// Has a write done while its caller goes on (O_NONBLOCK): one per lane, and EAGAIN while anything is under way
    /// there.
    pub(super) fn queue(
        &self,
        node: u64,
        file: &Arc<File>,
        work: impl FnOnce(&dyn Operations, Instance<'_>, &File) + Send + 'static,
    ) -> Answer<()> {
        let place = self.place(node).ok_or(Errno::ENXIO)?;
        let Some(rules) = self.rules(place.instance(), file, Access::Write) else {
            work(&*self.ops, place.instance(), file);
            return Ok(());
        };
        let (ops, file) = (Arc::clone(&self.ops), Arc::clone(file));
        let rules = Rules { width: 1, queue: 0, overdue: Errno::EAGAIN, ..rules };
        self.lanes.queue(rules, move || {
            work(&*ops, place.instance(), &file);
            Ok(())
        })
    }

    /// Asked at each access: the instance may have been renamed since the file was opened.
    fn place(&self, node: u64) -> Option<Place> {
        let path = self.inodes.path(node).unwrap_or_default();
        let Node::Within(instance, _) = tree::node(&path) else { return None };
        Some(Place { ty: instance.ty.into(), name: instance.name.into() })
    }

    /// The rules of the lane for an access; None: it is answered here and now.
    fn rules(&self, instance: Instance<'_>, file: &File, access: Access) -> Option<Rules> {
        match self.ops.lane(instance, file, access) {
            Lane::Inline => None,
            Lane::Bounded { key, width, queue, deadline, overdue } => {
                Some(Rules { key, width, queue, deadline, overdue: Errno::from_raw(overdue) })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(part: Option<Part>) -> Option<String> {
        part.map(|part| String::from_utf8(part.to_vec()).unwrap())
    }

    #[test]
    fn one_open_file_reads_one_snapshot_until_it_goes_back_to_its_beginning() {
        let reader = Reader::default();
        assert!(reader.read(0, 9).is_none());
        assert_eq!(&*reader.take(b"hello\n".to_vec(), 0, 2), b"he");
        assert_eq!(text(reader.read(2, 99)).as_deref(), Some("llo\n"));
        assert_eq!(text(reader.read(6, 99)).as_deref(), Some(""));
        assert_eq!(text(reader.read(u64::MAX, 99)).as_deref(), Some(""));
        assert!(reader.read(0, 9).is_none());
        assert_eq!(&*reader.take(b"new\n".to_vec(), 0, 99), b"new\n");
    }

    #[test]
    fn a_first_read_in_the_middle_takes_a_snapshot_too() {
        let reader = Reader::default();
        assert!(reader.read(3, 9).is_none());
        assert_eq!(&*reader.take(b"hello\n".to_vec(), 3, 99), b"lo\n");
    }

    #[test]
    fn an_answer_is_read_behind_what_was_written_and_from_the_beginning() {
        let reader = Reader::default();
        reader.written(4, Some(b"output\n".to_vec()));
        assert_eq!(text(reader.read(4, 3)).as_deref(), Some("out"));
        assert_eq!(text(reader.read(7, 99)).as_deref(), Some("put\n"));
        assert_eq!(text(reader.read(11, 99)).as_deref(), Some(""));
        assert_eq!(text(reader.read(0, 99)).as_deref(), Some("output\n"));
        assert_eq!(text(reader.read(4, 99)).as_deref(), Some("ut\n"), "offsets are plain again");
        assert_eq!(text(reader.read(0, 99)).as_deref(), Some("output\n"));
    }

    #[test]
    fn without_an_answer_a_snapshot_is_taken_behind_what_was_written() {
        let reader = Reader::default();
        reader.take(b"old\n".to_vec(), 0, 9);
        reader.written(6, None);
        assert!(reader.read(6, 99).is_none());
        assert_eq!(&*reader.take(b"new\n".to_vec(), 6, 99), b"new\n");
        assert_eq!(text(reader.read(10, 99)).as_deref(), Some(""));
    }
}
