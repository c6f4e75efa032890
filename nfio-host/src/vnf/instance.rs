//! What nfio keeps of an instance: in memory its lock and what is under way, on disk its private directory
//! `ROOT/.nfio/instances/<type>/<name>/` with `id`, and where they exist `record.toml`, `last_error`, `log`, `output`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use super::disk::remove_synced;
use super::record::Record;
use super::verb::Verb;
use crate::beneath;
use crate::error::{HostError, HypervisorError, NfioError, Result, one_line};
use crate::hypervisor::Status;
use crate::root::Root;
use crate::tree;

/// Longest UUID that is read, in bytes.
const ID_LIMIT: usize = 256;

/// An instance in memory.
pub(super) struct Instance {
    /// The type's name.
    pub(super) ty: String,
    /// The instance's name.
    pub(super) name: String,
    private: PathBuf,
    now: Mutex<Now>,
    /// Tells that the turn is free.
    freed: Condvar,
}

#[derive(Default)]
struct Now {
    record: Option<Record>,
    transition: Option<Status>,
    last_verb: Option<Verb>,
    /// The status that was told last, to a reader or by the observer.
    told: Option<Status>,
    /// Something that may change the guest is under way: verbs run one after the other.
    busy: bool,
    /// Removed or renamed: whoever still waits for its turn comes too late.
    gone: bool,
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ty, self.name)
    }
}

/// An instance's turn: keeps it from being removed, renamed or given another verb. It can be handed to another thread.
pub(super) struct Busy(Arc<Instance>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.now().busy = false;
        // All: one that finds the instance gone passes nothing on.
        self.0.freed.notify_all();
    }
}

impl Instance {
    /// Reads what is kept of an instance.
    pub(super) fn load(root: &Root, at: tree::Instance<'_>) -> Result<Self> {
        let private = private_directory(root, at);
        real_directory(&private)?;
        let record = Record::load(&private.join("record.toml"))?;
        Ok(Self {
            ty: at.ty.to_owned(),
            name: at.name.to_owned(),
            private,
            now: Mutex::new(Now { record, ..Now::default() }),
            freed: Condvar::new(),
        })
    }

    /// Where it is in the tree.
    pub(super) fn at(&self) -> tree::Instance<'_> {
        tree::Instance { ty: &self.ty, name: &self.name }
    }

    /// Path of one of its private files.
    pub(super) fn private(&self, name: &str) -> PathBuf {
        self.private.join(name)
    }

    /// Its UUID, made when it was.
    pub(super) fn id(&self) -> Result<String> {
        let path = self.private("id");
        match read_id(&path)? {
            Some(id) => Ok(id),
            // An instance directory that was copied into ROOT by hand.
            None => make_private(&self.private),
        }
    }

    /// The same, on the disk: what a guest is found again by. Its name there is synced with the record's.
    pub(super) fn settled_id(&self) -> Result<String> {
        let id = self.id()?;
        fs::File::open(self.private("id"))?.sync_all()?;
        Ok(id)
    }

    /// Gives it another UUID: what it deploys from now on is told apart from what it deployed before.
    pub(super) fn renew_id(&self) -> Result<()> {
        new_id(&self.private("id"), beneath::write_atomic).map(drop)
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for its turn.
    ///
    /// # Errors
    /// ENOENT where it was removed or renamed meanwhile.
    pub(super) fn busy(self: &Arc<Self>) -> Result<Busy> {
        let free = self.freed.wait_while(self.now(), |now| now.busy);
        self.turn(free.unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes the turn if nothing is under way.
    ///
    /// # Errors
    /// Busy (EBUSY), or as [`busy`](Self::busy).
    pub(super) fn try_busy(self: &Arc<Self>) -> Result<Busy> {
        let now = self.now();
        if now.busy {
            let message = format!("a verb is under way on {self}; try again when it is done");
            return Err(HostError::Busy(message).into());
        }
        self.turn(now)
    }

    fn turn(self: &Arc<Self>, mut now: MutexGuard<'_, Now>) -> Result<Busy> {
        if now.gone {
            return Err(NfioError::posix(libc::ENOENT, format!("{self} was removed or renamed meanwhile")));
        }
        now.busy = true;
        Ok(Busy(Arc::clone(self)))
    }

    /// Notes that it was removed or renamed, by whoever has its turn.
    pub(super) fn retire(&self) {
        self.now().gone = true;
    }

    /// Whether this status is not the one that was told last; from now on it is.
    pub(super) fn is_news(&self, status: Status) -> bool {
        self.now().told.replace(status) != Some(status)
    }

    /// What a verb under way shows as the state.
    pub(super) fn transition(&self) -> Option<Status> {
        self.now().transition
    }

    /// Shows a state while `work` runs, also if it panics.
    pub(super) fn while_shown<T>(&self, status: Status, work: impl FnOnce() -> T) -> T {
        struct Reset<'a>(&'a Instance);
        impl Drop for Reset<'_> {
            fn drop(&mut self) {
                self.0.now().transition = None;
            }
        }
        self.now().transition = Some(status);
        let _reset = Reset(self);
        work()
    }

    /// The last verb that was written.
    pub(super) fn last_verb(&self) -> Option<Verb> {
        self.now().last_verb
    }

    /// Notes the verb that was written.
    pub(super) fn note_verb(&self, verb: Verb) {
        self.now().last_verb = Some(verb);
    }

    /// The record, while deployed.
    pub(super) fn record(&self) -> Option<Record> {
        self.now().record.clone()
    }

    /// The record.
    ///
    /// # Errors
    /// VNFNotFoundError (ENXIO) where it is undeployed.
    pub(super) fn deployed(&self) -> Result<Record> {
        self.record().ok_or_else(|| {
            HypervisorError::NotFound(format!("{self} is not deployed; write activate to its action")).into()
        })
    }

    /// Writes the record to disk, synced, then to memory.
    pub(super) fn set_record(&self, record: Record) -> Result<()> {
        record.save(&self.private("record.toml"))?;
        self.now().record = Some(record);
        Ok(())
    }

    /// Removes the record.
    pub(super) fn clear_record(&self) -> Result<()> {
        remove_synced(&self.private("record.toml"))?;
        self.now().record = None;
        Ok(())
    }
}

