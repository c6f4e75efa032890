//! mkdir, rmdir, unlink, rename, link, symlink: POSIX first, as the kernel judges before it asks; then what nfio's tree allows.

use super::{Answer, At, Errno, Id, Kind, Model, Place, Spot, directories, files, place, special};
use crate::skeleton::stays;

/// Whether a name can be an instance's.
fn is_name(name: &str) -> bool {
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

fn is_type_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}

impl Model {
    /// Whether files, links and plain directories can be made in the directory of a spot.
    fn may_make(spot: &Spot) -> Answer<()> {
        match place(&spot.names) {
            Place::Within(..) => Ok(()),
            _ => Err(Errno::EPERM),
        }
    }

    fn is_special(&self, spot: &Spot) -> bool {
        matches!(place(&spot.names), Place::Within(ty, _, path) if special(ty, &path).is_some())
    }

    /// Whether it is a special file: only a regular file is one.
    fn is_special_file(&self, spot: &Spot) -> bool {
        let is_file = spot.node.is_some_and(|id| matches!(self.files.node(id).kind, Kind::File(_)));
        is_file && self.is_special(spot)
    }

    /// A part of the skeleton of a deployed instance stays where it is.
    fn not_of_a_guest(&self, spot: &Spot) -> Answer<()> {
        match place(&spot.names) {
            Place::Within(ty, name, path) if stays(ty, &path) && self.is_deployed(ty, name) => {
                Err(Errno::EBUSY)
            }
            _ => Ok(()),
        }
    }

    /// A name that must be free.
    pub(super) fn free(&self, path: &str) -> Answer<Spot> {
        let spot = self.files.walk(path, false)?;
        if spot.node.is_some() { Err(Errno::EEXIST) } else { Ok(spot) }
    }

