use super::*;
use crate::error::VnfConfigurationError;
use crate::vnf::bed::{A, Bed, myself};

const EVERY_START: &str = "prepare start configure forward";
const DEPLOY: &str = "check deploy prepare start configure forward";

/// Runs `verb` in each state: the code that it answers, the steps that it takes, the state that it leads to.
#[track_caller]
fn row(verb: &str, cells: [(i32, &str, &str); 6]) {
    let states = ["undeployed", "created", "exited", "running", "paused", "dead"];
    for (state, (code, steps, after)) in states.into_iter().zip(cells) {
        let bed = Bed::new().be(state);
        let outcome = bed.act(verb);
        let answered = outcome.as_ref().map_or_else(NfioError::code, |()| 0);
        assert_eq!(
            (answered, bed.steps().as_str(), bed.status().as_str()),
            (code, steps, after),
            "{verb}, {state}"
        );
        match outcome {
            Ok(()) => assert_eq!(bed.last_error(), "", "{verb}, {state}"),
            Err(e) => {
                let told = bed.last_error();
                assert!(told.starts_with(&format!("code: {code}\nerror: {}\n", e.name())), "{told}");
                assert!(told.contains(&format!("operation: {verb}\n")), "{told}");
            }
        }
    }
}

#[test]
fn every_verb_does_in_every_state_what_the_table_says() {
    const THERE: i32 = 722;
    const DOWN: i32 = 716;
    const GONE: i32 = 702;
    let again = format!("stop {EVERY_START}");
    row(
        "activate",
        [
            (0, DEPLOY, "running"),
            (THERE, "", "created"),
            (THERE, "", "exited"),
            (THERE, "", "running"),
            (THERE, "", "paused"),
            (THERE, "", "dead"),
        ],
    );
    row(
        "start",
        [
            (GONE, "", "undeployed"),
            (0, EVERY_START, "running"),
            (0, EVERY_START, "running"),
            (0, "", "running"),
            (707, "", "paused"),
            (GONE, "", "dead"),
        ],
    );
    row(
        "stop",
        [
            (GONE, "", "undeployed"),
            (0, "", "created"),
            (0, "", "exited"),
            (0, "stop", "exited"),
            (0, "stop", "exited"),
            (GONE, "", "dead"),
        ],
    );
    row(
        "restart",
        [
            (GONE, "", "undeployed"),
            (0, EVERY_START, "running"),
            (0, EVERY_START, "running"),
            (0, &again, "running"),
            (0, &again, "running"),
            (GONE, "", "dead"),
        ],
    );
    row(
        "pause",
        [
            (GONE, "", "undeployed"),
            (DOWN, "", "created"),
            (DOWN, "", "exited"),
            (0, "pause", "paused"),
            (0, "", "paused"),
            (GONE, "", "dead"),
        ],
    );
    row(
        "unpause",
        [
            (GONE, "", "undeployed"),
            (DOWN, "", "created"),
            (DOWN, "", "exited"),
            (0, "", "running"),
            (0, "unpause", "running"),
            (GONE, "", "dead"),
        ],
    );
    row(
        "reload",
        [
            (GONE, "", "undeployed"),
            (DOWN, "", "created"),
            (DOWN, "", "exited"),
            (0, "configure", "running"),
            (DOWN, "", "paused"),
            (GONE, "", "dead"),
        ],
    );
    let removed = (0, "destroy", "undeployed");
    row("destroy", [(GONE, "", "undeployed"), removed, removed, removed, removed, removed]);
    row(
        "running",
        [
            (0, DEPLOY, "running"),
            (0, EVERY_START, "running"),
            (0, EVERY_START, "running"),
            (0, "", "running"),
            (0, "unpause", "running"),
            (GONE, "", "dead"),
        ],
    );
    row(
        "exited",
        [
            (0, "", "undeployed"),
            (0, "", "created"),
            (0, "", "exited"),
            (0, "stop", "exited"),
            (0, "stop", "exited"),
            (GONE, "", "dead"),
        ],
    );
    row("undeployed", [(0, "", "undeployed"), removed, removed, removed, removed, removed]);
    let forgotten = (0, "", "undeployed");
    row("forget", [(GONE, "", "undeployed"), forgotten, forgotten, forgotten, forgotten, forgotten]);
}

#[test]
fn what_forget_leaves_runs_on() {
    let bed = Bed::new().be("running");
    bed.act("forget").unwrap();
    assert_eq!(bed.shared.world().guests.len(), 1);
    assert!(!bed.private("record.toml").exists());
}

