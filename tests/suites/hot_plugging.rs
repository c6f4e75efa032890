//! Plugins come and go while mounted, and nobody who is at work there notices.

use nfio_tests::{Instance, Mounted, Options, built, errno, eventually, image, odd_plugin};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// A type whose plugin comes and goes.
struct Plugged {
    name: &'static str,
    /// A file that the plugin answers once the guest runs.
    own: &'static str,
}

const PLUGGED: Plugged = Plugged { name: "nat", own: "stats/translations" };

impl Plugged {
    fn library(&self) -> String {
        format!("lib{}.so", self.name)
    }
}

/// Reads from the beginning, as whoever polls a value by its open descriptor does.
fn reread(file: &File) -> io::Result<String> {
    let mut text = vec![0; 4096];
    let count = file.read_at(&mut text, 0)?;
    Ok(String::from_utf8_lossy(&text[..count]).into_owned())
}

/// Has `work` done while `find` goes over the mount again and again and open descriptors are read; none may fail.
fn while_others_look_on(mounted: &Mounted, open: &[(&str, File)], work: impl FnOnce()) {
    let (done, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    thread::scope(|scope| {
        let find = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let found = Command::new("find").arg(mounted.path()).arg("-ls").output().expect("find");
                let complaints = String::from_utf8_lossy(&found.stderr).into_owned();
                assert!(found.status.success() && complaints.is_empty(), "find: {complaints}");
                rounds.fetch_add(1, Ordering::SeqCst);
            }
        });
        let read = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                for (name, file) in open {
                    reread(file).unwrap_or_else(|e| panic!("{name} of an open descriptor: {e}"));
                }
            }
        });
        // Also when the work fails: the others would never end.
        let worked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        done.store(true, Ordering::SeqCst);
        find.join().expect("find saw no failure");
        read.join().expect("no descriptor saw a failure");
        if let Err(panic) = worked {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(rounds.load(Ordering::SeqCst) > 0);
}

