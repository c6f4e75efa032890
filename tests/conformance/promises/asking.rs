//! Commands in a guest, and files for it.

use std::fs;

use crate::stage::{Stage, accepted, execution, file, refused};

/// The most that is kept of either stream, and that a command is given to read, in bytes.
const LIMIT: usize = 2 << 20;

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn a_command_gets_its_words_as_they_are(stage: &Stage) {
    let guest = stage.shared();
    let words = ["a b", "", "c\"d'e", "f\ng", "$HOME", "*", "-n", "`id`", "ä\\n", ";", "  "];
    let argv: Vec<&str> = ["printf", "<%s>"].into_iter().chain(words).collect();
    let expected: String = words.iter().map(|word| format!("<{word}>")).collect();
    assert_eq!(text(&stage.run(&guest, &argv, b"").stdout), expected);
    for argv in [&[][..], &[""], &["echo", "a\0b"]] {
        refused(
            "a command that exec cannot carry",
            stage.driver.execute_in_guest(&guest, &execution(argv, b"")),
            720,
        );
    }
}

pub(crate) fn a_command_reads_its_input_to_the_end(stage: &Stage) {
    let guest = stage.shared();
    // More than pipes hold, both ways at once; no period that a lost block could hide in.
    let big: Vec<u8> =
        (0..LIMIT as u64).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    let echoed = stage.run(&guest, &["cat"], &big);
    assert!(echoed.stdout == big, "of {} bytes {} came back, or others", big.len(), echoed.stdout.len());
    assert_eq!(text(&stage.run(&guest, &["wc", "-c"], &big).stdout).trim(), LIMIT.to_string());
    assert_eq!(text(&stage.run(&guest, &["wc", "-c"], b"").stdout).trim(), "0", "no input has no end");
    assert_eq!(stage.run(&guest, &["true"], &big).exit_code, 0, "input that nobody reads");
}

pub(crate) fn exit_code_and_streams_are_the_commands_own(stage: &Stage) {
    let guest = stage.shared();
    let both = stage.run(&guest, &["sh", "-c", "cat; echo no >&2; exit 7"], b"yes");
    assert_eq!((both.exit_code, text(&both.stdout), text(&both.stderr)), (7, "yes".into(), "no\n".into()));
    for (script, code) in
        [("exit 0", 0), ("exit 1", 1), ("exit 255", 255), ("kill -9 $$", 137), ("kill -15 $$", 143)]
    {
        assert_eq!(stage.run(&guest, &["sh", "-c", script], b"").exit_code, code, "{script}");
    }
    let binary: Vec<u8> = (0..=255).collect();
    assert_eq!(stage.run(&guest, &["cat"], &binary).stdout, binary);
    // A child that stays in the background with our pipes.
    assert_eq!(stage.says(&guest, "sleep 1000 & echo away"), "away");
}

pub(crate) fn of_each_stream_2_mib_are_kept(stage: &Stage) {
    let guest = stage.shared();
    let flood = stage.run(
        &guest,
        &["sh", "-c", "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2; exit 5"],
        b"",
    );
    assert_eq!((flood.stdout.len(), flood.stderr.len(), flood.exit_code), (LIMIT, LIMIT, 5));
}

pub(crate) fn a_program_that_cannot_be_run_is_127_or_126_with_the_reason(stage: &Stage) {
    let guest = stage.shared();
    for (program, code) in
        [("nothing-like-this", 127), ("/no/such/file", 127), ("/etc/passwd", 126), ("/etc", 126)]
    {
        let output = stage.run(&guest, &[program], b"");
        assert_eq!(output.exit_code, code, "{program}: {}", text(&output.stderr));
        assert!(output.stdout.is_empty(), "{program}: the reason is on stdout: {}", text(&output.stdout));
        assert!(text(&output.stderr).contains(program), "{program}: {:?}", text(&output.stderr));
    }
    // What a command says itself stays as it is.
    let own = stage.run(&guest, &["sh", "-c", "echo mine; exit 127"], b"");
    assert_eq!((own.exit_code, text(&own.stdout)), (127, "mine\n".into()));
}

