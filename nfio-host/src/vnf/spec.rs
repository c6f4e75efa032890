//! From the files of an instance to what a driver is asked to make.

use middlebox_sdk::Needs;
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
use crate::hypervisor::{GuestSpec, PutFile, policy};
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
    let data = beneath::read_file(directory, Path::new(path), FILE_LIMIT).map_err(|e| match e.errno() {
        libc::EINVAL | libc::EFBIG => NfioError::configuration(e.to_string()),
        _ => e,
    });
    Ok(data?.unwrap_or_default())
}

/// The one line of a file of `machine/`, without white space around it.
fn line(directory: BorrowedFd<'_>, path: &str) -> Result<String> {
    let text = String::from_utf8(file(directory, path)?)
        .map_err(|_| NfioError::configuration(format!("{path} is not UTF-8 text")))?;
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
        ip_address: line(directory.as_fd(), "machine/ip")?,
        image_name: line(directory.as_fd(), "machine/vm.image")?,
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

/// Reads everything that says what guest an instance wants, and judges it by `policy`. The empty image is told
/// before the empty host, since that is what a new user meets first.
pub(super) fn guest_spec(
    root: &Root,
    instance: &Instance,
    needs: Needs,
    allowed: &Policy,
) -> Result<GuestSpec> {
    let directory = directory(root, instance)?;
    let at = directory.as_fd();
    let image = line(at, "machine/vm.image")?;
    if image.is_empty() {
        let message = format!("{instance} has no image; write its name to machine/vm.image");
        return Err(VnfConfigurationError::ImageNameIsEmpty(message).into());
    }
    let host = line(at, "machine/ip")?;
    if host.is_empty() {
        let message =
            format!("{instance} has no host; write its address (127.0.0.1: this machine) to machine/ip");
        return Err(VnfConfigurationError::HostNameIsEmpty(message).into());
    }
    let boot = String::from_utf8(file(at, "config/boot.conf")?)
        .map_err(|_| NfioError::configuration("config/boot.conf is not UTF-8 text"))?;
    let boot = BootConf::parse(&boot)?;
    let user = user_name(fstat(at).map_err(io)?.st_uid);
    let mut spec = GuestSpec {
        labels: Labels {
            root: root.uuid().to_owned(),
            ty: instance.ty.clone(),
            instance: instance.name.clone(),
            id: instance.id()?,
        },
        name: format!("{user}-{}-{}", instance.ty, instance.name),
        host,
        user,
        image,
        absolute_image: false,
        vcpu: machine::vcpu(&line(at, "machine/vm.vcpu")?)?,
        memory: machine::memory(&line(at, "machine/vm.memory")?)?,
        files: boot_files(at, &boot)?,
        boot,
        needs,
        log: instance.private("log"),
    };
    policy::judge(&mut spec, least_privileged_owner(at)?, allowed)?;
    Ok(spec)
}

fn boot_files(directory: BorrowedFd<'_>, boot: &BootConf) -> Result<Vec<PutFile>> {
    let mut files = Vec::new();
    for file in &boot.files {
        let source = Path::new("config").join(&file.source);
        let data = beneath::read_file(directory, &source, FILE_LIMIT)?.ok_or_else(|| {
            NfioError::configuration(format!(
                "config/boot.conf: file {:?} is missing below config/",
                file.source
            ))
        })?;
        files.push(PutFile { path: file.target.clone(), mode: file.mode, data });
    }
    Ok(files)
}

/// The owner by whom policy judges: any but root among those of the instance, `boot.conf` and `machine/*`, since each
/// of them decides what the guest is.
fn least_privileged_owner(directory: BorrowedFd<'_>) -> Result<u32> {
    let names = [
        "config",
        "config/boot.conf",
        "machine",
        "machine/ip",
        "machine/vm.image",
        "machine/vm.vcpu",
        "machine/vm.memory",
    ];
    let mut owners = vec![fstat(directory).map_err(io)?];
    for name in names {
        match fstatat(directory, name, nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => owners.push(stat),
            Err(nix::errno::Errno::ENOENT) => {}
            Err(e) => return Err(io(e)),
        }
    }
    let uid = |stat: &FileStat| stat.st_uid;
    Ok(owners.iter().map(uid).find(|uid| *uid != 0).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_without_a_fitting_name_is_called_by_number() {
        assert_eq!(user_name(0), "root");
        assert_eq!(user_name(3_999_999_999), "uid3999999999");
    }
}