/// `ROOT/.nfio/instances/<type>/<name>`.
pub(super) fn private_directory(root: &Root, at: tree::Instance<'_>) -> PathBuf {
    [&root.private(), Path::new("instances"), Path::new(at.ty), Path::new(at.name)].iter().collect()
}

/// Where the record of an instance is while it is deployed.
pub(super) fn record_path(root: &Root, at: tree::Instance<'_>) -> PathBuf {
    private_directory(root, at).join("record.toml")
}

/// Makes the private directory of an instance and answers its UUID; one that has a UUID keeps it.
pub(super) fn make_private(private: &Path) -> Result<String> {
    real_directory(private)?;
    fs::create_dir_all(private)?;
    let path = private.join("id");
    match read_id(&path) {
        Ok(Some(id)) => Ok(id),
        _ => new_id(&path, beneath::write_whole),
    }
}

fn read_id(path: &Path) -> Result<Option<String>> {
    let id = beneath::read_own(path, ID_LIMIT)?;
    // Empty: a crash of the machine came before it was on the disk.
    Ok(id.map(|id| String::from_utf8_lossy(&id).trim().to_owned()).filter(|id| !id.is_empty()))
}

/// Refuses a private directory that is something else, or below something else: what is kept of an instance is
/// neither read nor written elsewhere.
fn real_directory(private: &Path) -> Result<()> {
    for path in private.parent().into_iter().chain([private]) {
        if fs::symlink_metadata(path).is_ok_and(|found| !found.is_dir()) {
            let message = format!("{} is not a directory: remove it, nfio makes its own", path.display());
            return Err(NfioError::posix(libc::EIO, message));
        }
    }
    Ok(())
}

/// One that is new needs no sync: where a crash takes it away it was no guest's yet ([`Instance::settled_id`]).
fn new_id(path: &Path, write: fn(&Path, &[u8]) -> Result<()>) -> Result<String> {
    let id = uuid::Uuid::new_v4().to_string();
    write(path, format!("{id}\n").as_bytes())?;
    Ok(id)
}

/// Type and name of every instance that has a private directory.
pub(super) fn all_private(root: &Root) -> Result<Vec<(String, String)>> {
    let top = root.private().join("instances");
    fs::create_dir_all(&top)?;
    let mut all = Vec::new();
    for ty in fs::read_dir(&top)? {
        let ty = ty?;
        if !ty.file_type()?.is_dir() {
            tracing::warn!("{} is not a directory and not used", one_line(&ty.path().to_string_lossy()));
            continue;
        }
        for name in fs::read_dir(ty.path())? {
            all.push((ty.file_name(), name?.file_name()));
        }
    }
    let text = |name: std::ffi::OsString| name.into_string().ok();
    Ok(all.into_iter().filter_map(|(ty, name)| Some((text(ty)?, text(name)?))).collect())
}