    pub(super) fn mkdir(&mut self, path: &str) -> Answer<()> {
        let spot = self.free(path)?;
        match place(&spot.names) {
            Place::Type(ty) => Err(if is_type_name(ty) { Errno::ENOPKG } else { Errno::EINVAL }),
            Place::Instance(_, name) if !is_name(name) => Err(Errno::EINVAL),
            Place::Instance(ty, _) if !self.loaded.contains(ty) => Err(Errno::ENOPKG),
            Place::Instance(ty, name) => {
                let (ty, name) = (ty.to_owned(), name.to_owned());
                self.make_skeleton(spot.parent(), &ty, &name);
                Ok(())
            }
            Place::Within(..) if !self.is_special(&spot) => {
                self.files.make_directory(spot.parent(), spot.name(), 0o755);
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    pub(super) fn rmdir(&mut self, path: &str) -> Answer<()> {
        let spot = self.files.walk(path, false)?;
        let id = spot.existing()?;
        if !self.files.is_directory(id) {
            return Err(Errno::ENOTDIR);
        }
        match place(&spot.names) {
            Place::Instance(ty, name) => {
                if self.is_deployed(ty, name) {
                    return Err(Errno::EBUSY);
                }
                if self.holds_foreign(ty, id, "") {
                    return Err(Errno::ENOTEMPTY);
                }
                self.instances.remove(&(ty.to_owned(), name.to_owned()));
                self.files.take(spot.parent(), spot.name());
                self.hide_types();
                Ok(())
            }
            Place::Type(_) if !self.files.is_empty(id) => Err(Errno::EBUSY),
            Place::Within(..) => {
                self.not_of_a_guest(&spot)?;
                if !self.files.is_empty(id) {
                    return Err(Errno::ENOTEMPTY);
                }
                self.files.take(spot.parent(), spot.name());
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    /// Whether an instance holds what is not of its skeleton.
    fn holds_foreign(&self, ty: &str, directory: Id, above: &str) -> bool {
        self.files.children(directory).into_iter().flatten().any(|(name, child)| {
            let path = format!("{above}{name}");
            if self.files.is_directory(*child) {
                !directories(ty).contains(&&*path) || self.holds_foreign(ty, *child, &format!("{path}/"))
            } else {
                !files(ty).any(|(known, _)| known == path)
            }
        })
    }

    pub(super) fn unlink(&mut self, path: &str) -> Answer<()> {
        let spot = self.files.walk(path, false)?;
        if self.files.is_directory(spot.existing()?) {
            return Err(Errno::EISDIR);
        }
        Self::may_make(&spot)?;
        self.not_of_a_guest(&spot)?;
        self.files.take(spot.parent(), spot.name());
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str) -> Answer<()> {
        let (from, to) = (self.files.walk(from, false)?, self.files.walk(to, false)?);
        let id = from.existing()?;
        if to.above.contains(&id) {
            return Err(Errno::EINVAL);
        }
        if to.node.is_some_and(|over| from.above.contains(&over)) {
            return Err(Errno::ENOTEMPTY);
        }
        if to.node == Some(id) {
            return Ok(());
        }
        match to.node.map(|over| self.files.is_directory(over)) {
            Some(true) if !self.files.is_directory(id) => return Err(Errno::EISDIR),
            Some(false) if self.files.is_directory(id) => return Err(Errno::ENOTDIR),
            _ => {}
        }
        match place(&from.names) {
            Place::Instance(ty, name) => {
                self.rename_instance((ty.to_owned(), name.to_owned()), &from, &to)?
            }
            Place::Within(..) => {
                Self::may_make(&to)?;
                self.may_move(id, &from, &to)?;
                if to.node.is_some_and(|over| self.files.is_directory(over) && !self.files.is_empty(over)) {
                    return Err(Errno::ENOTEMPTY);
                }
            }
            _ => return Err(Errno::EPERM),
        }
        self.files.take(from.parent(), from.name());
        self.files.put(to.parent(), to.name(), id);
        Ok(())
    }

    /// Judges the rename of an instance, and takes along what is kept of it.
    fn rename_instance(&mut self, old: At, from: &Spot, to: &Spot) -> Answer<()> {
        let name = match place(&to.names) {
            Place::Instance(ty, name) if from.parent() == to.parent() && ty == old.0 => name.to_owned(),
            _ => return Err(Errno::EPERM),
        };
        if !is_name(&name) {
            return Err(Errno::EINVAL);
        }
        if self.is_deployed(&old.0, &old.1) {
            return Err(Errno::EBUSY);
        }
        // An instance is never an empty directory.
        if to.node.is_some() {
            return Err(Errno::ENOTEMPTY);
        }
        if let Some(mut kept) = self.instances.remove(&old) {
            kept.last_verb = None;
            self.instances.insert((old.0, name), kept);
        }
        Ok(())
    }

    /// Whether something below an instance may move.
    fn may_move(&self, id: Id, from: &Spot, to: &Spot) -> Answer<()> {
        self.not_of_a_guest(from)?;
        self.not_of_a_guest(to)?;
        if self.is_special_file(from) || self.is_special(to) {
            return Err(Errno::EPERM);
        }
        if self.holds_special(id, from) || self.holds_special(id, to) {
            return Err(Errno::EPERM);
        }
        Ok(())
    }

    pub(super) fn rename_free(&mut self, from: &str, to: &str) -> Answer<()> {
        let target = self.files.walk(to, false);
        self.files.walk(from, false).and_then(|spot| target.clone().and(spot.existing()))?;
        if target?.node.is_some() { Err(Errno::EEXIST) } else { self.rename(from, to) }
    }

    pub(super) fn exchange(&mut self, from: &str, to: &str) -> Answer<()> {
        let (from, to) = (self.files.walk(from, false)?, self.files.walk(to, false)?);
        let (id, over) = (from.existing()?, to.existing()?);
        if to.above.contains(&id) || from.above.contains(&over) {
            return Err(Errno::EINVAL);
        }
        if id == over {
            return Ok(());
        }
        match (place(&from.names), place(&to.names)) {
            // Their guests and records would change places too.
            (Place::Instance(ty, name), Place::Instance(other, _)) if ty == other => {
                Err(if self.is_deployed(ty, name) { Errno::EBUSY } else { Errno::EINVAL })
            }
            (Place::Within(..), Place::Within(..)) => {
                Self::may_make(&to)?;
                self.may_move(id, &from, &to)?;
                self.may_move(over, &to, &from)?;
                self.files.put(from.parent(), from.name(), over);
                self.files.put(to.parent(), to.name(), id);
                Ok(())
            }
            _ => Err(Errno::EPERM),
        }
    }

    /// Whether a directory holds files that are special, or would be, at a place.
    fn holds_special(&self, id: Id, at: &Spot) -> bool {
        let Place::Within(ty, _, path) = place(&at.names) else { return false };
        let below = self.files.children(id).into_iter().flatten();
        below.into_iter().any(|(name, child)| {
            matches!(self.files.node(*child).kind, Kind::File(_))
                && special(ty, &format!("{path}/{name}")).is_some()
        })
    }

    pub(super) fn link(&mut self, from: &str, to: &str) -> Answer<()> {
        let from = self.files.walk(from, false)?;
        let id = from.existing()?;
        let to = self.free(to)?;
        if self.files.is_directory(id) {
            return Err(Errno::EPERM);
        }
        Self::may_make(&to)?;
        if self.is_special_file(&from) || self.is_special(&to) || matches!(place(&from.names), Place::Modules)
        {
            return Err(Errno::EPERM);
        }
        self.files.put(to.parent(), to.name(), id);
        Ok(())
    }

    pub(super) fn symlink(&mut self, target: &str, path: &str) -> Answer<()> {
        let spot = self.free(path)?;
        Self::may_make(&spot)?;
        if self.is_special(&spot) {
            return Err(Errno::EPERM);
        }
        self.files.make(spot.parent(), spot.name(), Kind::Link(target.to_owned()), 0o777);
        Ok(())
    }
}
