//! Names and values full of what XML means something by: libvirt holds them as text, or they are refused.

use nfio_tests::{Instance, Libvirtd, Mounted, errno, vm};
use std::fs;
use std::os::unix::fs::symlink;

/// Every character that XML has to have escaped, and what would end an element or an attribute and begin another.
const ODD: &str = "a\"<&'>b&amp;";
/// A line that the kernel takes, with quotes in pairs.
const CMDLINE: &str =
    "console=ttyS0 quiet nfio.hostname=odd a=\"<&'>\" </cmdline><boot dev='cdrom'/><!-- &lt; ]]>";

/// The text that stands between these in what libvirt tells, as XML means it.
#[track_caller]
fn between(xml: &str, before: &str, after: &str) -> String {
    let rest = xml.split_once(before).unwrap_or_else(|| panic!("no {before} in {xml}")).1;
    let text = rest.split_once(after).unwrap_or_else(|| panic!("no {after} after {before} in {xml}")).0;
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&apos;", "'"), ("&amp;", "&")];
    entities.into_iter().fold(text.to_owned(), |text, (entity, character)| text.replace(entity, character))
}

#[track_caller]
fn refused(vm: &Instance, number: i32, word: &str) {
    assert_eq!(errno(vm.try_act("activate")), number, "{word}");
    let error = vm.get("last_error");
    assert!(error.contains(word), "{word:?} is not in {error}");
    assert_eq!(vm.status(), "undeployed");
}

#[test]
fn what_xml_has_to_escape_arrives_as_it_was_written() {
    let libvirtd = Libvirtd::machines(1);
    let mounted = Mounted::on(libvirtd.place());
    // The image lies in a directory of such a name too.
    let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
    let image = directory.path().join(ODD);
    fs::create_dir(&image).expect("mkdir");
    for file in ["vmlinuz", "initrd.img", "disk.qcow2"] {
        symlink(vm().join(file), image.join(file)).expect("a link");
    }
    let made = fs::create_dir(mounted.instance("firewall", ODD).path());
    assert_eq!(errno(made), libc::EINVAL, "no instance is called so");
    let guest = mounted.firewall("odd");
    guest.put("machine/vm.memory", "192M\n");

    // What names something of the host is refused: nothing of that name is there, or it may not be named at all.
    for (conf, number, word) in [
        (format!("[[interface]]\nnetwork = '''{ODD}'''\n"), libc::EIO, "a\"<&"),
        ("[vm]\nkernel = '/etc/passwd'\n".into(), libc::EINVAL, "/etc/passwd"),
        ("[vm]\ninitrd = '../\"<&>'\n".into(), libc::EINVAL, "initrd"),
        ("[vm]\nformat = \"raw'/><x y='\"\n".into(), libc::EINVAL, "format"),
        ("[vm]\ncmdline = \"a\\u0001\"\n".into(), libc::EINVAL, "cmdline"),
        ("hostname = '\"<&>'\n".into(), libc::EINVAL, "hostname"),
    ] {
        guest.put("config/boot.conf", &conf);
        refused(&guest, number, word);
    }
    guest.put("config/boot.conf", "");
    guest.put("machine/vm.image", "no\"<&'>image\n");
    refused(&guest, libc::EIO, "no\"<&'>image");
    assert!(libvirtd.domains().is_empty(), "{:?}", libvirtd.domains());

    guest.put("machine/vm.image", &format!("{}\n", image.display()));
    guest.put("config/boot.conf", &format!("[vm]\ncmdline = '''{CMDLINE}'''\n"));
    guest.act("activate");
    assert_eq!(libvirtd.domains(), ["root-firewall-odd"]);
    let xml = libvirtd.virsh(&["dumpxml", "root-firewall-odd"]);
    assert_eq!(between(&xml, "<cmdline>", "</cmdline>"), CMDLINE);
    assert!(!xml.contains("<boot dev='cdrom'"), "{xml}");
    let kernel = between(&xml, "<kernel>", "</kernel>");
    assert!(kernel.ends_with(&format!("{ODD}/vmlinuz")), "{kernel}");
    assert_eq!(guest.run("cat /proc/cmdline"), CMDLINE);
    assert!(guest.get("log").contains("odd is up"), "{}", guest.get("log"));
    guest.act("destroy");
    assert!(fs::read_dir(libvirtd.layers()).expect("the layers").next().is_none());
}
