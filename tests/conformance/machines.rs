//! The form that some promises have for virtual machines: they boot an image of their own, so what only a container has
//! is refused by its key, and what a container's first process would do is done in the booted guest.

use nfio_host::hypervisor::{Guest, GuestSpec, Prepared, Status};
use std::fs;
use std::time::{Duration, Instant};

use crate::promises::{ALL, heard, living};
use crate::stage::{Stage, accepted, file, refused};

/// The form of a promise for virtual machines; None: it is the same.
pub(crate) fn form(promise: &str) -> Option<fn(&Stage)> {
    FORMS.iter().find(|(name, _)| *name == promise).map(|(_, form)| *form)
}

macro_rules! forms {
    ($($name:ident)*) => {
        const FORMS: &[(&str, fn(&Stage))] = &[$((stringify!($name), $name)),*];
    };
}

forms! {
    the_first_process_gets_what_boot_conf_says
    the_entrypoint_gets_the_command_as_its_arguments
    files_are_there_before_the_first_process
    boot_confs_files_are_written_before_each_start
    each_start_gets_what_it_was_prepared_with
    boot_confs_command_wins_and_the_types_variables_do
    a_program_that_cannot_be_started_is_named
    stop_asks_first
    a_guest_that_does_not_heed_is_killed_at_its_timeout
    a_first_process_that_knows_no_signals_does_not_take_the_timeout
    pause_freezes_and_unpause_goes_on
    the_layer_is_kept_over_stop_start_and_restart
    a_guest_that_ends_by_itself_has_exited
    commands_run_as_root_in_the_guests_environment
    capabilities_are_the_default_with_what_is_added_and_without_what_is_dropped
    no_process_gets_new_privileges_and_system_calls_are_filtered
    the_hosts_kernel_is_out_of_reach
    limits_of_memory_and_processes_hold
    a_share_of_a_cpu_is_no_more
    what_a_guest_says_is_in_its_log
    the_log_of_a_guest_that_ended_is_complete
    a_log_is_capped_and_keeps_the_end
    output_goes_where_the_start_says
    a_new_driver_takes_guests_up_as_they_are
}

/// Fails where a form is that of no promise.
pub(crate) fn judge_names() {
    for (name, _) in FORMS {
        assert!(ALL.iter().any(|promise| promise.name == *name), "no promise is called {name}");
    }
}

/// A key of boot.conf that a virtual machine has no use for is refused by its name, and nothing is made.
#[track_caller]
fn refused_by_key(stage: &Stage, conf: &str, key: &str) {
    let spec = stage.spec(conf);
    let told = refused(conf, stage.driver.check(&spec), 720).to_string();
    assert!(told.contains(key), "the refusal of {conf:?} does not name {key}: {told}");
    refused(conf, stage.driver.deploy(&spec), 720);
    refused("what was refused", stage.driver.get_id(&Guest::of(&spec)), 702);
}

fn the_first_process_gets_what_boot_conf_says(stage: &Stage) {
    refused_by_key(stage, "[env]\nCOLOUR = \"red\"", "env");
    refused_by_key(stage, "user = \"1000:1001\"", "user");
    refused_by_key(stage, "dns = [\"192.0.2.53\"]", "dns");
    let guest = stage.up(&stage.spec("hostname = \"wall\""));
    assert_eq!(stage.says(&guest, "hostname"), "wall");
    let plain = stage.shared();
    assert_eq!(stage.says(&plain, "hostname"), plain.labels.instance, "the default");
}

fn the_entrypoint_gets_the_command_as_its_arguments(stage: &Stage) {
    refused_by_key(stage, "command = [\"true\"]", "command");
    refused_by_key(stage, "entrypoint = [\"true\"]", "entrypoint");
}

/// The first process is the guest's own and runs before; they are there when start answers, before anything is asked.
fn files_are_there_before_the_first_process(stage: &Stage) {
    let spec = GuestSpec {
        files: vec![file("/etc/app/boot", 0o640, "boot\n"), file("/etc/app/both", 0o644, "boot\n")],
        ..stage.spec("")
    };
    let guest = stage.deployed(&spec);
    let files = vec![file("/etc/app/both", 0o644, "type\n"), file("/srv/a/b/type", 0o644, "own\n")];
    accepted("start", stage.driver.start(&guest, &Prepared { files, ..Prepared::default() }));
    let found = stage.says(&guest, "cat /etc/app/boot /etc/app/both /srv/a/b/type; stat -c %a /etc/app/boot");
    assert_eq!(found, "boot\ntype\nown\n640", "boot.conf's files, then the type's over them");
}

