//! Images: a root file system directory, or a tar of one, below the images directory. They are never written;
//! a tar is unpacked once per content and shared.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use super::remove::remove_tree;
use super::unpack::unpack;
use crate::error::Result;
use crate::hypervisor::image_names::{self, deploy};

/// Where images come from, and where tars are unpacked to.
#[derive(Debug)]
pub(in crate::hypervisor) struct Images {
    dir: PathBuf,
    unpacked: PathBuf,
    /// One unpacking at a time: a second guest of the same tar waits for the first one's.
    unpacking: Mutex<()>,
}

impl Images {
    pub(in crate::hypervisor) fn new(dir: PathBuf, unpacked: PathBuf) -> Self {
        Self { dir, unpacked, unpacking: Mutex::new(()) }
    }

    /// Judges an image's name without looking at the disk.
    pub(in crate::hypervisor) fn check_name(&self, name: &str, absolute_allowed: bool) -> Result<()> {
        image_names::judge(&self.dir, name, absolute_allowed)
    }

    /// The directory of an image, unpacked where it is a tar.
    pub(in crate::hypervisor) fn find(&self, name: &str, absolute_allowed: bool) -> Result<PathBuf> {
        self.check_name(name, absolute_allowed)?;
        let tar = format!("{name}.tar");
        let path = image_names::find(&self.dir, &[name, &tar], &format!("a directory, or {tar}"))?;
        let meta = fs::metadata(&path)?;
        if meta.is_dir() {
            return Ok(path);
        }
        if !meta.is_file() {
            return Err(deploy(format!("the image {} is neither a directory nor a tar", path.display())));
        }
        self.unpacked(name, &path)
    }

    fn unpacked(&self, name: &str, tar: &Path) -> Result<PathBuf> {
        let _one = self.unpacking.lock().unwrap_or_else(|e| e.into_inner());
        let file = File::open(tar)?;
        let meta = file.metadata()?;
        // The content's key: replacing or rewriting the tar changes at least one of these.
        let key = format!(
            "{:x}-{:x}-{:x}-{:x}.{:x}",
            meta.dev(),
            meta.ino(),
            meta.size(),
            meta.mtime(),
            meta.mtime_nsec()
        );
        let ready = self.unpacked.join(&key);
        if ready.is_dir() {
            return Ok(ready);
        }
        let staging = self.unpacked.join(format!(".new-{key}"));
        remove_tree(&staging)?;
        fs::create_dir_all(&staging)?;
        unpack(file, &staging).and_then(|()| fs::rename(&staging, &ready)).map_err(|e| {
            // The message is what matters; what is left of the staging goes at the next try.
            let _ = remove_tree(&staging);
            deploy(format!("the image {name} ({}) cannot be unpacked: {e}", tar.display()))
        })?;
        Ok(ready)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn images(dir: &Path) -> Images {
        fs::create_dir_all(dir.join("images/fw/bin")).unwrap();
        Images::new(dir.join("images"), dir.join("unpacked"))
    }

    #[test]
    fn a_missing_image_is_named_with_the_directory_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let error = images(dir.path()).find("nope", false).unwrap_err();
        assert_eq!(error.code(), 705);
        let text = error.to_string();
        assert!(
            text.contains("nope") && text.contains("images") && text.contains("machine/vm.image"),
            "{text}"
        );
    }

    #[test]
    fn names_stay_below_and_absolute_paths_are_for_root() {
        let dir = tempfile::tempdir().unwrap();
        let images = images(dir.path());
        std::os::unix::fs::symlink("/etc", dir.path().join("images/out")).unwrap();
        assert!(images.find("fw", false).unwrap().ends_with("images/fw"));
        assert_eq!(images.find("", false).unwrap_err().code(), 713);
        for name in ["../x", ".", "./.", "fw/.."] {
            assert_eq!(images.find(name, false).unwrap_err().code(), 720, "{name}");
        }
        assert_eq!(images.find("/", true).unwrap_err().code(), 720);
        assert_eq!(images.find("out", false).unwrap_err().code(), 705);
        let absolute = dir.path().join("images/fw");
        assert_eq!(images.find(absolute.to_str().unwrap(), false).unwrap_err().code(), 720);
        assert!(images.find(absolute.to_str().unwrap(), true).is_ok());
    }

    #[test]
    fn a_tar_is_unpacked_once_and_again_when_it_changes() {
        let dir = tempfile::tempdir().unwrap();
        let images = images(dir.path());
        let write = |text: &[u8]| {
            let mut tar = tar::Builder::new(File::create(dir.path().join("images/box.tar")).unwrap());
            let mut header = tar::Header::new_gnu();
            header.set_size(text.len() as u64);
            header.set_mode(0o755);
            header.set_uid(0);
            header.set_gid(0);
            header.set_mtime(0);
            tar.append_data(&mut header, "etc/motd", text).unwrap();
            tar.finish().unwrap();
        };
        write(b"one");
        let first = images.find("box", false).unwrap();
        assert_eq!(first, images.find("box.tar", false).unwrap());
        assert_eq!(fs::read(first.join("etc/motd")).unwrap(), b"one");
        write(b"three");
        let second = images.find("box", false).unwrap();
        assert_ne!(first, second);
        assert_eq!(fs::read(second.join("etc/motd")).unwrap(), b"three");
    }
}
