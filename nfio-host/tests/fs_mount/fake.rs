//! A stand-in for the VNF side: one type `box`, loaded, and one `gone`, whose module is missing.

use middlebox_sdk::{File, Kind};
use nfio_host::error::{HypervisorError, NfioError, Result};
use nfio_host::fs::operations::{
    Access, Caller, DiskChange, Lane, OnChange, OnDiskChange, Operations, TypeState, Written,
};
use nfio_host::tree::{CHAIN, Instance};
use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, SystemTime};

use crate::bed::PATIENCE;

pub(crate) struct Fake {
    root: PathBuf,
    files: Vec<Arc<File>>,
    /// Every write to a verb: file, text, who.
    pub(crate) writes: Mutex<Vec<(String, String, Caller)>>,
    pub(crate) log: Mutex<Vec<u8>>,
    pub(crate) changed: Mutex<Option<OnChange>>,
    pub(crate) changed_on_disk: Mutex<Option<OnDiskChange>>,
    pub(crate) modules_changed: Mutex<SystemTime>,
    pub(crate) deployed: Mutex<HashSet<String>>,
    /// How often `status` was read.
    pub(crate) reads: AtomicU64,
    /// Whether the type `late` is loaded.
    pub(crate) late: AtomicBool,
    gate: Gate,
}

/// Holds readers of `slow` until it is opened.
#[derive(Default)]
pub(crate) struct Gate {
    state: Mutex<(usize, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.0 += 1;
        self.changed.notify_all();
        drop(self.changed.wait_while(state, |state| !state.1).unwrap());
    }
    fn set_open(&self) {
        self.state.lock().unwrap().1 = true;
        self.changed.notify_all();
    }
    fn wait_for(&self, count: usize) {
        let state = self.state.lock().unwrap();
        let (state, _) = self.changed.wait_timeout_while(state, PATIENCE, |state| state.0 < count).unwrap();
        let here = state.0;
        drop(state);
        assert!(here >= count, "{here} of {count} calls came");
    }
}

pub(crate) struct Release<'a>(&'a Fake);

impl Drop for Release<'_> {
    fn drop(&mut self) {
        self.0.release_slow();
    }
}

const ORDINARY: [&str; 2] = ["config/conf", "machine/ip"];

impl Fake {
    pub(crate) fn new(root: PathBuf) -> Self {
        let verb = |path: &str, mode| File::standard(path, Kind::Verb, mode, path);
        let files = [
            File::standard("status", Kind::Value, 0o444, "status"),
            File::standard("stats/n", Kind::Value, 0o444, "n"),
            File::standard("log", Kind::Log, 0o440, "log"),
            verb("action", 0o644),
            verb("command", 0o600),
            verb("job", 0o600),
            File::value("slow"),
            File::value("late"),
            File::value("boom"),
            File::value("boom_in_lane"),
            File::value("sized").sized(),
            File::value("knob").mode(0o644),
        ];
        Self {
            root,
            files: files.into_iter().map(Arc::new).collect(),
            writes: Mutex::default(),
            log: Mutex::default(),
            changed: Mutex::default(),
            changed_on_disk: Mutex::default(),
            modules_changed: Mutex::new(SystemTime::now()),
            deployed: Mutex::default(),
            reads: AtomicU64::new(0),
            late: AtomicBool::new(false),
            gate: Gate::default(),
        }
    }

    pub(crate) fn deploy(&self, name: &str, deployed: bool) {
        let mut set = self.deployed.lock().unwrap();
        if deployed {
            set.insert(name.into())
        } else {
            set.remove(name)
        };
    }

    /// Tells the file system that something has changed without it.
    pub(crate) fn tell(&self, change: DiskChange<'_>) {
        *self.modules_changed.lock().unwrap() = SystemTime::now();
        self.changed_on_disk.lock().unwrap().as_ref().unwrap()(change);
    }