fn boot_confs_files_are_written_before_each_start(stage: &Stage) {
    let spec = GuestSpec { files: vec![file("/etc/app/boot", 0o640, "boot\n")], ..stage.spec("") };
    let guest = stage.up(&spec);
    assert_eq!(stage.says(&guest, "cat /etc/app/boot; echo spoilt > /etc/app/boot"), "boot");
    accepted("restart", stage.driver.restart(&guest, &Prepared::default()));
    assert_eq!(stage.says(&guest, "cat /etc/app/boot"), "boot", "what the guest wrote outlived a start");
}

/// Files are; a command or variables would be lost, so such a start is refused in words.
fn each_start_gets_what_it_was_prepared_with(stage: &Stage) {
    let guest = stage.deployed(&stage.spec("stop_timeout = 1"));
    let (env, command) = (vec![("A".into(), "1".into())], Some(vec!["true".into()]));
    for prepared in [Prepared { env, ..Prepared::default() }, Prepared { command, ..Prepared::default() }] {
        let told = refused("a start with it", stage.driver.start(&guest, &prepared), 707).to_string();
        assert!(told.contains("environment") && told.contains("command"), "{told}");
        assert_eq!(stage.status(&guest), Status::Created);
    }
    // What its own kernel has not, nobody gives it.
    let needs = |device: &str| {
        let mut spec = stage.spec("stop_timeout = 1");
        spec.needs.devices.push(device.to_owned());
        stage.driver.start(&stage.deployed(&spec), &Prepared::default())
    };
    accepted("a start with a device", needs("/dev/vda"));
    let told = refused("a start with a device", needs("/dev/no-such-device"), 707).to_string();
    assert!(told.contains("/dev/no-such-device"), "{told}");
    for word in ["one", "two"] {
        let files = vec![file("/etc/word", 0o644, word)];
        accepted("start", stage.driver.start(&guest, &Prepared { files, ..Prepared::default() }));
        assert_eq!(stage.says(&guest, "cat /etc/word"), word);
        stage.stop(&guest);
        assert_eq!(stage.status(&guest), Status::Exited);
    }
}

fn boot_confs_command_wins_and_the_types_variables_do(stage: &Stage) {
    refused_by_key(stage, "command = [\"true\"]\n[env]\nA = \"boot\"", "command");
}

/// What a machine starts is a kernel.
fn a_program_that_cannot_be_started_is_named(stage: &Stage) {
    let spec = stage.spec("[vm]\nkernel = \"no-such-kernel\"");
    let told = refused("deploy", stage.driver.deploy(&spec), 705).to_string();
    assert!(told.contains("no-such-kernel"), "{told}");
    refused("what a failed deploy left", stage.driver.get_id(&Guest::of(&spec)), 702);
}

fn log_without_returns(stage: &Stage, guest: &Guest) -> String {
    stage.log(guest).replace('\r', "")
}

fn stop_asks_first(stage: &Stage) {
    let guest = stage.idle();
    assert_eq!(stage.says(&guest, "echo up"), "up");
    stage.stop(&guest);
    assert_eq!(stage.status(&guest), Status::Exited);
    let log = log_without_returns(stage, &guest);
    assert!(log.contains("asked to end\n"), "it was not asked: {log:?}");
}

/// A kernel without a first process stands still.
fn a_guest_that_does_not_heed_is_killed_at_its_timeout(stage: &Stage) {
    let conf = "stop_timeout = 2\n[vm]\ncmdline = \"console=ttyS0 rdinit=/no/such/program panic=0\"";
    let guest = stage.up(&stage.spec(conf));
    stage.until("the kernel has given up", || stage.log(&guest).contains("Kernel panic"));
    let begin = Instant::now();
    stage.stop(&guest);
    let took = begin.elapsed();
    assert_eq!(stage.status(&guest), Status::Exited);
    let (least, most) = (Duration::from_millis(1900), Duration::from_secs(9));
    assert!(took >= least && took < most, "stop_timeout is 2 s, it took {took:?}");
}

