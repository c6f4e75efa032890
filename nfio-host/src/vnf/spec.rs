//! From the files of an instance to what a driver is asked to make.

use middlebox_sdk::Needs;
use nix::errno::Errno;
use nix::fcntl::AtFlags;
use nix::sys::stat::{FileStat, fstat, fstatat};
use nix::unistd::{Uid, User};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use super::disk::{io, open_dir};
use super::instance::Instance;
use super::machine;
use crate::beneath;
use crate::config::Policy;
use crate::error::{NfioError, Result, VnfConfigurationError};
use crate::hypervisor::boot_conf::BootConf;
use crate::hypervisor::guest::Labels;
use crate::hypervisor::policy::{self, Tenant};
use crate::hypervisor::{GuestSpec, PutFile};
use crate::root::Root;

/// Longest configuration file that is read, in bytes.
const FILE_LIMIT: usize = 4 << 20;

/// What the files of an instance say (the manual's tuple of `vnfs_get_instance_configuration`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Configuration {
    /// Name of the instance.
    pub nf_instance_name: String,
    /// Its type.
    pub nf_type: String,
    /// Host to deploy on.
    pub ip_address: String,
    /// Image to deploy.
    pub image_name: String,
}

/// Opens the directory of an instance.
pub(super) fn directory(root: &Root, instance: &Instance) -> Result<OwnedFd> {
    open_dir(root.dir(), &instance.at().path())
}

/// An ordinary file of an instance; empty where it is missing. One that nfio does not open (a link, a fifo) or that
/// is too long is a wrong configuration.
pub(super) fn file(directory: BorrowedFd<'_>, path: &str) -> Result<Vec<u8>> {
    Ok(file_with_stat(directory, path)?.map(|(data, _)| data).unwrap_or_default())
}

fn file_with_stat(directory: BorrowedFd<'_>, path: &str) -> Result<Option<(Vec<u8>, FileStat)>> {
    beneath::read_with_stat(directory, Path::new(path), FILE_LIMIT).map_err(|e| match e.errno() {
        libc::EINVAL | libc::EFBIG | libc::ENAMETOOLONG => NfioError::configuration(e.to_string()),
        _ => e,
    })
}

fn text(path: &str, data: Vec<u8>) -> Result<String> {
    String::from_utf8(data).map_err(|_| NfioError::configuration(format!("{path} is not UTF-8 text")))
}

/// The one line that a file of `machine/` holds, without white space around it.
fn line(path: &str, data: Vec<u8>) -> Result<String> {
    let text = text(path, data)?;
    let text = text.trim();
    if text.chars().any(char::is_control) || text.len() > 4096 {
        return Err(NfioError::configuration(format!(
            "{path} holds more than one plain line; write one value"
        )));
    }
    Ok(text.to_owned())
}

/// What the files of an instance say now.
pub(super) fn configuration(root: &Root, instance: &Instance) -> Result<Configuration> {
    let directory = directory(root, instance)?;
    Ok(Configuration {
        nf_instance_name: instance.name.clone(),
        nf_type: instance.ty.clone(),
        ip_address: line("machine/ip", file(directory.as_fd(), "machine/ip")?)?,
        image_name: line("machine/vm.image", file(directory.as_fd(), "machine/vm.image")?)?,
    })
}

/// Name of the user who owns an instance; `uid<N>` where there is none or its name does not fit into a guest's.
pub(super) fn user(root: &Root, instance: &Instance) -> Result<String> {
    Ok(user_name(fstat(directory(root, instance)?).map_err(io)?.st_uid))
}

fn user_name(uid: u32) -> String {
    let fits = |name: &String| {
        let first = |c: char| c.is_ascii_lowercase() || c == '_';
        let tail = |c: char| first(c) || c.is_ascii_digit() || c == '-';
        name.len() <= 32 && name.starts_with(first) && name.chars().all(tail)
    };
    let user = User::from_uid(Uid::from_raw(uid)).ok().flatten();
    user.map(|user| user.name).filter(fits).unwrap_or_else(|| format!("uid{uid}"))
}