    /// Waits until so many reads of `slow` are under way.
    pub(crate) fn wait_for_slow(&self, count: usize) {
        self.gate.wait_for(count);
    }

    pub(crate) fn release_slow(&self) {
        self.gate.set_open();
    }

    /// Releases at the end of a scope, however it ends: a test that fails must not wait for itself.
    pub(crate) fn release_at_end(&self) -> Release<'_> {
        Release(self)
    }

    fn dir(&self, instance: Instance<'_>) -> PathBuf {
        self.root.join(instance.path())
    }
}

fn posix(errno: i32) -> NfioError {
    NfioError::posix(errno, "as the test wants it")
}

impl Operations for Fake {
    fn types(&self) -> Vec<String> {
        let late = self.late.load(Ordering::SeqCst).then(|| "late".to_owned());
        ["box".to_owned()].into_iter().chain(late).collect()
    }
    fn type_state(&self, ty: &str) -> TypeState {
        let loaded = self.types().iter().any(|known| known == ty);
        if loaded { TypeState::Loaded } else { TypeState::Missing }
    }
    fn special(&self, ty: &str, path: &str) -> Option<Arc<File>> {
        if ty == CHAIN {
            return None;
        }
        self.files.iter().find(|file| file.path == path).cloned()
    }
    fn is_skeleton(&self, ty: &str, path: &str) -> bool {
        if ty == CHAIN {
            return false;
        }
        let below = |file: &str| file.strip_prefix(path).is_some_and(|rest| rest.starts_with('/'));
        self.files.iter().any(|file| file.path == path || below(&file.path))
            || ORDINARY.iter().any(|f| below(f))
    }
    fn is_deployed(&self, instance: Instance<'_>) -> bool {
        self.deployed.lock().unwrap().contains(instance.name)
    }
    fn create_instance(&self, instance: Instance<'_>, mode: u32, caller: Caller) -> Result<()> {
        let (dir, aside) = (self.dir(instance), self.root.join("nf-types").join(instance.ty).join(".new"));
        if dir.exists() {
            return Err(posix(libc::EEXIST));
        }
        let own = |path: &PathBuf, mode: u32| -> Result<()> {
            lchown(path, Some(caller.uid), Some(caller.gid))?;
            Ok(fs::set_permissions(path, fs::Permissions::from_mode(mode))?)
        };
        if instance.is_chain() {
            fs::create_dir(&dir)?;
            return own(&dir, mode & 0o7777);
        }
        fs::create_dir(&aside)?;
        own(&aside, mode & 0o7777)?;
        let special = self.files.iter().map(|file| (file.path.as_str(), file.mode));
        for (path, mode) in special.chain(ORDINARY.map(|path| (path, 0o644))) {
            let path = aside.join(path);
            let parent = path.parent().unwrap().to_path_buf();
            if !parent.exists() {
                fs::create_dir(&parent)?;
                own(&parent, 0o755)?;
            }
            fs::write(&path, "")?;
            own(&path, mode)?;
        }
        Ok(fs::rename(aside, dir)?)
    }
    fn remove_instance(&self, instance: Instance<'_>) -> Result<()> {
        if self.is_deployed(instance) {
            return Err(posix(libc::EBUSY));
        }
        let dir = self.dir(instance);
        if instance.is_chain() {
            return Ok(fs::remove_dir(dir)?);
        }
        let known = |name: &str| self.is_skeleton(instance.ty, name);
        if fs::read_dir(&dir)?.any(|entry| !known(entry.unwrap().file_name().to_str().unwrap())) {
            return Err(posix(libc::ENOTEMPTY));
        }
        let aside = self.root.join("nf-types").join(instance.ty).join(".old");
        fs::rename(dir, &aside)?;
        Ok(fs::remove_dir_all(aside)?)
    }
    fn rename_instance(&self, from: Instance<'_>, to: Instance<'_>, _flags: u32) -> Result<()> {
        if self.is_deployed(from) {
            return Err(posix(libc::EBUSY));
        }
        if self.dir(to).exists() {
            return Err(posix(libc::EEXIST));
        }
        Ok(fs::rename(self.dir(from), self.dir(to))?)
    }
    fn lane(&self, instance: Instance<'_>, file: &File, access: Access) -> Lane {
        if file.kind == Kind::Verb && access != Access::Write {
            return Lane::Inline;
        }
        let deadline = match file.path.as_str() {
            "slow" | "job" | "boom_in_lane" => Duration::from_secs(60),
            "late" => Duration::from_secs(1),
            _ => return Lane::Inline,
        };
        let key = format!("{}/{}", instance.name, file.path);
        let width = if file.path == "late" { 1 } else { 2 };
        Lane::Bounded { key, width, queue: 1, deadline, overdue: libc::EBUSY }
    }
    fn attributes(&self, _instance: Instance<'_>, file: &File) -> Result<Option<(u64, SystemTime)>> {
        match file.path.as_str() {
            "log" => {
                let length = self.log.lock().unwrap().len() as u64;
                Ok(Some((length, SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + length))))
            }
            "sized" => Ok(Some((3, SystemTime::UNIX_EPOCH))),
            _ => Ok(None),
        }
    }
    fn read(&self, instance: Instance<'_>, file: &File) -> Result<Vec<u8>> {
        match file.path.as_str() {
            "status" => {
                let count = self.reads.fetch_add(1, Ordering::SeqCst);
                Ok(format!("{}-{count}\n", instance.name).into_bytes())
            }
            "slow" | "late" => {
                self.gate.pass();
                Ok(b"at last\n".to_vec())
            }
            "boom" | "boom_in_lane" => panic!("as the test wants it"),
            "action" => Ok(b"# last: none\n".to_vec()),
            "stats/n" => Err(HypervisorError::NotFound("not deployed".into()).into()),
            other => Ok(format!("{other}\n").into_bytes()),
        }
    }
    fn read_log(&self, _i: Instance<'_>, _f: &File, offset: u64, length: usize) -> Result<Vec<u8>> {
        let log = self.log.lock().unwrap();
        let from = (offset as usize).min(log.len());
        Ok(log[from..(from + length).min(log.len())].to_vec())
    }
    fn write(&self, _i: Instance<'_>, file: &File, data: &[u8], caller: Caller) -> Written {
        let text = String::from_utf8_lossy(data).into_owned();
        self.writes.lock().unwrap().push((file.path.clone(), text.clone(), caller));
        if file.path == "job" {
            self.gate.pass();
        }
        match (file.path.as_str(), text.trim()) {
            ("action", "frobnicate") => Written { count: Err(posix(libc::EINVAL)), answer: None },
            ("command", command) => {
                let answer = Some(format!("ran {} bytes: {:.20}\n", data.len(), command).into_bytes());
                Written { count: Ok(data.len()), answer }
            }
            _ => Written { count: Ok(data.len()), answer: None },
        }
    }
    fn on_change(&self, changed: OnChange) {
        *self.changed.lock().unwrap() = Some(changed);
    }
    fn on_disk_change(&self, changed: OnDiskChange) {
        *self.changed_on_disk.lock().unwrap() = Some(changed);
    }
    fn modules_changed(&self) -> SystemTime {
        *self.modules_changed.lock().unwrap()
    }
    fn modules(&self) -> Vec<String> {
        vec!["box".into(), "broken".into()]
    }
    fn module_files(&self) -> &'static [&'static str] {
        &["state", "error"]
    }
    fn module_file(&self, module: &str, file: &str) -> Option<Vec<u8>> {
        match (module, file) {
            ("box", "state") => Some(b"loaded\n".to_vec()),
            ("broken", "state") => Some(b"failed\n".to_vec()),
            ("broken", "error") => Some(b"no header\n".to_vec()),
            _ => None,
        }
    }
}
