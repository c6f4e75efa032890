//! Stop, pause, destroy; what a guest keeps and what it loses.

use nfio_host::hypervisor::{Guest, Prepared, Status};
use std::time::{Duration, Instant};

use crate::stage::{Stage, accepted, command, execution, file, refused};

pub(crate) fn stop_asks_first(stage: &Stage) {
    let script = "trap 'echo asked >> /asked; exit 0' TERM; touch /ready; while :; do sleep 0.05; done";
    let guest = stage.running(script);
    stage.until("it has set its trap", || stage.succeeds(&guest, "test -e /ready"));
    stage.stop(&guest);
    assert_eq!(stage.status(&guest), Status::Exited);
    stage.start(&guest);
    assert_eq!(stage.says(&guest, "cat /asked"), "asked", "SIGTERM was not given, or not waited for");
}

pub(crate) fn a_guest_that_does_not_heed_is_killed_at_its_timeout(stage: &Stage) {
    let script = "trap : TERM; touch /ready; while :; do sleep 0.05; done";
    let guest = stage.up(&stage.spec(&format!("stop_timeout = 2\n{}", command(script))));
    stage.until("it has set its trap", || stage.succeeds(&guest, "test -e /ready"));
    let begin = Instant::now();
    stage.stop(&guest);
    let took = begin.elapsed();
    assert_eq!(stage.status(&guest), Status::Exited);
    // 10 s is what a guest gets where boot.conf does not say.
    let (least, most) = (Duration::from_millis(1900), Duration::from_secs(9));
    assert!(took >= least && took < most, "stop_timeout is 2 s, it took {took:?}");
}

pub(crate) fn a_first_process_that_knows_no_signals_does_not_take_the_timeout(stage: &Stage) {
    let guest = stage.up(&stage.spec("command = [\"sleep\", \"1000\"]"));
    let begin = Instant::now();
    stage.stop(&guest);
    assert!(begin.elapsed() < Duration::from_secs(9), "sleep was waited for: {:?}", begin.elapsed());
    assert_eq!(stage.status(&guest), Status::Exited);
}

pub(crate) fn stop_leaves_alone_what_does_not_run_and_ends_what_is_paused(stage: &Stage) {
    let guest = stage.shared();
    accepted("pause", stage.driver.pause(&guest));
    stage.stop(&guest);
    assert_eq!(stage.status(&guest), Status::Exited);
    stage.stop(&guest);
    assert_eq!(stage.status(&guest), Status::Exited);
    stage.start(&guest);
    assert_eq!(stage.status(&guest), Status::Running);
}

pub(crate) fn pause_freezes_and_unpause_goes_on(stage: &Stage) {
    let guest = stage.running("while :; do echo tick; sleep 0.02; done");
    stage.until("it ticks", || stage.log(&guest).len() > 10);
    accepted("pause", stage.driver.pause(&guest));
    assert_eq!(stage.status(&guest), Status::Paused);
    stage.until("it is still", || {
        let length = stage.log(&guest).len();
        std::thread::sleep(Duration::from_millis(400));
        length == stage.log(&guest).len()
    });
    let length = stage.log(&guest).len();
    accepted("unpause", stage.driver.unpause(&guest));
    assert_eq!(stage.status(&guest), Status::Running);
    stage.until("it ticks again", || stage.log(&guest).len() > length);
}

pub(crate) fn a_paused_guest_cannot_be_asked(stage: &Stage) {
    let guest = stage.shared();
    accepted("pause", stage.driver.pause(&guest));
    let asked = stage.driver.execute_in_guest(&guest, &execution(&["true"], b""));
    refused("a command in a paused guest", asked, 716);
    refused("a file for a paused guest", stage.driver.put_file(&guest, &file("/x", 0o644, "x")), 716);
    assert_eq!(stage.status(&guest), Status::Paused);
}

pub(crate) fn destroy_without_force_spares_what_runs(stage: &Stage) {
    let guest = stage.shared();
    let run = stage.run_id(&guest);
    refused("destroy of a running guest", stage.driver.destroy(&guest, false), 706);
    assert_eq!(stage.status(&guest), Status::Running);
    assert_eq!(stage.run_id(&guest), run, "it was started anew");
    accepted("pause", stage.driver.pause(&guest));
    refused("destroy of a paused guest", stage.driver.destroy(&guest, false), 706);
    assert_eq!(stage.status(&guest), Status::Paused);
    stage.stop(&guest);
    accepted("destroy of a stopped guest", stage.driver.destroy(&guest, false));
    refused("what was destroyed", stage.driver.guest_status(&guest), 702);
}

