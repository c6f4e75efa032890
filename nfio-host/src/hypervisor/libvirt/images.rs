//! Images of virtual machines, and each guest's own layer over one. An image is never written.
//!
//! - A directory: `vmlinuz` and `initrd.img` in it are booted (or what `[vm]` names there); `disk.qcow2`, if it is
//!   there, is its disk.
//! - A file: a disk, of the format that `[vm] format` states; a format is never guessed, as a guest could write the head
//!   of another one into its disk and so read files of the host.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use super::xml::Boot;
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::GuestSpec;
use crate::hypervisor::image_names;

/// Formats that `[vm] format` may state.
const FORMATS: [&str; 2] = ["qcow2", "raw"];
/// The kernel's command line where `[vm] cmdline` does not say.
const CMDLINE: &str = "console=ttyS0 quiet";

/// What is booted, with the image that the guest's layer lies over, and its format.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) boot: Boot,
    pub(super) base: Option<(PathBuf, &'static str)>,
}

/// Judges image and `[vm]` without looking at the disk.
pub(super) fn judge(images: &Path, spec: &GuestSpec) -> Result<()> {
    image_names::judge(images, &spec.image, spec.absolute_image)?;
    let Some(vm) = &spec.boot.vm else { return Ok(()) };
    if let Some(format) = &vm.format {
        known(format)?;
    }
    for (key, name) in [("kernel", &vm.kernel), ("initrd", &vm.initrd)] {
        if let Some(name) = name {
            plain(key, name)?;
        }
    }
    match &vm.cmdline {
        Some(line) if line.chars().any(char::is_control) || line.len() > 2048 => {
            Err(NfioError::configuration("boot.conf: [vm] cmdline is more than one line of text"))
        }
        _ => Ok(()),
    }
}

fn known(format: &str) -> Result<&'static str> {
    FORMATS.into_iter().find(|known| *known == format).ok_or_else(|| {
        let known = FORMATS.join(", ");
        NfioError::configuration(format!("boot.conf: [vm] format = {format:?} is none of {known}"))
    })
}

/// A name of a file in the image's directory: nothing else of the host.
fn plain<'a>(key: &str, name: &'a str) -> Result<&'a str> {
    let mut parts = Path::new(name).components();
    match (parts.next(), parts.next()) {
        (Some(Component::Normal(_)), None) if !name.contains('\0') => Ok(name),
        _ => Err(NfioError::configuration(format!(
            "boot.conf: [vm] {key} = {name:?} is no name of a file in the image's directory"
        ))),
    }
}

/// Looks an image up.
pub(super) fn find(images: &Path, spec: &GuestSpec) -> Result<Found> {
    judge(images, spec)?;
    let vm = spec.boot.vm.clone().unwrap_or_default();
    let what = "a directory with vmlinuz, or a disk";
    let path = image_names::find(images, &[spec.image.as_str()], what)?;
    if !path.is_dir() {
        let Some(format) = &vm.format else {
            return Err(NfioError::configuration(format!(
                "boot.conf: [vm] format is missing: say what the disk {} is, for example format = \"qcow2\"",
                path.display()
            )));
        };
        if let Some((key, _)) =
            [("kernel", &vm.kernel), ("initrd", &vm.initrd)].iter().find(|(_, n)| n.is_some())
        {
            return Err(NfioError::configuration(format!(
                "boot.conf: [vm] {key} needs an image that is a directory, and {} is a disk",
                path.display()
            )));
        }
        return Ok(Found { boot: Boot::default(), base: Some((path, known(format)?)) });
    }
    let there = |key: &str, name: &Option<String>, usual: &str| -> Result<Option<PathBuf>> {
        let file = path.join(name.as_deref().map_or(Ok(usual), |name| plain(key, name))?);
        match file.is_file() {
            true => Ok(Some(file)),
            false if name.is_none() => Ok(None),
            false => Err(image_names::deploy(format!("there is no {key} {file:?}"))),
        }
    };
    let kernel = there("kernel", &vm.kernel, "vmlinuz")?;
    let disk = there("disk", &None, "disk.qcow2")?;
    if kernel.is_none() && disk.is_none() {
        return Err(image_names::deploy(format!(
            "the image {} holds neither vmlinuz nor disk.qcow2: put one there, or name another image",
            path.display()
        )));
    }
    let cmdline = vm.cmdline.clone().unwrap_or_else(|| format!("{CMDLINE} nfio.hostname={}", hostname(spec)));
    let boot = Boot {
        initrd: there("initrd", &vm.initrd, "initrd.img")?,
        kernel,
        cmdline: Some(cmdline),
        disk: None,
    };
    Ok(Found { boot, base: disk.map(|disk| (disk, "qcow2")) })
}

fn hostname(spec: &GuestSpec) -> &str {
    spec.boot.hostname.as_deref().unwrap_or(&spec.labels.instance)
}

/// Makes a guest's layer over an image.
pub(super) fn make_layer(layer: &Path, base: &Path, format: &str) -> Result<()> {
    let mut command = Command::new("qemu-img");
    command.args(["create", "-q", "-f", "qcow2", "-F", format, "-b"]).arg(base).arg(layer);
    let output = command
        .output()
        .map_err(|e| HypervisorError::Deploy(format!("qemu-img cannot be run ({e}): install qemu-utils")))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(image_names::deploy(format!("the guest's layer over {} cannot be made: {words}", base.display())))
}

/// Removes a guest's layer; one that is not there is no error.
pub(super) fn remove_layer(layer: &Path) -> io::Result<()> {
    match std::fs::remove_file(layer) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::boot_conf::BootConf;
    use std::fs;

    fn spec(image: &str, conf: &str) -> GuestSpec {
        GuestSpec { image: image.into(), boot: BootConf::parse(conf).unwrap(), ..GuestSpec::example() }
    }

    #[test]
    fn a_directory_boots_its_kernel_and_a_disk_needs_its_format_in_words() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("vm")).unwrap();
        for file in ["vm/vmlinuz", "vm/initrd.img", "box.img"] {
            fs::write(dir.path().join(file), "").unwrap();
        }
        let found = find(dir.path(), &spec("vm", "")).unwrap();
        assert!(found.boot.kernel.unwrap().ends_with("vm/vmlinuz") && found.base.is_none());
        assert_eq!(found.boot.cmdline.unwrap(), "console=ttyS0 quiet nfio.hostname=fw-a");
        let error = find(dir.path(), &spec("box.img", "")).unwrap_err();
        assert!(error.code() == 720 && error.to_string().contains("format"), "{error}");
        let found = find(dir.path(), &spec("box.img", "[vm]\nformat = \"raw\"")).unwrap();
        assert_eq!(found.base.unwrap().1, "raw");
        assert_eq!(find(dir.path(), &spec("nope", "")).unwrap_err().code(), 705);
        assert_eq!(find(dir.path(), &spec("vm", "[vm]\nkernel = \"nope\"")).unwrap_err().code(), 705);
    }

    #[test]
    fn nothing_else_of_the_host_can_be_named() {
        for conf in [
            "[vm]\nkernel = \"/etc/shadow\"",
            "[vm]\ninitrd = \"../x\"",
            "[vm]\nformat = \"luks\"",
            "[vm]\ncmdline = \"a\\nb\"",
        ] {
            assert_eq!(judge(Path::new("/i"), &spec("vm", conf)).unwrap_err().code(), 720, "{conf}");
        }
    }
}
