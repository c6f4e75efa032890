//! What tells a ROOT from all others: `.nfio/root.toml` with its UUID, its format, and where it was last mounted. A ROOT
//! that turns up on another machine or at another path was either moved or copied; which of the two decides whether
//! its guests are still its own, and only a person knows.

use nix::errno::Errno;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::ErrorKind;
use std::os::fd::AsFd;
use std::path::Path;

use super::{refusal, unusable};
use crate::beneath;
use crate::error::{Result, one_line};
use crate::tree::PRIVATE;

/// The format of ROOT that this nfio reads and writes.
pub const FORMAT: u32 = 1;
/// The file, in the private directory.
const ROOT_TOML: &str = "root.toml";
/// What a deployed instance has in its private directory: a copy's guests are the original's.
const RECORD: &str = "record.toml";
/// An instance's UUID; guests are found by it, so a copy makes its own.
const ID: &str = "id";
/// What drivers keep of their guests.
const DRIVERS_STATE: [&str; 3] = ["oci/guests", "docker", "libvirt"];

/// Why a ROOT is not where it was last.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Relocation {
    /// Nobody said so: it must be where it was.
    #[default]
    None,
    /// It was moved (`--root-moved`): UUID and records stay.
    Moved,
    /// It is a copy whose original goes on (`--root-copied`): it gets a UUID of its own and no records.
    Copied,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct RootToml {
    uuid: String,
    format: u32,
    /// machine-id(5) of the machine that mounted it last; empty where it has none.
    #[serde(default)]
    machine: Option<String>,
    /// Where it was mounted from last.
    #[serde(default)]
    path: Option<String>,
}

/// Reads ROOT's UUID, or gives it one, and notes where it is.
pub(super) fn identify(root: &Path, dir: &File, relocation: Relocation) -> Result<String> {
    let here = |uuid: String| RootToml {
        uuid,
        format: FORMAT,
        machine: Some(machine_id()),
        path: Some(root.display().to_string()),
    };
    let Some(last) = read(root, dir)? else { return write(root, here(new_uuid())) };
    let now = here(last.uuid.clone());
    let same = |then: &Option<String>, now: &Option<String>| then.is_none() || then == now;
    let stayed = same(&last.machine, &now.machine) && same(&last.path, &now.path);
    match relocation {
        Relocation::Copied => {
            forget_guests(root).map_err(|e| unusable(root, &e))?;
            write(root, here(new_uuid()))
        }
        Relocation::None if !stayed => {
            let what = format!(
                "was last mounted from {} on {}: add --root-moved if it was moved here, or --root-copied if it is a \
                 copy whose original goes on",
                one_line(last.path.as_deref().unwrap_or("another path")),
                if same(&last.machine, &now.machine) { "this machine" } else { "another machine" },
            );
            Err(refusal(Errno::EINVAL, root, &what))
        }
        _ if last == now => Ok(now.uuid),
        _ => write(root, now),
    }
}

fn new_uuid() -> String {
    uuid::Uuid::new_v4().to_string()
}

/// machine-id(5); empty on a machine without one.
fn machine_id() -> String {
    fs::read_to_string("/etc/machine-id").map(|id| id.trim().to_owned()).unwrap_or_default()
}

fn write(root: &Path, identity: RootToml) -> Result<String> {
    let text = toml::to_string(&identity).map_err(|e| refusal(Errno::EIO, root, &e.to_string()))?;
    let path = root.join(PRIVATE).join(ROOT_TOML);
    beneath::write_atomic(&path, text.as_bytes()).map_err(|e| {
        let io = std::io::Error::from_raw_os_error(e.errno());
        unusable(root, &io)
    })?;
    Ok(identity.uuid)
}

fn read(root: &Path, dir: &File) -> Result<Option<RootToml>> {
    let name = Path::new(PRIVATE).join(ROOT_TOML);
    let Some(text) = beneath::read_file(dir.as_fd(), &name, 64 * 1024)? else { return Ok(None) };
    let damaged = |why: &str| {
        let what = format!("has a damaged {} ({}): restore it from a backup", name.display(), why.trim());
        refusal(Errno::EINVAL, root, &what)
    };
    let text = String::from_utf8(text).map_err(|_| damaged("it is not text"))?;
    // The format first: a newer one may have changed everything else.
    let format = text
        .parse::<toml::Table>()
        .map_err(|e| damaged(e.message()))?
        .get("format")
        .and_then(toml::Value::as_integer)
        .ok_or_else(|| damaged("it names no format"))?;
    if format > i64::from(FORMAT) {
        let what = format!(
            "was written by a newer nfio (format {format}, this one knows {FORMAT}): mount it with that version"
        );
        return Err(refusal(Errno::EINVAL, root, &what));
    }
    let mut read: RootToml = toml::from_str(&text).map_err(|e| damaged(e.message()))?;
    let uuid = uuid::Uuid::parse_str(&read.uuid).map_err(|_| damaged("its uuid is none"))?;
    read.uuid = uuid.to_string();
    Ok(Some(read))
}

