//! What goes beyond names and whole texts: lengths, extended attributes, and a file that is kept open while its names
//! come and go.

use super::{Answer, At, Errno, Expected, Id, Kind, Model, Place, place, special};
use crate::skeleton::{Special, is_verb};

/// A file that is open.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    id: Id,
    /// Its path below its instance, where it is special.
    special: Option<(String, Special)>,
    writable: bool,
}

impl Model {
    pub(super) fn truncate(&mut self, path: &str, size: u64) -> Answer<()> {
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        if self.files.is_directory(id) {
            return Err(Errno::EISDIR);
        }
        match place(&spot.names) {
            Place::Modules => return Err(Errno::EACCES),
            // What a special file shows is not for its users to cut.
            Place::Within(ty, _, path) if special(ty, &path).is_some() => {
                return if is_verb(&path) { Ok(()) } else { Err(Errno::EACCES) };
            }
            _ => {}
        }
        if let Kind::File(text) = &mut self.files.node_mut(id).kind {
            let size = size as usize;
            let zeros = "\0".repeat(size.saturating_sub(text.len()));
            text.truncate(size);
            text.push_str(&zeros);
        }
        Ok(())
    }

    pub(super) fn label(&mut self, path: &str, text: &'static str) -> Answer<()> {
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        match place(&spot.names) {
            Place::Modules => Err(Errno::EOPNOTSUPP),
            _ => {
                self.files.node_mut(id).label = Some(text);
                Ok(())
            }
        }
    }

    pub(super) fn read_label(&self, path: &str) -> Answer<Expected> {
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        match place(&spot.names) {
            Place::Modules => Err(Errno::EOPNOTSUPP),
            _ => self.files.node(id).label.map(Expected::text).ok_or(Errno::ENODATA),
        }
    }

    /// Opens an ordinary file to read and write. One that is special is not kept.
    pub(super) fn keep(&mut self, path: &str) -> Answer<()> {
        self.kept = None;
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        if self.files.is_directory(id) {
            return Err(Errno::EISDIR);
        }
        match place(&spot.names) {
            Place::Modules => return Err(Errno::EACCES),
            Place::Within(ty, _, path) if special(ty, &path).is_some() && !is_verb(&path) => {
                return Err(Errno::EACCES);
            }
            _ => {}
        }
        self.kept = Some(Kept { id, special: None, writable: true });
        Ok(())
    }

    /// Opens a file below an instance to read.
    pub(super) fn keep_reading(&mut self, path: &str) -> Answer<()> {
        self.kept = None;
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        let Place::Within(ty, _, path) = place(&spot.names) else {
            panic!("{path} is not within an instance")
        };
        let special = special(ty, &path).map(|special| (path, special));
        self.kept = Some(Kept { id, special, writable: false });
        Ok(())
    }

    /// A special file answers for the instance that it is in, whatever that is called now; one that is gone, for none.
    pub(super) fn read_kept(&self) -> Answer<Expected> {
        let kept = self.kept.as_ref().ok_or(Errno::EBADF)?;
        if let Some((path, special)) = &kept.special {
            let holds = |at: &&At| {
                let names = ["nf-types", &at.0, &at.1].into_iter().chain(path.split('/'));
                self.files.at(&names.collect::<Vec<_>>()) == Some(kept.id)
            };
            let at = self.instances.keys().find(holds).ok_or(Errno::ENXIO)?;
            return self.read_special(at, path, *special);
        }
        match &self.files.node(kept.id).kind {
            Kind::File(text) => Ok(Expected::text(text)),
            _ => Err(Errno::EISDIR),
        }
    }

    pub(super) fn write_kept(&mut self, text: &str) -> Answer<usize> {
        let id = self.kept.as_ref().filter(|kept| kept.writable).ok_or(Errno::EBADF)?.id;
        if let Kind::File(content) = &mut self.files.node_mut(id).kind {
            let rest = content.get(text.len()..).unwrap_or_default().to_owned();
            *content = text.to_owned() + &rest;
        }
        Ok(text.len())
    }
}
