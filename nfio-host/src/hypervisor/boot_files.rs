//! The files of boot.conf, as `activate` read them: they are written into the guest before each of its starts, so they
//! are kept beside ROOT's other private state until the guest is destroyed.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use crate::beneath;
use crate::error::Result;
use crate::hypervisor::{Guest, GuestSpec, PutFile};

/// Where they are kept.
#[derive(Debug)]
pub(in crate::hypervisor) struct BootFiles(PathBuf);

impl BootFiles {
    /// Keeps them in this directory, which is made where it is missing.
    pub(in crate::hypervisor) fn new(directory: &Path) -> io::Result<Self> {
        fs::create_dir_all(directory)?;
        beneath::clear_half_written(directory)?;
        Ok(Self(directory.to_owned()))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.0.join(format!("{id}.files"))
    }

    /// Keeps a guest's files.
    pub(in crate::hypervisor) fn keep(&self, spec: &GuestSpec) -> Result<()> {
        if spec.files.is_empty() {
            return Ok(());
        }
        let text = serde_json::to_vec(&spec.files).map_err(io::Error::other)?;
        beneath::write_atomic(&self.path(&spec.labels.id), &text)
    }

    /// A guest's files; none where none were kept.
    pub(in crate::hypervisor) fn of(&self, guest: &Guest) -> Result<Vec<PutFile>> {
        match fs::read(self.path(&guest.labels.id)) {
            Ok(text) => Ok(serde_json::from_slice(&text).map_err(io::Error::other)?),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }

    /// The guest is gone.
    pub(in crate::hypervisor) fn remove(&self, id: &str) -> io::Result<()> {
        match fs::remove_file(self.path(id)) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn they_are_kept_until_the_guest_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let kept = BootFiles::new(&dir.path().join("docker")).unwrap();
        let file = PutFile { path: "/etc/motd".into(), mode: 0o600, data: vec![0, 255] };
        let spec = GuestSpec { files: vec![file.clone()], ..GuestSpec::example() };
        let guest = Guest::of(&spec);
        assert!(kept.of(&guest).unwrap().is_empty());
        kept.keep(&spec).unwrap();
        assert_eq!(kept.of(&guest).unwrap(), [file]);
        kept.remove(&guest.labels.id).unwrap();
        kept.remove(&guest.labels.id).unwrap();
        assert!(kept.of(&guest).unwrap().is_empty());
    }
}