/// The files that say what guest an instance wants, read as one who notes who else than root can change them: of the
/// very files that are read, since names can be given to others in between.
struct Judged {
    directory: OwnedFd,
    tenant: Option<Tenant>,
}

impl Judged {
    fn new(directory: OwnedFd) -> Result<Self> {
        let mut judged = Self { directory, tenant: None };
        for path in [".", "config", "machine"] {
            match fstatat(&judged.directory, path, AtFlags::AT_SYMLINK_NOFOLLOW) {
                Ok(stat) => judged.note(if path == "." { "the instance" } else { path }, &stat),
                Err(Errno::ENOENT) => {}
                Err(e) => return Err(io(e)),
            }
        }
        Ok(judged)
    }

    fn note(&mut self, path: &str, stat: &FileStat) {
        self.tenant = self.tenant.take().or_else(|| Tenant::of(path, stat));
    }

    fn file(&mut self, path: &str) -> Result<Vec<u8>> {
        let Some((data, stat)) = file_with_stat(self.directory.as_fd(), path)? else { return Ok(Vec::new()) };
        self.note(path, &stat);
        Ok(data)
    }

    fn line(&mut self, path: &str) -> Result<String> {
        line(path, self.file(path)?)
    }
}

/// Reads everything that says what guest an instance wants, and judges it by `policy`. The empty image is told
/// before the empty host, since that is what a new user meets first.
pub(super) fn guest_spec(
    root: &Root,
    instance: &Instance,
    needs: Needs,
    allowed: &Policy,
) -> Result<GuestSpec> {
    let mut files = Judged::new(directory(root, instance)?)?;
    let image = files.line("machine/vm.image")?;
    if image.is_empty() {
        let message = format!("{instance} has no image; write its name to machine/vm.image");
        return Err(VnfConfigurationError::ImageNameIsEmpty(message).into());
    }
    let host = files.line("machine/ip")?;
    if host.is_empty() {
        let message =
            format!("{instance} has no host; write its address (127.0.0.1: this machine) to machine/ip");
        return Err(VnfConfigurationError::HostNameIsEmpty(message).into());
    }
    let boot = BootConf::parse(&text("config/boot.conf", files.file("config/boot.conf")?)?)?;
    let user = user_name(fstat(&files.directory).map_err(io)?.st_uid);
    let mut spec = GuestSpec {
        labels: Labels {
            root: root.uuid().to_owned(),
            ty: instance.ty.clone(),
            instance: instance.name.clone(),
            id: instance.settled_id()?,
        },
        name: format!("{user}-{}-{}", instance.ty, instance.name),
        host,
        user,
        image,
        absolute_image: false,
        vcpu: machine::vcpu(&files.line("machine/vm.vcpu")?)?,
        memory: machine::memory(&files.line("machine/vm.memory")?)?,
        files: boot_files(files.directory.as_fd(), &boot)?,
        boot,
        needs,
        log: instance.private("log"),
    };
    policy::judge(&mut spec, files.tenant.as_ref(), allowed)?;
    Ok(spec)
}

/// The files of boot.conf's `[[file]]`: beneath `config/`, wherever their path tries to lead.
fn boot_files(directory: BorrowedFd<'_>, boot: &BootConf) -> Result<Vec<PutFile>> {
    let mut files = Vec::new();
    if boot.files.is_empty() {
        return Ok(files);
    }
    let config = open_dir(directory, Path::new("config"))?;
    for file in &boot.files {
        let (data, _) = file_with_stat(config.as_fd(), &file.source)?.ok_or_else(|| {
            NfioError::configuration(format!(
                "config/boot.conf: file {:?} is missing below config/",
                file.source
            ))
        })?;
        files.push(PutFile { path: file.target.clone(), mode: file.mode, data });
    }
    Ok(files)
}

#[cfg(test)]
mod tests;