#[test]
fn what_is_wrong_in_the_files_is_told_before_anything_is_touched() {
    for (file, text, code) in [
        ("machine/vm.image", "", 713),
        ("machine/ip", " \n", 714),
        ("machine/ip", "a\nb\n", 720),
        ("machine/vm.vcpu", "many", 720),
        ("machine/vm.memory", "lots", 720),
        ("config/boot.conf", "frobnicate = 1", 720),
        ("config/boot.conf", "[[file]]\nsource = \"none\"\ntarget = \"/x\"\n", 720),
    ] {
        let bed = Bed::new();
        bed.write(file, text);
        assert_eq!((bed.code("activate"), bed.steps().as_str()), (code, ""), "{file}");
        assert!(!bed.private("record.toml").exists());
    }
    let bed = Bed::new();
    bed.fail("check", NfioError::configuration("boot.conf: pull"));
    assert_eq!((bed.code("activate"), bed.steps().as_str()), (720, "check"));
    assert!(!bed.private("record.toml").exists());
}

#[test]
fn whatever_step_of_activate_fails_is_rolled_back_and_a_deploy_error() {
    for (step, steps) in [
        // The driver itself leaves nothing of what it could not make.
        ("deploy", "check deploy"),
        ("prepare", "check deploy prepare destroy"),
        ("start", "check deploy prepare start destroy"),
        ("configure", "check deploy prepare start configure destroy"),
        ("forward", "check deploy prepare start configure forward destroy"),
    ] {
        let bed = Bed::new();
        bed.fail(step, NfioError::posix(libc::EIO, "no luck"));
        assert_eq!((bed.code("activate"), bed.steps().as_str()), (705, steps), "{step}");
        assert!(bed.last_error().ends_with("message: no luck\n"), "{}", bed.last_error());
        assert_eq!(bed.status(), "undeployed");
        assert!(bed.shared.world().guests.is_empty() && !bed.private("record.toml").exists(), "{step}");
    }
}

#[test]
fn a_refused_configuration_and_an_unreachable_host_keep_their_class() {
    let bed = Bed::new();
    bed.fail("configure", NfioError::configuration("line 3"));
    assert_eq!((bed.code("activate"), bed.status().as_str()), (720, "undeployed"));
    bed.shared.world().failing.clear();
    bed.fail("deploy", HypervisorError::Connection("nobody there".into()));
    assert_eq!((bed.code("activate"), bed.status().as_str()), (701, "undeployed"));
}

