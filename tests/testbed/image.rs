//! Guest images, made once per test run by the recipe that the README names.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The firewall's guest image: busybox, nft, ip.
pub fn image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| make("firewall"))
}

/// The same image with an `nft` that takes five seconds: activate of its guest is slow.
pub fn slow_image() -> &'static Path {
    static IMAGE: OnceLock<PathBuf> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let image = make("slow");
        let nft = image.join("usr/sbin/nft");
        fs::rename(&nft, image.join("usr/sbin/nft.real")).expect("nft in the image");
        fs::write(&nft, "#!/bin/sh\nsleep 5\nexec /usr/sbin/nft.real \"$@\"\n").expect("a slow nft");
        fs::set_permissions(&nft, fs::Permissions::from_mode(0o755)).expect("an executable nft");
        image
    })
}

/// An image of Debian packages, as `testbed/images.sh` made it before the test bed: `target/images/NAME`.
pub fn debian(name: &str) -> PathBuf {
    let profile = crate::built("nfio").parent().expect("target/<profile>").to_owned();
    let image = profile.parent().expect("target").join("images").join(name);
    assert!(image.is_dir(), "{} is missing: run `sh tests/testbed/images.sh {name}` first", image.display());
    image
}

/// The virtual machine that `testbed/images.sh` made: a directory of `vmlinuz`, `initrd.img` and `disk.qcow2`.
pub fn vm() -> PathBuf {
    debian("vm")
}

fn make(name: &str) -> PathBuf {
    crate::require_testbed();
    let recipe = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/images/busybox.sh");
    let image = PathBuf::from(format!("/run/images-{}/{name}", std::process::id()));
    let made = Command::new("sh").arg(&recipe).arg(&image).output().expect("sh");
    assert!(made.status.success(), "{}: {}", recipe.display(), String::from_utf8_lossy(&made.stderr));
    image
}