pub(crate) fn commands_run_as_root_in_the_guests_environment(stage: &Stage) {
    let conf = format!("user = \"1000:1000\"\n{}[env]\nCOLOUR = \"red\"", stage.idle_conf());
    let guest = stage.up(&stage.spec(&conf));
    let found = stage.says(&guest, "id -u; id -g; echo $COLOUR; pwd; hostname");
    assert_eq!(found, format!("0\n0\nred\n/\n{}", guest.labels.instance));
}

pub(crate) fn commands_side_by_side_do_not_mix(stage: &Stage) {
    let guest = stage.shared();
    std::thread::scope(|scope| {
        let tell = |n: usize| {
            let (stage, guest) = (&stage, &guest);
            move || {
                stage.says(guest, &format!("i=0; while [ $i -lt 500 ]; do echo {n}; i=$((i+1)); done; cat"))
            }
        };
        let told: Vec<_> = (0..6).map(|n| (n, scope.spawn(tell(n)))).collect();
        for (n, said) in told {
            let said = said.join().unwrap_or_else(|_| panic!("command {n} failed"));
            assert_eq!(said, vec![n.to_string(); 500].join("\n"), "command {n}");
        }
    });
}

pub(crate) fn a_file_has_its_content_its_mode_and_its_directories(stage: &Stage) {
    let guest =
        if stage.facts.machine { stage.shared() } else { stage.running("umask 077; exec sleep 1000") };
    let put = |path: &str, mode, data: &[u8]| {
        accepted(path, stage.driver.put_file(&guest, &file(path, mode, data)));
        stage.says(&guest, &format!("stat -c '%a %u %g %s' {path}"))
    };
    assert_eq!(put("/srv/a/b/c", 0o640, b"longer"), "640 0 0 6");
    assert_eq!(put("/srv/a/b/c", 0o755, b"two"), "755 0 0 3", "written once more");
    assert_eq!(put("/srv/a/b/d", 0o600, b""), "600 0 0 0");
    assert_eq!(
        stage.says(&guest, "cat /srv/a/b/c; stat -c %a /srv/a /srv/a/b; ls /srv/a/b"),
        "two755\n755\nc\nd"
    );
    assert!(stage.succeeds(&guest, "mkdir -m 700 /own && chown 7:7 /own"));
    assert_eq!(put("/own/x", 0o644, b"x"), "644 0 0 1");
    assert_eq!(stage.says(&guest, "stat -c '%a %u' /own"), "700 7", "a directory that was there was changed");
    let big: Vec<u8> =
        (0..(4u64 << 20)).map(|n| (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect();
    assert_eq!(put("/srv/big", 0o644, &big), format!("644 0 0 {}", 4 << 20));
    assert!(stage.run(&guest, &["head", "-c", "2097152", "/srv/big"], b"").stdout == big[..LIMIT]);
    assert!(stage.run(&guest, &["tail", "-c", "2097152", "/srv/big"], b"").stdout == big[LIMIT..]);
    for path in ["relative", "/", "", "/a/../b"] {
        refused(path, stage.driver.put_file(&guest, &file(path, 0o644, "x")), 720);
    }
}

pub(crate) fn a_file_never_leaves_the_guest(stage: &Stage) {
    let guest = stage.shared();
    let outside = stage.directory().join("outside");
    fs::create_dir(&outside).expect("mkdir");
    let out = outside.display();
    let up = format!("../../../../../../../..{out}");
    let made =
        stage.succeeds(&guest, &format!("mkdir -p {out}; ln -s {out} /absolute; ln -s {up} /relative"));
    assert!(made, "links in the guest");
    for link in ["absolute", "relative"] {
        accepted(link, stage.driver.put_file(&guest, &file(&format!("/{link}/{link}"), 0o644, "inside")));
        assert_eq!(
            fs::read_dir(&outside).expect("ls").count(),
            0,
            "a file left the guest by the link /{link}"
        );
        assert_eq!(stage.says(&guest, &format!("cat {out}/{link}")), "inside");
    }
    // Links that the kernel itself follows, out of any root.
    assert!(stage.succeeds(&guest, "ln -s /proc/self/root /magic"));
    let magic = stage.driver.put_file(&guest, &file(&format!("/magic{out}/magic"), 0o644, "x"));
    assert_eq!(fs::read_dir(&outside).expect("ls").count(), 0, "a file left the guest by /proc: {magic:?}");
}
