//! What goes beyond names and whole texts: lengths, extended attributes, and a file that is kept open while its names
//! come and go.

use super::{Answer, Errno, Expected, Id, Kind, Model, Place, place, special};
use crate::skeleton::is_verb;

impl Model {
    pub(super) fn truncate(&mut self, path: &str, size: u64) -> Answer<()> {
        let spot = self.files.walk(path, true)?;
        let id = spot.existing()?;
        if self.files.is_directory(id) {
            return Err(Errno::EISDIR);
        }
        match place(&spot.names) {
            Place::Modules => return Err(Errno::EPERM),
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
        self.kept = Some(id);
        Ok(())
    }

    fn kept(&self) -> Answer<Id> {
        self.kept.ok_or(Errno::EBADF)
    }

    pub(super) fn read_kept(&self) -> Answer<Expected> {
        match &self.files.node(self.kept()?).kind {
            Kind::File(text) => Ok(Expected::text(text)),
            _ => Err(Errno::EBADF),
        }
    }

    pub(super) fn write_kept(&mut self, text: &str) -> Answer<usize> {
        let id = self.kept()?;
        if let Kind::File(content) = &mut self.files.node_mut(id).kind {
            let rest = content.get(text.len()..).unwrap_or_default().to_owned();
            *content = text.to_owned() + &rest;
        }
        Ok(text.len())
    }
}