pub(crate) fn destroy_with_force_takes_guest_and_layer(stage: &Stage) {
    let spec = stage.spec(&stage.idle_conf());
    for paused in [false, true] {
        let guest = stage.up(&spec);
        assert!(!stage.succeeds(&guest, "test -e /root/note"), "a new guest has the layer of the one before");
        assert!(stage.succeeds(&guest, "echo old > /root/note"));
        if paused {
            accepted("pause", stage.driver.pause(&guest));
        }
        accepted("destroy", stage.driver.destroy(&guest, true));
        refused("what was destroyed", stage.driver.guest_status(&guest), 702);
        refused("what was destroyed", stage.driver.get_id(&Guest::of(&spec)), 702);
        accepted("destroy once more", stage.driver.destroy(&guest, true));
        accepted("destroy once more", stage.driver.destroy(&guest, false));
    }
}

pub(crate) fn the_layer_is_kept_over_stop_start_and_restart(stage: &Stage) {
    let guest = stage.idle();
    restarts_keep_the_layer(stage, &guest);
    let prepared = Prepared { env: vec![("A".into(), "1".into())], ..Prepared::default() };
    accepted("restart", stage.driver.restart(&guest, &prepared));
    keeps_its_layer(stage, &guest, "a restart that was prepared otherwise");
    // Another guest of the image has none of it.
    let other = stage.idle();
    assert!(stage.succeeds(&other, "test -e /etc/group && test ! -e /root/note"), "the image was written");
}

/// Writes into a guest's layer, which must be there again after each way to start the guest anew.
pub(crate) fn restarts_keep_the_layer(stage: &Stage, guest: &Guest) {
    let write = "echo kept > /root/note; rm /etc/group; chmod 711 /srv 2>/dev/null; ln -s /x /y";
    assert!(stage.succeeds(guest, write));
    stage.stop(guest);
    stage.start(guest);
    keeps_its_layer(stage, guest, "stop and start");
    let run = stage.run_id(guest);
    accepted("restart", stage.driver.restart(guest, &Prepared::default()));
    assert_ne!(stage.run_id(guest), run, "restart did not start it anew");
    keeps_its_layer(stage, guest, "restart");
}

fn keeps_its_layer(stage: &Stage, guest: &Guest, after: &str) {
    let found = stage.says(guest, "cat /root/note; test -e /etc/group || echo gone; readlink /y");
    assert_eq!(found, "kept\ngone\n/x", "after {after}");
}

pub(crate) fn a_guest_that_ends_by_itself_has_exited(stage: &Stage) {
    let guest = stage.running("exit 3");
    stage.until("it has ended", || stage.status(&guest) == Status::Exited);
    has_ended(stage, &guest);
}

/// What of a guest that has ended is refused.
pub(crate) fn has_ended(stage: &Stage, guest: &Guest) {
    let driver = &stage.driver;
    assert_eq!(stage.run_id(guest), None);
    refused("execute_in_guest", driver.execute_in_guest(guest, &execution(&["true"], b"")), 716);
    refused("put_file", driver.put_file(guest, &file("/x", 0o644, "x")), 716);
    refused("counters", driver.counters(guest), 716);
    refused("get_ip", driver.get_ip(guest), 716);
    refused("pause", driver.pause(guest), 716);
    refused("unpause", driver.unpause(guest), 716);
}

pub(crate) fn a_run_has_an_id_of_its_own(stage: &Stage) {
    let guest = stage.up(&stage.spec(&format!("stop_timeout = 1\n{}", stage.idle_conf())));
    let mut runs = vec![stage.run_id(&guest).expect("a running guest has a run")];
    accepted("pause", stage.driver.pause(&guest));
    assert_eq!(stage.run_id(&guest).as_ref(), runs.last(), "a paused guest is in the same run");
    accepted("unpause", stage.driver.unpause(&guest));
    assert_eq!(stage.run_id(&guest).as_ref(), runs.last());
    accepted("restart", stage.driver.restart(&guest, &Prepared::default()));
    runs.push(stage.run_id(&guest).expect("a running guest has a run"));
    stage.stop(&guest);
    assert_eq!(stage.run_id(&guest), None, "a stopped guest is in no run");
    stage.start(&guest);
    runs.push(stage.run_id(&guest).expect("a running guest has a run"));
    stage.ground().kill(&guest);
    stage.until("it is seen to have ended", || stage.run_id(&guest).is_none());
    stage.start(&guest);
    runs.push(stage.run_id(&guest).expect("a running guest has a run"));
    let different: std::collections::BTreeSet<&String> = runs.iter().collect();
    assert_eq!(different.len(), 4, "two runs have one id: {runs:?}");
}
