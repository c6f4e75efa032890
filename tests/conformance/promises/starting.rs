//! What a guest is started with.

use nfio_host::hypervisor::{GuestSpec, Prepared, Status};

use crate::stage::{Stage, accepted, command, file, refused};

/// What a guest's first process wrote down.
fn seen(stage: &Stage, guest: &nfio_host::hypervisor::Guest) -> String {
    stage.until("the guest has written down what it sees", || stage.succeeds(guest, "test -e /tmp/done"));
    stage.says(guest, "cat /tmp/seen")
}

const THEN: &str = "> /tmp/seen; touch /tmp/done; exec sleep 1000";

pub(crate) fn the_first_process_gets_what_boot_conf_says(stage: &Stage) {
    let conf = "user = \"1000:1001\"\nhostname = \"wall\"\ndns = [\"192.0.2.53\"]\n[env]\nCOLOUR = \"deep red\"\nEMPTY = \"\"\n";
    let script = format!(
        "{{ echo \"$COLOUR,${{EMPTY-unset}}\"; id -u; id -g; hostname; grep -c 192.0.2.53 /etc/resolv.conf; }} {THEN}"
    );
    let guest = stage.up(&stage.spec(&format!("{}{conf}", command(&script))));
    assert_eq!(seen(stage, &guest), "deep red,\n1000\n1001\nwall\n1");
    let plain = stage.spec(&command(&format!("{{ id -u; id -g; hostname; }} {THEN}")));
    let guest = stage.up(&plain);
    assert_eq!(seen(stage, &guest), format!("0\n0\n{}", plain.labels.instance), "the defaults");
}

pub(crate) fn the_entrypoint_gets_the_command_as_its_arguments(stage: &Stage) {
    let script = format!("printf '<%s>' \"$0\" \"$@\" {THEN}");
    let conf =
        format!("entrypoint = [\"sh\", \"-c\", {script:?}]\ncommand = [\"a b\", \"\", \"c'd\", \"$e\"]");
    let guest = stage.up(&stage.spec(&conf));
    assert_eq!(seen(stage, &guest), "<a b><><c'd><$e>");
}

pub(crate) fn files_are_there_before_the_first_process(stage: &Stage) {
    let script =
        format!("{{ cat /etc/app/boot /etc/app/both /srv/a/b/type; stat -c %a /etc/app/boot; }} {THEN}");
    let spec = GuestSpec {
        files: vec![file("/etc/app/boot", 0o640, "boot\n"), file("/etc/app/both", 0o644, "boot\n")],
        ..stage.spec(&command(&script))
    };
    let guest = stage.deployed(&spec);
    let files = vec![file("/etc/app/both", 0o644, "type\n"), file("/srv/a/b/type", 0o644, "own\n")];
    accepted("start", stage.driver.start(&guest, &Prepared { files, ..Prepared::default() }));
    assert_eq!(seen(stage, &guest), "boot\ntype\nown\n640", "boot.conf's files, then the type's over them");
}

pub(crate) fn boot_confs_files_are_written_before_each_start(stage: &Stage) {
    let spec = GuestSpec {
        files: vec![file("/etc/app/boot", 0o640, "boot\n")],
        ..stage.spec(&command("cat /etc/app/boot >> /tmp/seen; touch /tmp/done; exec sleep 1000"))
    };
    let guest = stage.up(&spec);
    assert_eq!(seen(stage, &guest), "boot");
    assert!(stage.succeeds(&guest, "echo spoilt > /etc/app/boot; rm /tmp/done"));
    accepted("restart", stage.driver.restart(&guest, &Prepared::default()));
    assert_eq!(
        seen(stage, &guest),
        "boot\nboot",
        "what the guest wrote into a file of boot.conf outlived a start"
    );
}

pub(crate) fn each_start_gets_what_it_was_prepared_with(stage: &Stage) {
    let guest = stage.deployed(&stage.spec(""));
    let prepared = |word: &str| Prepared {
        env: vec![("WORD".into(), word.into())],
        command: Some(
            [
                "sh",
                "-c",
                &format!("echo {word} $WORD $(cat /etc/word) >> /tmp/seen; touch /tmp/done; exec sleep 1000"),
            ]
            .map(String::from)
            .into(),
        ),
        files: vec![file("/etc/word", 0o644, word)],
        ..Prepared::default()
    };
    let mut expected = String::new();
    for word in ["one", "two", "three"] {
        accepted("start", stage.driver.start(&guest, &prepared(word)));
        assert_eq!(stage.status(&guest), Status::Running);
        expected += &format!("{word} {word} {word}\n");
        assert_eq!(seen(stage, &guest), expected.trim_end());
        assert!(stage.succeeds(&guest, "rm /tmp/done"));
        stage.stop(&guest);
        assert_eq!(stage.status(&guest), Status::Exited);
    }
}

pub(crate) fn boot_confs_command_wins_and_the_types_variables_do(stage: &Stage) {
    let conf = format!("{}[env]\nA = \"boot\"\nB = \"boot\"\n", command(&format!("echo boot $A $B {THEN}")));
    let guest = stage.deployed(&stage.spec(&conf));
    let prepared = Prepared {
        env: vec![("A".into(), "type".into())],
        command: Some(["sh", "-c", &format!("echo type $A $B {THEN}")].map(String::from).into()),
        ..Prepared::default()
    };
    accepted("start", stage.driver.start(&guest, &prepared));
    assert_eq!(seen(stage, &guest), "boot type boot");
}

pub(crate) fn a_program_that_cannot_be_started_is_named(stage: &Stage) {
    let guest = stage.deployed(&stage.spec("command = [\"/no/such/program\"]"));
    match stage.driver.start(&guest, &Prepared::default()) {
        // The driver sees it, or the guest's own first process does and says so.
        Err(e) => assert!(e.code() == 707 && e.to_string().contains("/no/such/program"), "{}: {e}", e.code()),
        Ok(()) => {
            stage.until("it has ended", || stage.status(&guest) == Status::Exited);
            stage.driver.settle_log(&guest);
            let log = stage.log(&guest);
            assert!(
                log.contains("/no/such/program"),
                "the program is named neither by start nor in the log: {log}"
            );
        }
    }
    assert_ne!(stage.status(&guest), Status::Running);
    accepted("destroy without force", stage.driver.destroy(&guest, false));
}

pub(crate) fn starting_a_running_guest_changes_nothing_and_a_paused_one_is_refused(stage: &Stage) {
    let guest = stage.shared();
    let run = stage.run_id(&guest);
    stage.start(&guest);
    assert_eq!(stage.run_id(&guest), run, "it was started anew");
    accepted("pause", stage.driver.pause(&guest));
    refused("start of a paused guest", stage.driver.start(&guest, &Prepared::default()), 707);
    assert_eq!(stage.status(&guest), Status::Paused);
}
