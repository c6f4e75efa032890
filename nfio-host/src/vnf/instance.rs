//! What nfio keeps of an instance: in memory its lock and what is under way, on disk its private directory
//! `ROOT/.nfio/instances/<type>/<name>/` with `id`, and where they exist `record.toml`, `last_error`, `log`, `output`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::disk::remove_synced;
use super::record::Record;
use super::turns::{Busy, Turns};
use super::verb::Verb;
use crate::beneath;
use crate::error::{HypervisorError, NfioError, Result, one_line};
use crate::fault::{self, Step};
use crate::hypervisor::Status;
use crate::root::Root;
use crate::tree;

/// Longest UUID that is read, in bytes.
const ID_LIMIT: usize = 256;

/// Something that has private files, and a name for messages: an instance or a chain.
pub(crate) trait Kept: fmt::Display {
    /// Path of one of its private files.
    fn private(&self, name: &str) -> PathBuf;
}

/// An instance in memory.
pub(super) struct Instance {
    /// The type's name.
    pub(super) ty: String,
    /// The instance's name.
    pub(super) name: String,
    private: PathBuf,
    now: Mutex<Now>,
    turns: Arc<Turns>,
}

#[derive(Default)]
struct Now {
    /// Boxed: most instances of many are not deployed.
    record: Option<Box<Record>>,
    transition: Option<Status>,
    last_verb: Option<Verb>,
    /// The status that was told last, to a reader or by the observer.
    told: Option<Status>,
}

impl Kept for Instance {
    fn private(&self, name: &str) -> PathBuf {
        self.private(name)
    }
}

impl<T: Kept> Kept for Arc<T> {
    fn private(&self, name: &str) -> PathBuf {
        (**self).private(name)
    }
}

impl fmt::Display for Instance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.ty, self.name)
    }
}

impl Instance {
    /// Reads what is kept of an instance.
    pub(super) fn load(root: &Root, at: tree::Instance<'_>) -> Result<Self> {
        let private = private_directory(root, at);
        real_directory(&private)?;
        let record = Record::load(&private.join("record.toml"))?.map(Box::new);
        Ok(Self {
            ty: at.ty.to_owned(),
            name: at.name.to_owned(),
            private,
            now: Mutex::new(Now { record, ..Now::default() }),
            turns: Arc::default(),
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

    /// Waits for its turn: verbs run one after the other.
    ///
    /// # Errors
    /// ENOENT where it was removed or renamed meanwhile.
    pub(super) fn busy(&self) -> Result<Busy> {
        self.turns.wait(self)
    }

    /// Takes the turn if nothing is under way.
    ///
    /// # Errors
    /// Busy (EBUSY), or as [`busy`](Self::busy).
    pub(super) fn try_busy(&self) -> Result<Busy> {
        self.turns.try_take(self)
    }

    /// Notes that it was removed or renamed, by whoever has its turn.
    pub(super) fn retire(&self) {
        self.turns.retire();
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
        self.now().record.as_deref().cloned()
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
        self.put_record(record, beneath::write_atomic)
    }

    /// As [`set_record`](Self::set_record), for what can be found out anew: a crash of the machine may leave the record
    /// as it was.
    pub(super) fn note_record(&self, record: Record) -> Result<()> {
        self.put_record(record, beneath::write_sound)
    }

    fn put_record(&self, record: Record, write: fn(&Path, &[u8]) -> Result<()>) -> Result<()> {
        record.save(&self.private("record.toml"), write)?;
        self.remember(record);
        fault::at(Step::RecordSaved);
        Ok(())
    }

    /// Keeps the record in memory alone.
    pub(super) fn remember(&self, record: Record) {
        self.now().record = Some(Box::new(record));
    }

    /// Removes the record.
    pub(super) fn clear_record(&self) -> Result<()> {
        remove_synced(&self.private("record.toml"))?;
        self.now().record = None;
        fault::at(Step::RecordCleared);
        Ok(())
    }
}

/// `ROOT/.nfio/instances/<type>/<name>`.
pub(super) fn private_directory(root: &Root, at: tree::Instance<'_>) -> PathBuf {
    [&root.private(), Path::new("instances"), Path::new(at.ty), Path::new(at.name)].iter().collect()
}

/// Path of one of the private files of an instance that need not be known otherwise: who lists ten thousand of them
/// leaves none in memory.
pub(super) fn private_file(root: &Root, at: tree::Instance<'_>, name: &str) -> Result<PathBuf> {
    let private = private_directory(root, at);
    real_directory(&private)?;
    Ok(private.join(name))
}

/// Makes the private directory of an instance or a chain and answers its UUID; one that has a UUID keeps it.
pub(crate) fn make_private(private: &Path) -> Result<String> {
    real_directory(private)?;
    fs::create_dir_all(private)?;
    let path = private.join("id");
    match read_id(&path) {
        Ok(Some(id)) => Ok(id),
        _ => new_id(&path, beneath::write_whole),
    }
}

/// The UUID in a private directory, where there is one.
pub(crate) fn read_id(path: &Path) -> Result<Option<String>> {
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
