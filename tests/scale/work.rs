//! Work of all kinds, done over and over by threads of their own until they are told to stop. What fails and should
//! not ends the thread, and with it the soak.

use nfio_tests::{Instance, Mounted, build_name, errno, eventually, odd_build};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// Rest between two rounds: the work is to be even, not to fill the machine.
const REST: Duration = Duration::from_millis(10);

/// A kind of work: its name and one round of it.
pub(crate) type Kind<'a> = (&'static str, Box<dyn FnMut(u64) + Send + 'a>);

/// All kinds, over the instances that the soak has made.
pub(crate) fn kinds<'a>(mounted: &'a Mounted, guest: &'a Instance, odd: &'a Instance) -> Vec<Kind<'a>> {
    vec![
        ("values read", Box::new(move |_| read_values(guest))),
        ("files written", Box::new(move |round| write_files(guest, round))),
        ("life cycles", Box::new(move |_| live(mounted))),
        ("instances made and removed", Box::new(move |round| make_and_remove(mounted, round))),
        ("polls", Box::new(move |_| wait_for_nothing(guest))),
        ("listings", Box::new(move |_| list(mounted))),
        ("calls of a plugin", Box::new(move |_| call(odd))),
    ]
}

/// Does one kind of work until `done`, counting its rounds.
pub(crate) fn repeat(kind: &mut Kind<'_>, done: &AtomicBool, rounds: &AtomicU64) {
    while !done.load(Ordering::SeqCst) {
        kind.1(rounds.fetch_add(1, Ordering::SeqCst));
        thread::sleep(REST);
    }
}

fn read_values(guest: &Instance) {
    for name in
        ["status", "stats/rx_bytes", "stats/pkt_drops", "stats/rules", "log", "machine/vm.ip", "action"]
    {
        guest.try_get(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    assert_eq!(guest.run("echo here"), "here");
}

/// As editors and logs write: over, behind, aside and renamed.
fn write_files(guest: &Instance, round: u64) {
    guest.put("config/kept", &format!("{round}\n"));
    let mut file = OpenOptions::new().append(true).open(guest.file("config/kept")).expect("open");
    file.write_all(&[b'x'; 8192]).expect("write");
    assert_eq!(file.metadata().expect("stat").len(), 8192 + format!("{round}\n").len() as u64);
    let aside = guest.file(&format!("config/kept.{round}"));
    fs::copy(guest.file("config/kept"), &aside).expect("cp");
    fs::hard_link(&aside, guest.file("config/link")).expect("ln");
    fs::remove_file(guest.file("config/link")).expect("unlink");
    fs::rename(&aside, guest.file("config/kept")).expect("mv");
}

/// All verbs over a guest that comes and goes, and some that fail.
fn live(mounted: &Mounted) {
    let fw = mounted.instance("firewall", "lives");
    for verb in ["activate", "reload", "pause", "unpause", "stop", "start", "restart"] {
        fw.act(verb);
    }
    assert_eq!(errno(fw.try_act("activate")), libc::EEXIST);
    assert_eq!(errno(fw.try_act("frobnicate")), libc::EINVAL);
    assert_eq!(errno(fw.try_write("command", "exit 1\n")), libc::EREMOTEIO);
    fw.act("destroy");
    let image = fw.get("machine/vm.image");
    fw.put("machine/vm.image", "no-such-image\n");
    assert_ne!(errno(fw.try_act("activate")), 0);
    fw.put("machine/vm.image", &format!("{image}\n"));
}

fn make_and_remove(mounted: &Mounted, round: u64) {
    let made = mounted.instance("firewall", &format!("made-{round}"));
    fs::create_dir(made.path()).expect("mkdir");
    made.put("config/mine", "x");
    assert_eq!(made.status(), "undeployed");
    let moved = mounted.instance("firewall", &format!("moved-{round}"));
    fs::rename(made.path(), moved.path()).expect("mv");
    assert_eq!(errno(fs::remove_dir(moved.path())), libc::ENOTEMPTY);
    fs::remove_file(moved.file("config/mine")).expect("rm");
    fs::remove_dir(moved.path()).expect("rmdir");
}

/// Waits by poll for what does not come, and goes with its descriptor.
fn wait_for_nothing(guest: &Instance) {
    let status = File::open(guest.file("status")).expect("open");
    let mut text = [0; 16];
    status.read_at(&mut text, 0).expect("read");
    let mut waiting = [PollFd::new(status.as_fd(), PollFlags::POLLPRI)];
    assert_eq!(poll(&mut waiting, PollTimeout::from(5_u8)), Ok(0), "the guest runs all the while");
}

fn list(mounted: &Mounted) {
    // Names that go meanwhile are complained of.
    let output = Command::new("find").arg(mounted.path()).args(["-size", "+1"]).output().expect("find");
    assert!(output.stdout.len() > 100, "{}", String::from_utf8_lossy(&output.stderr));
}

fn call(odd: &Instance) {
    odd.get("odd/value");
    odd.try_write("poke", "x").expect("poke");
    fs::metadata(odd.file("odd/sized")).expect("stat");
}

/// Replaces the plugin of `odd` by another build and waits until that answers.
pub(crate) fn replace_plugin(mounted: &Mounted, odd: &Instance, plugin: &[u8], number: u32) {
    mounted.drop_in("libodd.so", &odd_build(plugin, number));
    eventually("the new build answers", || odd.get("odd/build") == build_name(number));
}
