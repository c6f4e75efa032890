//! Plugins that are none, lie, crash or hang, dropped into a running mount one after the other: each is told of in a
//! sentence, and none harms the mount or another type.

use nfio_tests::{Instance, Mounted, Options, errno, odd_plugin};
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::thread;
use std::time::Instant;

const DROP_PINGS: &str = "\
table inet filter {
    chain input {
        type filter hook input priority 0; policy accept;
        icmp type echo-request drop
    }
}
";

/// A mount where a read has a second.
fn hasty() -> Mounted {
    let config = "[deadlines]\nread = 1\n".to_owned();
    Mounted::with_odd(Options { config, ..Options::default() })
}

/// The mount runs a firewall as if nothing had happened.
#[track_caller]
fn still_serves(mounted: &Mounted) {
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    assert!(fw.answers_ping());
    fw.put("config/nf_conf", DROP_PINGS);
    fw.act("reload");
    let before = fw.counter("pkt_drops");
    assert!(!fw.answers_ping());
    assert!(fw.counter("pkt_drops") > before);
    fw.act("destroy");
    fs::remove_dir(fw.path()).expect("rmdir");
    assert_eq!(mounted.module("firewall", "state"), "loaded");
    assert_eq!(
        (mounted.module("firewall", "reloads").as_str(), mounted.module("firewall", "error").as_str()),
        ("0", "")
    );
}

fn say(odd: &Instance, words: &str) {
    odd.put("say", &format!("{words}\n"));
}

#[test]
fn files_that_are_no_plugins_are_told_of_in_a_sentence_and_harm_nobody() {
    let mounted = Mounted::new();
    let pid = mounted.pid();
    let good = odd_plugin();
    let headerless = fs::read("/proc/self/exe").expect("ourselves");
    let mut elsewhere = good.clone();
    // e_machine: MIPS.
    elsewhere[18] = 8;
    let cases: [(&str, &[u8], &str); 7] = [
        ("half", &good[..good.len() / 2], "whole"),
        ("truncated", &good[..good.len() - 1], "not"),
        ("stub", &good[..64], "whole"),
        ("empty", b"", "shared object"),
        ("text", b"#!/bin/sh\nreboot\n", "shared object"),
        ("headerless", &headerless, "plugin"),
        ("mips", &elsewhere, "another machine"),
    ];
    for (name, data, words) in cases {
        mounted.drop_in(&format!("lib{name}.so"), data);
        mounted.await_module(name, "failed", words);
        assert_eq!(mounted.module(name, "error").lines().count(), 1, "{name}");
    }
    // Copied as slowly as can be: the half that is there is told of, and the whole is taken once it is there.
    let place = mounted.plugin("libodd.so");
    fs::write(&place, &good[..good.len() / 3]).expect("a third");
    mounted.await_module("odd", "failed", "whole");
    fs::write(&place, &good).expect("the whole");
    mounted.await_module("odd", "loaded", "");
    let odd = mounted.odd("a");
    assert_eq!(odd.get("odd/value"), "odd");
    for name in cases.map(|(name, ..)| name) {
        fs::remove_file(mounted.plugin(&format!("lib{name}.so"))).expect("unlink");
    }
    nfio_tests::eventually("no trace is left", || {
        cases.iter().all(|(name, ..)| !mounted.path().join("modules").join(name).exists())
    });
    still_serves(&mounted);
    assert_eq!(mounted.pid(), pid, "the same mount");
}

/// A shared object of C with the header's name and this constructor.
fn compiled(constructor: &str) -> Vec<u8> {
    let room = tempfile::tempdir().expect("a directory");
    let (from, to) = (room.path().join("plugin.c"), room.path().join("plugin.so"));
    let source = format!(
        "#include <stdlib.h>\nchar _1as_0lib_1header_0root_bmodule_bloader[4096];\n\
         __attribute__((constructor)) static void begin(void) {{ {constructor} }}\n"
    );
    fs::write(&from, source).expect("the source");
    let cc = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&to).arg(from).output();
    let cc = cc.expect("a C compiler: Rust's linker is one");
    assert!(cc.status.success(), "{}", String::from_utf8_lossy(&cc.stderr));
    fs::read(to).expect("what was compiled")
}