/// A guest whose agent is deaf still has its power button, and one that boots hears it once it can.
fn a_first_process_that_knows_no_signals_does_not_take_the_timeout(stage: &Stage) {
    let guest = stage.up(&stage.spec("stop_timeout = 60"));
    stage.stop(&guest);
    assert_eq!(stage.status(&guest), Status::Exited);
    assert!(
        log_without_returns(stage, &guest).contains("asked to end\n"),
        "a guest that boots was not asked"
    );
    let guest = stage.up(&stage.spec("stop_timeout = 60"));
    stage.until("it is up", || stage.log(&guest).contains(" is up"));
    let script = "(sleep 1; kill -STOP $(pidof qemu-ga); echo the agent is deaf > /dev/console) > /dev/null 2>&1 & echo soon";
    assert_eq!(stage.says(&guest, script), "soon");
    // It is not asked whether it is: libvirt would wait for the answer.
    stage.until("it is deaf", || stage.log(&guest).contains("the agent is deaf"));
    let begin = Instant::now();
    stage.stop(&guest);
    assert!(begin.elapsed() < Duration::from_secs(50), "it took {:?}", begin.elapsed());
    assert!(
        log_without_returns(stage, &guest).contains("asked to end\n"),
        "its power button was not pressed"
    );
}

fn pause_freezes_and_unpause_goes_on(stage: &Stage) {
    let guest = stage.shared();
    let address = stage.address(&guest);
    let answers = || {
        let mut ping = stage.ground().near("ping");
        ping.args(["-c", "1", "-W", "1", &address]).output().expect("ping").status.success()
    };
    stage.until("it answers", answers);
    accepted("pause", stage.driver.pause(&guest));
    assert_eq!(stage.status(&guest), Status::Paused);
    assert!(!answers() && !answers(), "a paused guest answers");
    accepted("unpause", stage.driver.unpause(&guest));
    assert_eq!(stage.status(&guest), Status::Running);
    stage.until("it answers again", answers);
}

fn the_layer_is_kept_over_stop_start_and_restart(stage: &Stage) {
    let guest = stage.idle();
    living::restarts_keep_the_layer(stage, &guest);
    let other = stage.shared();
    assert!(stage.succeeds(&other, "test -e /etc/group && test ! -e /root/note"), "the image was written");
}

fn a_guest_that_ends_by_itself_has_exited(stage: &Stage) {
    let guest = stage.shared();
    assert_eq!(stage.says(&guest, "(sleep 1; poweroff -f) > /dev/null 2>&1 & echo soon"), "soon");
    stage.until("it has ended", || stage.status(&guest) == Status::Exited);
    living::has_ended(stage, &guest);
}

fn commands_run_as_root_in_the_guests_environment(stage: &Stage) {
    let guest = stage.shared();
    let found = stage.says(&guest, "id -u; id -g; pwd; hostname; command -v nft");
    assert_eq!(found, format!("0\n0\n/\n{}\n/usr/sbin/nft", guest.labels.instance));
}

fn capabilities_are_the_default_with_what_is_added_and_without_what_is_dropped(stage: &Stage) {
    refused_by_key(stage, "[capabilities]\nadd = [\"SYS_NICE\"]", "capabilities");
    refused_by_key(stage, "[capabilities]\ndrop = [\"NET_RAW\"]", "capabilities");
}

fn no_process_gets_new_privileges_and_system_calls_are_filtered(stage: &Stage) {
    refused_by_key(stage, "privileged = true", "privileged");
}

/// It has a kernel of its own, and may all with it.
fn the_hosts_kernel_is_out_of_reach(stage: &Stage) {
    let guest = stage.shared();
    let boot = "/proc/sys/kernel/random/boot_id";
    let ours = fs::read_to_string(boot).expect("this machine's boot");
    assert_ne!(stage.says(&guest, &format!("cat {boot}")), ours.trim(), "it is this machine's kernel");
    for script in [
        "cat /proc/sys/kernel/panic > /proc/sys/kernel/panic",
        "nft add table inet t && nft add chain inet t c '{ type filter hook input priority 0; }' && nft delete table inet t",
        "ping -c 1 127.0.0.1",
    ] {
        assert!(stage.succeeds(&guest, script), "{script} failed");
    }
}

