//! Plugins: what is loaded, what is not, and that a bad one does no harm.

use nfio_tests::{Mounted, Options, errno};
use std::fs;

#[test]
fn modules_tells_of_every_loaded_type() {
    let mounted = Mounted::new();
    let file =
        |name: &str| fs::read_to_string(mounted.path().join("modules/firewall").join(name)).expect("a file");
    assert_eq!(file("state"), "loaded\n");
    assert_eq!(file("error"), "");
    assert!(file("sdk_version").starts_with("1."));
    assert!(file("path").trim_end().ends_with("libfirewall.so"));
    let before: u64 = file("calls").trim().parse().expect("a number");
    mounted.firewall("fw-a");
    let after: u64 = file("calls").trim().parse().expect("a number");
    assert!(after > before, "mkdir called the module");
}

#[test]
fn a_bad_plugin_is_listed_with_a_sentence_and_does_no_harm() {
    let mounted = Mounted::unmounted(Options::default());
    let good = fs::read(mounted.module_root().join("libfirewall.so")).expect("a plugin");
    let put = |name: &str, data: &[u8]| fs::write(mounted.module_root().join(name), data).expect("a file");
    put("libtext.so", b"hello\n");
    put("libempty.so", b"");
    put("libcut.so", &good[..good.len() / 2]);
    put("libtwin.so", &good);
    fs::copy("/proc/self/exe", mounted.module_root().join("libalien.so")).expect("a file");
    mounted.mount();
    for (name, words) in [
        ("text", "shared object"),
        ("empty", "shared object"),
        ("cut", "whole"),
        ("twin", "already"),
        ("alien", "plugin"),
    ] {
        let at = |file: &str| {
            fs::read_to_string(mounted.path().join("modules").join(name).join(file)).expect("a file")
        };
        assert_eq!(at("state"), "failed\n", "{name}");
        assert!(at("error").contains(words), "{name}: {}", at("error"));
        assert_eq!(at("error").lines().count(), 1, "{name}");
    }
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    fw.act("destroy");
}

#[test]
fn instances_of_a_type_whose_plugin_is_gone_can_be_read_stopped_and_destroyed() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    mounted.umount();
    fs::remove_file(mounted.module_root().join("libfirewall.so")).expect("unlink");
    mounted.mount();
    assert_eq!(fw.status(), "running");
    assert_eq!(fw.get("machine/ip"), "127.0.0.1");
    assert_eq!(errno(fw.try_get("stats/rules")), libc::ENOPKG);
    assert_eq!(errno(fw.try_act("reload")), libc::ENOPKG);
    assert_eq!(errno(fs::create_dir(fw.path().with_file_name("fw-b"))), libc::ENOPKG);
    fw.act("stop");
    assert_eq!(errno(fw.try_act("start")), libc::ENOPKG);
    fw.act("destroy");
    fs::remove_dir(fw.path()).expect("rmdir");
    assert!(
        !mounted.path().join("nf-types/firewall").exists(),
        "a type without module and instances is not listed"
    );
}