#[test]
fn a_constructor_that_crashes_or_never_ends_harms_nobody_and_holds_nobody_up() {
    let mounted = Mounted::new();
    let pid = mounted.pid();
    let (crash, leave, endless) =
        (compiled("*(volatile int *)8 = 1;"), compiled("exit(0);"), compiled("for (;;);"));
    let odd = odd_plugin();
    mounted.drop_in("libcrash.so", &crash);
    mounted.drop_in("libleave.so", &leave);
    mounted.drop_in("libloop.so", &endless);
    let start = Instant::now();
    mounted.drop_in("libodd.so", &odd);
    mounted.await_module("odd", "loaded", "");
    println!("beside one that never ends, another was live after {:?}", start.elapsed());
    assert_eq!(mounted.module("loop", "state"), "", "the loop is still being judged");
    mounted.await_module("crash", "failed", "SIGSEGV");
    mounted.await_module("leave", "failed", "it");
    mounted.await_module("loop", "failed", "did not come back");
    assert_eq!(mounted.odd("a").get("odd/value"), "odd");
    still_serves(&mounted);
    assert_eq!(mounted.pid(), pid, "the same mount");
}

#[test]
fn a_plugin_that_others_could_write_is_refused_until_its_mode_or_its_directorys_is_mended() {
    let mounted = Mounted::new();
    let chmod = |path: &std::path::Path, mode| {
        fs::set_permissions(path, Permissions::from_mode(mode)).expect("chmod");
    };
    let place = mounted.plugin("libodd.so");
    let aside = mounted.plugin("odd.new");
    fs::write(&aside, odd_plugin()).expect("a file");
    chmod(&aside, 0o666);
    fs::rename(&aside, &place).expect("rename");
    mounted.await_module("odd", "failed", "chmod go-w");
    chmod(&place, 0o644);
    mounted.await_module("odd", "loaded", "");
    // One that is loaded goes on, and is told of.
    chmod(&place, 0o646);
    mounted.await_module("odd", "loaded", "chmod o-w");
    assert_eq!(mounted.odd("a").get("odd/value"), "odd");
    chmod(&place, 0o644);
    mounted.await_module("odd", "loaded", "");
    // The file stays as it is; only who else could write its directory changes.
    fs::remove_file(&place).expect("unlink");
    mounted.await_module("odd", "missing", "");
    chmod(&mounted.module_root(), 0o777);
    mounted.drop_in("libodd.so", &odd_plugin());
    mounted.await_module("odd", "failed", "chmod go-w");
    chmod(&mounted.module_root(), 0o755);
    mounted.await_module("odd", "loaded", "");
    still_serves(&mounted);
}

#[test]
fn a_plugin_that_panics_lies_or_floods_in_each_function_harms_nobody() {
    let mounted = hasty();
    let pid = mounted.pid();
    for words in ["panic", "errno-600", "reply-104857600"] {
        let outcome = fs::create_dir(mounted.instance("odd", &format!("{words}.a")).path());
        // A reply of mkdir has no bytes.
        assert_eq!(errno(outcome), if words.starts_with("reply") { 0 } else { libc::EIO }, "{words}");
    }
    let odd = mounted.odd("a");
    for words in ["panic", "errno 600", "reply 104857600"] {
        say(&odd, &format!("getattr: {words}\nread: {words}\nwrite: {words}\nprepare: {words}"));
        fs::metadata(odd.file("odd/sized")).expect("stat goes on");
        assert_eq!(errno(odd.try_get("odd/value")), libc::EIO, "{words}");
        let (write, activate) = (odd.try_write("poke", "x"), odd.try_act("activate"));
        if words.starts_with("reply") {
            assert_eq!((errno(write), errno(activate)), (0, 0));
            odd.act("destroy");
            continue;
        }
        assert_eq!((errno(write), errno(activate)), (libc::EIO, libc::EIO), "{words}");
        let told = odd.get("last_error");
        assert!(told.contains("operation: activate") && told.contains("errno: EIO"), "{told}");
        assert_eq!(odd.status(), "undeployed", "{words}");
        say(&odd, &format!("configure: {words}"));
        assert_eq!(errno(odd.try_act("activate")), libc::EIO, "{words}");
        assert_eq!(odd.status(), "undeployed", "{words}");
        assert!(!odd.get("last_error").is_empty());
    }
    assert_eq!(mounted.module("odd", "state"), "loaded", "an answer in time, whatever it is, is one");
    still_serves(&mounted);
    assert_eq!(mounted.pid(), pid, "the same mount");
}