fn limits_of_memory_and_processes_hold(stage: &Stage) {
    let guest = stage.shared();
    let memory = stage.says(&guest, "sed -n 's/^MemTotal: *\\([0-9]*\\) kB/\\1/p' /proc/meminfo");
    let kilobytes: u64 = memory.parse().unwrap_or_else(|e| panic!("{memory:?}: {e}"));
    let most = stage.facts.memory.expect("the memory of guests") / 1024;
    assert!(kilobytes <= most && kilobytes > most / 2, "{kilobytes} kB, where {most} are its memory");
}

/// As the daemon holds it: the test bed's has no control groups to hold a guest to it.
fn a_share_of_a_cpu_is_no_more(stage: &Stage) {
    let half = stage.deployed(&GuestSpec { vcpu: Some(1.5), ..stage.spec("") });
    let told = stage.ground().definition(&half);
    assert!(told.contains(">2</vcpu>") && told.contains("<quota>75000</quota>"), "{told}");
    let whole = stage.deployed(&GuestSpec { vcpu: Some(2.0), ..stage.spec("") });
    let told = stage.ground().definition(&whole);
    assert!(told.contains(">2</vcpu>") && !told.contains("<quota>"), "{told}");
    stage.start(&whole);
    assert_eq!(stage.says(&whole, "grep -c ^processor /proc/cpuinfo"), "2");
}

fn what_a_guest_says_is_in_its_log(stage: &Stage) {
    let guest = stage.idle();
    let line = format!("{} is up\n", guest.labels.instance);
    let times = || log_without_returns(stage, &guest).matches(&line).count();
    stage.until("its console is in the log", || times() == 1);
    accepted("restart", stage.driver.restart(&guest, &Prepared::default()));
    stage.until("a restart goes on in the same log, without saying anything twice", || times() == 2);
}

fn the_log_of_a_guest_that_ended_is_complete(stage: &Stage) {
    let guest = stage.idle();
    let script = "(sleep 1; dmesg -n 1; { seq 1 3000; echo the last words; } > /dev/console; poweroff -f) > /dev/null 2>&1 & echo soon";
    assert_eq!(stage.says(&guest, script), "soon");
    stage.until("it has ended", || stage.status(&guest) == Status::Exited);
    stage.driver.settle_log(&guest);
    let expected: String =
        (1..=3000).map(|n| format!("{n}\n")).chain(["the last words\n".to_owned()]).collect();
    let log = log_without_returns(stage, &guest);
    assert!(log.contains(&expected), "{} bytes, which hold not all of {}", log.len(), expected.len());
}

fn a_log_is_capped_and_keeps_the_end(stage: &Stage) {
    const CAP: u64 = 4 << 20;
    let guest = stage.idle();
    let script = "(yes $(seq 100) | head -c 5000000; echo; echo the end) > /dev/console 2>&1 & echo soon";
    assert_eq!(stage.says(&guest, script), "soon");
    let mut most = 0;
    stage.until("its end is in the log", || {
        most = most.max(fs::metadata(stage.log_of(&guest)).expect("the log").len());
        log_without_returns(stage, &guest).ends_with("the end\n")
    });
    assert!(most <= CAP, "the log had {most} bytes");
    stage.until("its oldest half is gone", || stage.log(&guest).len() < 3 << 20);
    assert!(log_without_returns(stage, &guest).ends_with("the end\n"), "the end of the log is lost");
}

fn output_goes_where_the_start_says(stage: &Stage) {
    let guest = stage.deployed(&stage.spec(""));
    let moved = stage.directory().join("moved & <gone>.log");
    fs::write(&moved, "").expect("a log");
    let prepared = Prepared { log: Some(moved.clone()), ..Prepared::default() };
    accepted("start", stage.driver.start(&guest, &prepared));
    stage.until("its output is where the start said", || {
        fs::read_to_string(&moved).expect("the log").contains(" is up")
    });
    assert_eq!(stage.log(&guest), "", "it is where deploy said, too");
}

fn a_new_driver_takes_guests_up_as_they_are(stage: &Stage) {
    let (running, paused) = (stage.idle(), stage.up(&stage.spec("stop_timeout = 1")));
    let (ended, created) = (stage.up(&stage.spec("")), stage.deployed(&stage.spec("")));
    stage.ground().kill(&ended);
    stage.until("it has ended", || stage.status(&ended) == Status::Exited);
    heard::take_up(stage, [&running, &paused, &ended, &created], || {
        stage.until("its output goes on", || stage.log(&running).contains(" is up"));
    });
}