/// Takes from a copy what belongs to the original: records, identities, and the drivers' own state of guests.
fn forget_guests(root: &Path) -> std::io::Result<()> {
    let private = root.join(PRIVATE);
    for ty in entries(&private.join("instances"))? {
        for instance in entries(&ty)? {
            for file in [RECORD, ID] {
                absent_is_fine(fs::remove_file(instance.join(file)))?;
            }
        }
    }
    for chain in entries(&private.join("chains"))? {
        for file in [RECORD, ID] {
            absent_is_fine(fs::remove_file(chain.join(file)))?;
        }
    }
    for state in DRIVERS_STATE {
        absent_is_fine(fs::remove_dir_all(private.join(state)))?;
    }
    Ok(())
}

fn entries(directory: &Path) -> std::io::Result<Vec<std::path::PathBuf>> {
    match fs::read_dir(directory) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

fn absent_is_fine(done: std::io::Result<()>) -> std::io::Result<()> {
    match done {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Root;
    use super::*;

    fn open(path: &Path) -> Result<Root> {
        Root::open(path, Relocation::None)
    }

    #[test]
    fn a_newer_format_and_a_damaged_record_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        drop(open(dir.path()).unwrap());
        let toml = dir.path().join(".nfio/root.toml");
        for (text, words) in [
            ("format = 2\nnews = true\n", "a newer nfio (format 2, this one knows 1)"),
            ("uuid = \"x\"\nformat = 1\n", "its uuid is none"),
            ("uuid = ", "damaged"),
            ("", "names no format"),
        ] {
            std::fs::write(&toml, text).unwrap();
            let error = open(dir.path()).unwrap_err().to_string();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn a_root_found_elsewhere_is_refused_until_somebody_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one"), dir.path().join("two"));
        fs::create_dir(&one).unwrap();
        let uuid = open(&one).unwrap().uuid().to_owned();
        fs::rename(&one, &two).unwrap();
        let error = open(&two).unwrap_err().to_string();
        assert!(error.contains("one on this machine") && error.contains("--root-moved"), "{error}");
        assert_eq!(Root::open(&two, Relocation::Moved).unwrap().uuid(), uuid);
        assert_eq!(open(&two).unwrap().uuid(), uuid, "said once, it is known");
        let toml = two.join(".nfio/root.toml");
        let text = fs::read_to_string(&toml).unwrap();
        let elsewhere = text.replace(&machine_id(), "0123456789abcdef0123456789abcdef");
        assert!(!machine_id().is_empty(), "this machine has no machine-id(5)");
        fs::write(&toml, elsewhere).unwrap();
        assert!(open(&two).unwrap_err().to_string().contains("another machine"));
    }

    #[test]
    fn a_copy_gets_a_uuid_of_its_own_and_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let uuid = open(dir.path()).unwrap().uuid().to_owned();
        let instance = dir.path().join(".nfio/instances/firewall/fw-a");
        let chain = dir.path().join(".nfio/chains/edge");
        let guests = DRIVERS_STATE.map(|state| dir.path().join(".nfio").join(state).join("x"));
        for made in [&instance, &chain].into_iter().chain(&guests) {
            fs::create_dir_all(made).unwrap();
        }
        for file in [RECORD, ID, "last_error"] {
            fs::write(instance.join(file), "").unwrap();
            fs::write(chain.join(file), "").unwrap();
        }
        assert_ne!(Root::open(dir.path(), Relocation::Copied).unwrap().uuid(), uuid);
        assert!(!instance.join(RECORD).exists() && !instance.join(ID).exists());
        assert!(guests.iter().all(|guest| !guest.exists()));
        assert!(!chain.join(RECORD).exists() && !chain.join(ID).exists());
        assert!(instance.join("last_error").exists());
    }

    #[test]
    fn a_root_of_an_nfio_that_noted_no_place_is_taken_up() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".nfio")).unwrap();
        let text = format!("uuid = \"{}\"\nformat = 1\n", new_uuid());
        fs::write(dir.path().join(".nfio/root.toml"), text).unwrap();
        open(dir.path()).unwrap();
        assert!(fs::read_to_string(dir.path().join(".nfio/root.toml")).unwrap().contains("path = "));
    }
}
