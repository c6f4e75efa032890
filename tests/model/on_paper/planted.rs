//! Faults between the file system and the life cycle: in all else it is the one within.

use middlebox_sdk::File;
use nfio_host::error::Result;
use nfio_host::fs::operations::{
    Access, Caller, Lane, OnChange, OnDiskChange, Operations, TypeState, Written,
};
use nfio_host::tree::Instance;
use nfio_host::vnf::VnfsOperations;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use crate::fault::Fault;

/// The life cycle, with a fault.
pub(crate) struct Planted {
    inner: Arc<VnfsOperations>,
    fault: Fault,
    root: PathBuf,
}

impl Planted {
    pub(crate) fn new(inner: Arc<VnfsOperations>, fault: Fault, root: PathBuf) -> Self {
        Self { inner, fault, root }
    }
}

impl Operations for Planted {
    fn types(&self) -> Vec<String> {
        self.inner.types()
    }

    fn type_state(&self, ty: &str) -> TypeState {
        self.inner.type_state(ty)
    }

    fn special(&self, ty: &str, path: &str) -> Option<Arc<File>> {
        self.inner.special(ty, path)
    }

    fn is_skeleton(&self, ty: &str, path: &str) -> bool {
        self.fault != Fault::SkeletonGoes && self.inner.is_skeleton(ty, path)
    }

    fn is_deployed(&self, at: Instance<'_>) -> bool {
        self.inner.is_deployed(at)
    }

    fn create_instance(&self, at: Instance<'_>, mode: u32, caller: Caller) -> Result<()> {
        self.inner.create_instance(at, mode, caller)
    }

    fn remove_instance(&self, at: Instance<'_>) -> Result<()> {
        if self.fault == Fault::DeployedIsRemoved
            && self.inner.is_deployed(at)
            && let Some(action) = self.inner.special(at.ty, "action")
        {
            self.inner.write(at, &action, b"forget\n", Caller { uid: 0, gid: 0 }).count?;
        }
        self.inner.remove_instance(at)
    }

    fn rename_instance(&self, from: Instance<'_>, to: Instance<'_>, flags: u32) -> Result<()> {
        self.inner.rename_instance(from, to, flags)
    }

    fn lane(&self, at: Instance<'_>, file: &File, access: Access) -> Lane {
        self.inner.lane(at, file, access)
    }

    fn attributes(&self, at: Instance<'_>, file: &File) -> Result<Option<(u64, SystemTime)>> {
        self.inner.attributes(at, file)
    }

    fn read(&self, at: Instance<'_>, file: &File) -> Result<Vec<u8>> {
        self.inner.read(at, file)
    }

    fn read_log(&self, at: Instance<'_>, file: &File, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.inner.read_log(at, file, offset, length)
    }

    fn write(&self, at: Instance<'_>, file: &File, data: &[u8], caller: Caller) -> Written {
        if file.path == "action" && self.fault == Fault::SettingsAreLost {
            // Where the instance has none, nothing is lost.
            let _ = fs::File::options()
                .write(true)
                .truncate(true)
                .open(self.root.join(at.path()).join("config/nf_conf"));
        }
        if file.path == "action" && self.fault == Fault::VerbsAreCut {
            let first = data.split_inclusive(|byte| *byte == b'\n').next().unwrap_or_default();
            let written = self.inner.write(at, file, first, caller);
            return Written { count: written.count.map(|_| data.len()), ..written };
        }
        self.inner.write(at, file, data, caller)
    }

    fn on_change(&self, changed: OnChange) {
        self.inner.on_change(changed);
    }

    fn on_disk_change(&self, changed: OnDiskChange) {
        self.inner.on_disk_change(changed);
    }

    fn modules_changed(&self) -> SystemTime {
        self.inner.modules_changed()
    }

    fn modules(&self) -> Vec<String> {
        self.inner.modules()
    }

    fn module_files(&self) -> &'static [&'static str] {
        self.inner.module_files()
    }

    fn module_file(&self, module: &str, file: &str) -> Option<Vec<u8>> {
        self.inner.module_file(module, file)
    }
}