/// Three calls that do not come back: each is ETIMEDOUT or, once the third is late, refused.
fn hang_three_times(call: impl Fn() -> std::io::Result<()> + Sync) -> Vec<i32> {
    thread::scope(|scope| {
        let calls: Vec<_> = (0..3).map(|_| scope.spawn(|| errno(call()))).collect();
        calls.into_iter().map(|call| call.join().expect("no panic")).collect()
    })
}

#[test]
fn a_plugin_that_hangs_in_read_is_wedged_and_replacing_its_file_heals_it() {
    let mounted = hasty();
    let (odd, other) = (mounted.odd("a"), mounted.odd("b"));
    other.act("activate");
    say(&odd, "read: hang");
    for _ in 0..2 {
        assert_eq!(errno(odd.try_get("odd/value")), libc::ETIMEDOUT);
    }
    assert_eq!(other.get("odd/value"), "odd", "an answer in time ends the row");
    for _ in 0..3 {
        assert_eq!(mounted.module("odd", "state"), "loaded");
        assert_eq!(errno(odd.try_get("odd/value")), libc::ETIMEDOUT);
    }
    mounted.await_module("odd", "wedged", "replace its file");
    assert!(mounted.module("odd", "error").contains("in read"), "{}", mounted.module("odd", "error"));

    // Its own files and the verbs that need it are EIO at once, on every instance; the rest goes on.
    assert_eq!(errno(other.try_get("odd/value")), libc::EIO);
    assert_eq!(errno(other.try_write("poke", "x")), libc::EIO);
    assert_eq!(errno(other.try_act("reload")), libc::EIO);
    let told = other.get("last_error");
    assert!(told.contains("code: 726") && told.contains("wedged"), "{told}");
    assert_eq!(errno(fs::create_dir(mounted.instance("odd", "c").path())), libc::EIO);
    assert_eq!((other.status().as_str(), other.get("machine/ip").as_str()), ("running", "127.0.0.1"));
    fs::metadata(other.file("odd/sized")).expect("stat");
    other.act("stop");
    other.act("destroy");
    still_serves(&mounted);

    // The same bytes, copied again, are another file.
    say(&odd, "");
    mounted.drop_in("libodd.so", &odd_plugin());
    mounted.await_module("odd", "loaded", "");
    assert_eq!(odd.get("odd/value"), "odd");
    other.act("activate");
    other.act("destroy");
}

#[test]
fn a_plugin_that_hangs_in_mkdir_is_wedged_and_leaves_no_instance() {
    let mounted = hasty();
    let answers = hang_three_times(|| {
        static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        fs::create_dir(mounted.instance("odd", &format!("hang.{number}")).path())
    });
    assert_eq!(answers, [libc::ETIMEDOUT; 3]);
    mounted.await_module("odd", "wedged", "mkdir");
    assert_eq!(fs::read_dir(mounted.root().join("nf-types/odd")).expect("the type").count(), 0);
    still_serves(&mounted);
    mounted.drop_in("libodd.so", &odd_plugin());
    mounted.await_module("odd", "loaded", "");
    assert_eq!(mounted.odd("a").get("odd/value"), "odd");
}

#[test]
fn a_plugin_that_hangs_in_getattr_is_wedged_and_listing_goes_on() {
    let mounted = hasty();
    let odd = mounted.odd("a");
    say(&odd, "getattr: hang");
    let answers = hang_three_times(|| fs::metadata(odd.file("odd/sized")).map(drop));
    assert_eq!(answers, [0; 3], "stat shows the last known length");
    mounted.await_module("odd", "wedged", "getattr");
    assert_eq!(fs::metadata(odd.file("odd/sized")).expect("stat").len(), 1000);
    still_serves(&mounted);
    say(&odd, "");
    mounted.drop_in("libodd.so", &odd_plugin());
    mounted.await_module("odd", "loaded", "");
    assert_eq!(fs::metadata(odd.file("odd/sized")).expect("stat").len(), 4);
}