#[test]
fn a_link_in_place_of_nf_conf_is_a_wrong_configuration() {
    let bed = Bed::new();
    std::fs::remove_file(bed.path("config/nf_conf")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", bed.path("config/nf_conf")).unwrap();
    let error = bed.act("activate").unwrap_err();
    assert_eq!((error.code(), error.errno()), (720, libc::EINVAL), "{error}");
    assert_eq!(bed.status(), "undeployed");
}

#[test]
fn a_roll_back_that_fails_keeps_the_record_and_says_so() {
    let bed = Bed::new();
    bed.fail("start", NfioError::posix(libc::EIO, "no luck"));
    bed.fail("destroy", NfioError::posix(libc::EIO, "stuck"));
    let error = bed.act("activate").unwrap_err();
    assert_eq!((error.code(), error.errno()), (712, libc::ENOTRECOVERABLE));
    assert!(error.to_string().contains("no luck") && error.to_string().contains("stuck"), "{error}");
    assert!(bed.private("record.toml").exists());
    assert_eq!(bed.status(), "created");
    bed.shared.world().failing.clear();
    bed.act("destroy").unwrap();
    assert_eq!(bed.status(), "undeployed");
}

#[test]
fn a_guest_that_ends_by_the_end_of_configure_is_no_deployed_one_and_its_last_words_are_told() {
    let bed = Bed::new();
    bed.shared.world().short_lived = true;
    assert_eq!((bed.code("activate"), bed.status().as_str()), (705, "undeployed"));
    // What the guest prints, the driver appends.
    let bed = Bed::new();
    bed.shared.world().short_lived = true;
    bed.fail("configure", NfioError::command("nobody answers"));
    std::fs::write(bed.private("log"), "old").unwrap();
    assert_eq!(bed.code("activate"), 705);
    let told = bed.last_error();
    assert!(told.contains("nobody answers; the guest has ended; the last it said: nothing"), "{told}");
}

#[test]
fn only_a_guest_that_has_ended_is_said_to_have() {
    let bed = Bed::new();
    bed.fail("configure", NfioError::command("odd"));
    bed.act("activate").unwrap_err();
    assert!(!bed.last_error().contains("has ended"));
    let bed = Bed::new().be("created");
    bed.fail("configure", NfioError::command("odd"));
    let guest = bed.instance().record().unwrap().guest;
    bed.fail("guest_status", HypervisorError::Connection("no answer".into()));
    let error = bed.vnfs.with_last_words(&bed.instance(), &guest, NfioError::command("odd"));
    assert_eq!(error.to_string(), "odd");
}

#[test]
fn start_and_restart_stop_a_guest_again_whose_configure_fails() {
    for (verb, state, code, steps) in [
        ("start", "exited", 707, "prepare start configure stop"),
        ("restart", "running", 708, "stop prepare start configure stop"),
        ("running", "created", 707, "prepare start configure stop"),
    ] {
        let bed = Bed::new().be(state);
        bed.fail("configure", NfioError::command("nft says no"));
        assert_eq!((bed.code(verb), bed.steps().as_str()), (code, steps), "{verb}");
        assert_eq!(bed.status(), "exited", "{verb}");
    }
}

#[test]
fn a_guest_that_cannot_be_stopped_again_is_told_with_both_reasons() {
    let bed = Bed::new().be("exited");
    bed.fail("configure", NfioError::configuration("line 3"));
    bed.fail("stop", NfioError::posix(libc::EIO, "stuck"));
    let error = bed.act("start").unwrap_err();
    assert_eq!(error.code(), 707);
    assert!(error.to_string().contains("line 3") && error.to_string().contains("stuck"), "{error}");
}

#[test]
fn a_failing_reload_leaves_the_guest_running() {
    let bed = Bed::new().be("running");
    bed.fail("configure", NfioError::configuration("line 3"));
    assert_eq!(
        (bed.code("reload"), bed.steps().as_str(), bed.status().as_str()),
        (720, "configure", "running")
    );
}

#[test]
fn each_verb_gives_the_drivers_failure_its_own_class() {
    for (verb, state, step, code) in [
        ("start", "exited", "start", 707),
        ("restart", "running", "stop", 708),
        ("restart", "exited", "start", 708),
        ("stop", "running", "stop", 709),
        ("pause", "running", "pause", 710),
        ("unpause", "paused", "unpause", 711),
        ("destroy", "running", "destroy", 706),
        ("undeployed", "running", "destroy", 706),
        ("exited", "running", "stop", 709),
        ("running", "paused", "unpause", 711),
    ] {
        let bed = Bed::new().be(state);
        bed.fail(step, NfioError::posix(libc::EIO, "no luck"));
        assert_eq!(bed.code(verb), code, "{verb}, {state}");
    }
}

#[test]
fn destroy_asks_for_no_state() {
    let bed = Bed::new().be("running");
    bed.fail("guest_status", NfioError::posix(libc::EIO, "unreadable"));
    bed.act("stop").unwrap_err();
    bed.act("destroy").unwrap();
    assert_eq!(bed.status(), "undeployed");
}

#[test]
fn a_restart_wants_the_guest_running_all_the_while() {
    let bed = Bed::new().be("running");
    bed.fail("stop", NfioError::posix(libc::EIO, "nfio ends here"));
    bed.act("restart").unwrap_err();
    assert_eq!(bed.instance().record().unwrap().wanted, Wanted::Running);
    bed.shared.world().failing.clear();
    bed.act("stop").unwrap();
    assert_eq!(bed.instance().record().unwrap().wanted, Wanted::Exited);
    bed.act("start").unwrap();
    assert_eq!(bed.instance().record().unwrap().wanted, Wanted::Running);
}

#[test]
fn a_success_empties_last_error_and_what_says_nothing_does_not() {
    use crate::fs::operations::Operations;
    let bed = Bed::new().be("running");
    bed.act("activate").unwrap_err();
    let write = |file: &str, data: &[u8]| {
        let file = bed.vnfs.special("box", file).unwrap();
        bed.vnfs.write(A, &file, data, myself())
    };
    for file in ["action", "command", "do"] {
        assert_eq!(write(file, b"# a copy of it\n\n").count.unwrap(), 16, "{file}");
    }
    assert!(bed.last_error().contains("code: 722"));
    let written = write("command", b"date +%s\n");
    assert_eq!(written.answer.unwrap(), b"sh -c date +%s");
    assert_eq!(bed.last_error(), "");
    assert_eq!(write("action", b"frobnicate\n").count.unwrap_err().code(), 721);
    assert!(bed.last_error().contains("operation: action\n"));
    // A read of a module that asks for what it may not: refused, and no business of last_error's.
    let seen = bed.vnfs.special("box", "stats/seen").unwrap();
    assert_eq!(bed.vnfs.read(A, &seen).unwrap_err().errno(), libc::EPERM);
    assert!(bed.last_error().contains("code: 721"));
    let bed = bed.mount_again(false);
    assert!(bed.last_error().contains("code: 721"), "it survives a remount");
}

#[test]
fn a_modules_verb_has_the_turn_and_does_what_verbs_do() {
    use crate::fs::operations::Operations;
    let bed = Bed::new();
    let file = bed.vnfs.special("box", "do").unwrap();
    let write = |data: &[u8]| bed.vnfs.write(A, &file, data, myself()).count;
    write(b"deploy").unwrap();
    assert_eq!((bed.steps().as_str(), bed.status().as_str()), (DEPLOY, "running"));
    assert_eq!(write(b"destroy").unwrap_err().code(), 706, "without force");
    assert!(bed.last_error().contains("operation: do\n"), "{}", bed.last_error());
    assert_eq!(bed.status(), "running");
    bed.act("stop").unwrap();
    write(b"destroy").unwrap();
    assert_eq!((bed.status().as_str(), bed.last_error().as_str()), ("undeployed", ""));
}

#[test]
fn without_its_module_a_guest_can_be_got_rid_of_and_nothing_else() {
    for verb in Verb::ALL.map(Verb::word) {
        let bed = Bed::new().be("running").mount_again(true);
        let expected = match verb {
            "stop" | "destroy" | "forget" | "exited" | "undeployed" => 0,
            _ => 724,
        };
        assert_eq!(bed.code(verb), expected, "{verb}");
    }
}

#[test]
fn what_prepare_asks_for_is_in_the_start_and_the_record_is_there_before_the_driver_is_called() {
    let bed = Bed::new();
    bed.write("config/nf_conf", "rules\n");
    let left = HypervisorError::InconsistentState("nfio ends here".into());
    bed.fail("deploy", left);
    assert_eq!(bed.code("activate"), 712);
    assert!(bed.private("record.toml").exists());
    bed.shared.world().failing.clear();
    let bed = bed.mount_again(false);
    // What never came to be is undeployed, and only what removes it or deploys anew takes notice of its record.
    assert_eq!(bed.status(), "undeployed");
    assert_eq!((bed.code("start"), bed.code("exited")), (702, 0));
    bed.steps();
    bed.act("running").unwrap();
    assert_eq!(bed.steps(), format!("destroy {DEPLOY}"));
    assert_eq!(bed.shared.world().prepared.files[0].data, b"rules\n");
}

#[test]
fn a_mount_learns_the_id_that_a_crash_kept_from_the_record() {
    let bed = Bed::new().be("running");
    let mut record = bed.instance().record().unwrap();
    record.guest.id = String::new();
    bed.instance().set_record(record).unwrap();
    let bed = bed.mount_again(false);
    let guest = bed.instance().record().unwrap().guest;
    assert_eq!(guest.id, format!("engine-{}", guest.labels.id));
}

#[test]
fn the_guest_of_another_driver_is_left_alone() {
    let bed = Bed::new().be("running");
    let record = bed.instance().record().unwrap();
    bed.instance().set_record(Record { driver: "Other".into(), ..record }).unwrap();
    let bed = bed.mount_again(false);
    let error = bed.act("destroy").unwrap_err();
    assert_eq!(error.code(), 701);
    assert!(error.to_string().contains("--hypervisor Other"), "{error}");
    assert!(bed.private("record.toml").exists());
    bed.act("forget").unwrap();
}

#[test]
fn verbs_of_one_instance_wait_for_one_another_and_those_of_others_do_not() {
    let bed = Bed::new();
    let b = crate::tree::Instance { name: "b", ..A };
    bed.vnfs.create(b, 0o755, myself()).unwrap();
    let a = bed.instance();
    let turn = a.busy().unwrap();
    assert_eq!(a.try_busy().err().unwrap().code(), 725);
    // Would never come back if it waited for the other's turn.
    assert_eq!(bed.vnfs.vnfs_deploy_nf(&b.path()).unwrap_err().code(), 713);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| bed.act("activate"));
        std::thread::yield_now();
        assert_eq!(bed.status(), "undeployed");
        drop(turn);
        waiting.join().unwrap().unwrap();
    });
    assert_eq!(bed.status(), "running");
}

#[test]
fn an_image_that_is_empty_is_told_by_its_class() {
    let bed = Bed::new();
    bed.write("machine/vm.image", "");
    let error = bed.act("activate").unwrap_err();
    assert!(matches!(error, NfioError::Configuration(VnfConfigurationError::ImageNameIsEmpty(_))));
    let told = bed.last_error();
    assert!(told.starts_with(
        "code: 713\nerror: VNFImageNameIsEmptyError\nerrno: EINVAL\noperation: activate\ntime: "
    ));
}