fn open(instance: &Instance, names: &[&'static str]) -> Vec<(&'static str, File)> {
    names.iter().map(|name| (*name, File::open(instance.file(name)).expect("open"))).collect()
}

#[test]
fn a_plugin_that_comes_goes_and_comes_back_disturbs_nobody() {
    let Plugged { name: ty, own } = PLUGGED;
    let library = PLUGGED.library();
    let mounted = Mounted::unmounted(Options::default());
    fs::remove_file(mounted.plugin(&library)).expect("unlink");
    fs::write(mounted.plugin("libodd.so"), odd_plugin()).expect("the fixture");
    mounted.mount();
    let odd = mounted.odd("bystander");
    let bystander = open(&odd, &["machine/ip", "status", "odd/value"]);
    let directory = mounted.path().join("nf-types").join(ty);
    assert_eq!(errno(fs::create_dir(&directory)), libc::ENOPKG);

    while_others_look_on(&mounted, &bystander, || {
        let start = Instant::now();
        fs::copy(built(&library), mounted.plugin(&library)).expect("cp");
        eventually("the type appears", || directory.is_dir());
        let took = start.elapsed();
        println!(
            "a plugin of {} bytes was live {took:?} after cp began",
            built(&library).metadata().unwrap().len()
        );
        assert!(took < Duration::from_secs(10), "{took:?}");
    });
    mounted.await_module(ty, "loaded", "");
    let vnf = mounted.instance(ty, "hot");
    fs::create_dir(vnf.path()).expect("mkdir");
    vnf.put("machine/ip", "127.0.0.1\n");
    vnf.put("machine/vm.image", &format!("{}\n", image().display()));
    vnf.act("activate");
    assert_eq!(vnf.status(), "running");
    vnf.try_get(own).expect("the plugin's own file");

    let mut kept = open(&vnf, &["machine/ip", "config/nf_conf", "status", "stats/rx_bytes"]);
    kept.extend(bystander);
    while_others_look_on(&mounted, &kept, || {
        fs::remove_file(mounted.plugin(&library)).expect("unlink");
        mounted.await_module(ty, "missing", "");
        assert!(directory.is_dir(), "a type with instances is listed");
        assert_eq!(vnf.get("machine/ip"), "127.0.0.1");
        vnf.put("config/boot.conf", "");
        assert_eq!(vnf.status(), "running");
        let gone = vnf.try_get(own).expect_err("nobody answers");
        assert!(gone.to_string().starts_with("Package not installed"), "{gone}");
        assert_eq!(errno(vnf.try_act("reload")), libc::ENOPKG);
        assert!(vnf.get("last_error").contains("put its .so into module_root"), "{}", vnf.get("last_error"));
        assert_eq!(errno(fs::create_dir(directory.join("more"))), libc::ENOPKG);

        fs::copy(built(&library), mounted.plugin(&library)).expect("cp");
        mounted.await_module(ty, "loaded", "");
        vnf.try_get(own).expect("healed");
        vnf.act("reload");
        assert_eq!(mounted.module(ty, "reloads"), "1");

        fs::remove_file(mounted.plugin(&library)).expect("unlink");
        mounted.await_module(ty, "missing", "");
    });
    vnf.act("stop");
    assert_eq!(errno(vnf.try_act("start")), libc::ENOPKG);
    vnf.act("destroy");
    drop(kept);
    fs::remove_dir(vnf.path()).expect("rmdir");
    assert!(!directory.exists(), "a type without plugin and instances is not listed");
    fs::remove_dir(odd.path()).expect("rmdir");
}

#[test]
fn a_bad_file_in_a_plugins_place_leaves_the_last_good_version_serving() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    let good = odd_plugin();
    mounted.drop_in("libodd.so", &good[..good.len() / 2]);
    mounted.await_module("odd", "loaded", "goes on serving");
    assert!(mounted.module("odd", "error").contains("not"), "{}", mounted.module("odd", "error"));
    assert_eq!(odd.get("odd/value"), "odd");
    mounted.drop_in("libodd.so", &good);
    mounted.await_module("odd", "loaded", "");
    assert_eq!(odd.get("odd/value"), "odd");
    mounted.drop_in("libodd.so", b"");
    mounted.await_module("odd", "loaded", "goes on serving");
    fs::remove_file(mounted.plugin("libodd.so")).expect("unlink");
    mounted.await_module("odd", "missing", "");
    assert_eq!(errno(odd.try_get("odd/value")), libc::ENOPKG);
    mounted.drop_in("libodd.so", b"no plugin");
    mounted.await_module("odd", "failed", "shared object");
    assert_eq!(errno(odd.try_get("odd/value")), libc::ENOPKG);
    fs::copy(built("libodd.so"), mounted.plugin("libodd.so")).expect("cp");
    mounted.await_module("odd", "loaded", "");
    assert_eq!(odd.get("odd/value"), "odd");
}

#[test]
fn a_second_file_of_a_type_takes_over_when_the_first_goes() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    mounted.drop_in("libaaa.so", &odd_plugin());
    mounted.await_module("aaa", "failed", "served by");
    assert!(mounted.module("odd", "path").ends_with("libodd.so"));
    fs::remove_file(mounted.plugin("libodd.so")).expect("unlink");
    eventually("the other serves", || mounted.module("odd", "path").ends_with("libaaa.so"));
    assert!(!mounted.path().join("modules/aaa").exists());
    assert_eq!((mounted.module("odd", "state"), odd.get("odd/value")), ("loaded".into(), "odd".into()));
}

#[test]
fn types_go_and_come_back_with_module_root_itself() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    let aside = mounted.module_root().with_extension("aside");
    fs::rename(mounted.module_root(), &aside).expect("rename");
    for ty in ["odd", "firewall", "random"] {
        mounted.await_module(ty, "missing", "");
    }
    assert_eq!(errno(odd.try_get("odd/value")), libc::ENOPKG);
    assert_eq!(odd.status(), "undeployed");
    fs::rename(&aside, mounted.module_root()).expect("rename");
    for ty in ["odd", "firewall", "random"] {
        mounted.await_module(ty, "loaded", "");
    }
    assert_eq!(odd.get("odd/value"), "odd");
    // And what comes then is seen again without waiting for a tick; the limit is that of `eventually`.
    mounted.drop_in("libtext.so", b"text");
    mounted.await_module("text", "failed", "shared object");
}
