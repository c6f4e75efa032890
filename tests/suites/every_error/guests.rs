//! What guests and their driver fail with.

use super::{fails, say, told};
use nfio_tests::{Covered, Mounted, Options, errno, eventually};
use std::fs;
use std::thread;

#[test]
fn class_701_a_host_that_cannot_be_reached() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("machine/ip", "192.0.2.7\n");
    fails(&fw, "activate", 701, "HypervisorConnectionError", "ECONNREFUSED", libc::ECONNREFUSED, "192.0.2.7");
}

#[test]
fn class_702_a_guest_that_is_not_deployed_or_has_vanished() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fails(&fw, "stop", 702, "VNFNotFoundError", "ENXIO", libc::ENXIO, "activate");
    fw.act("activate");
    fw.act("stop");
    fs::remove_dir_all(mounted.guest(&fw)).expect("somebody removes the guest behind our back");
    assert_eq!(fw.status(), "dead");
    for verb in ["start", "restart", "stop", "pause", "reload", "running", "exited"] {
        fails(&fw, verb, 702, "VNFNotFoundError", "ENXIO", libc::ENXIO, "destroy");
    }
    fails(&fw, "activate", 722, "VNFAlreadyDeployedError", "EEXIST", libc::EEXIST, "destroy");
    fw.act("destroy");
    fw.act("activate");
    fw.act("destroy");
}

#[test]
fn class_703_a_command_that_fails_in_the_guest() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    assert_eq!(errno(fw.try_write("command", "no-such-program\n")), libc::EREMOTEIO);
    told(&fw, 703, "VNFCommandExecutionError", "EREMOTEIO", "command", "no-such-program");
    fw.act("destroy");
}

#[test]
fn class_705_an_image_that_cannot_be_deployed() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("machine/vm.image", "/dev/null\n");
    fails(&fw, "activate", 705, "VNFDeployError", "EIO", libc::EIO, "/dev/null");
    let broken = mounted.root().with_file_name("broken.tar");
    fs::write(&broken, "this is no tar").expect("a broken image");
    fw.put("machine/vm.image", &format!("{}\n", broken.display()));
    fails(&fw, "activate", 705, "VNFDeployError", "EIO", libc::EIO, "broken.tar");
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn class_706_a_guest_that_cannot_be_removed_is_still_known() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let busy = Covered::busy(&mounted.guest(&fw));
    fails(&fw, "destroy", 706, "VNFDestroyError", "EIO", libc::EIO, "fw-a");
    assert_eq!(fw.status(), "exited", "its processes have ended, the rest is there");
    assert_eq!(errno(fs::remove_dir(fw.path())), libc::EBUSY, "and no instance goes before its guest");
    drop(busy);
    fw.act("destroy");
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn class_707_a_guest_whose_command_is_gone_does_not_start() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/boot.conf", "command = [\"/opt/function\", \"100000\"]\n[[file]]\nsource = \"function\"\ntarget = \"/opt/function\"\nmode = 0o755\n");
    fw.put("config/function", "#!/bin/sh\nexec sleep $1\n");
    fw.act("activate");
    // The file comes back with every start; the interpreter that it names does not.
    fw.run("rm /bin/sh");
    fw.act("stop");
    fails(&fw, "start", 707, "VNFStartError", "EIO", libc::EIO, "/opt/function");
    assert_eq!(fw.status(), "exited");
    fails(&fw, "restart", 708, "VNFRestartError", "EIO", libc::EIO, "/opt/function");
    fails(&fw, "running", 707, "VNFStartError", "EIO", libc::EIO, "/opt/function");
    fw.act("destroy");
}

#[test]
fn classes_707_to_711_a_freezer_that_cannot_be_written() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    let stuck = Covered::read_only(&mounted.freezer(&fw));
    fails(&fw, "pause", 710, "VNFPauseError", "EIO", libc::EIO, "fw-a");
    assert_eq!(fw.status(), "running", "it has not paused");
    drop(stuck);
    fw.act("pause");

    let stuck = Covered::read_only(&mounted.freezer(&fw));
    fails(&fw, "start", 707, "VNFStartError", "EIO", libc::EIO, "unpause");
    fails(&fw, "unpause", 711, "VNFUnpauseError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "running", 711, "VNFUnpauseError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "restart", 708, "VNFRestartError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "stop", 709, "VNFStopError", "EIO", libc::EIO, "fw-a");
    fails(&fw, "exited", 709, "VNFStopError", "EIO", libc::EIO, "fw-a");
    assert_eq!(fw.status(), "paused", "none of them did anything by half");
    drop(stuck);
    fw.act("unpause");
    assert!(fw.answers_ping());
    fw.act("destroy");
}

#[test]
fn class_712_a_failed_activate_that_cannot_be_rolled_back() {
    let mounted = Mounted::with_odd(Options::default());
    let odd = mounted.odd("a");
    say(&odd, "configure: wait-fail");
    let busy = thread::scope(|scope| {
        let activate = scope.spawn(|| errno(odd.try_act("activate")));
        let guest = mounted.guest(&odd);
        eventually("the guest runs", || guest.join("run.json").exists());
        let busy = Covered::busy(&guest);
        odd.put("go", "go\n");
        assert_eq!(activate.join().expect("activate"), libc::ENOTRECOVERABLE);
        busy
    });
    told(
        &odd,
        712,
        "VNFDeployErrorWithInconsistentState",
        "ENOTRECOVERABLE",
        "activate",
        "write destroy when that is mended",
    );
    assert_eq!(odd.status(), "exited");
    drop(busy);
    odd.act("destroy");
    assert_eq!(odd.status(), "undeployed");
}

#[test]
fn class_716_a_guest_that_does_not_run() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.act("activate");
    fw.act("stop");
    fails(&fw, "reload", 716, "VNFNotRunningError", "EHOSTDOWN", libc::EHOSTDOWN, "exited");
    assert_eq!(errno(fw.try_write("command", "true\n")), libc::EHOSTDOWN);
    told(&fw, 716, "VNFNotRunningError", "EHOSTDOWN", "command", "start");
    fw.act("destroy");
}
