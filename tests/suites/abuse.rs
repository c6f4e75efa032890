//! The tools of every day over the whole mount while instances come and go: `mv`, `rm -r`, `find`, `tar`, `grep -R`,
//! `rsync`, `git`. None hangs, none sees more than that something has gone, no byte of an ordinary file is lost, and
//! nothing that they do runs or ends a guest.

use nfio_tests::{Instance, Mounted, eventually};
use std::cell::RefCell;
use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// How long each kind of abuse goes on.
const TIME: Duration = Duration::from_secs(4);
/// What instances that come and go have in their names.
const FLEETING: &str = "fleeting";
/// A line of the steady instance's configuration.
const NEEDLE: &str = "# the needle in the stack";

/// What a value answers that has none: its guest is not deployed, or does not run.
const NO_VALUE: [&str; 2] = ["No such device or address", "Host is down"];

/// What is said of what has gone meanwhile; a guest that ends takes the command along that asks it for its rules.
const GONE: [&str; 3] = ["No such file or directory", "File removed before we read it", "Remote I/O error"];

/// What a script printed, and its complaints, a line each. It must end within a minute.
fn sh(directory: &Path, script: &str) -> (String, Vec<String>) {
    let mut command = Command::new("timeout");
    command.args(["60", "sh", "-uc", script]).current_dir(directory);
    // Whose git this is must not matter, nor where its checkout lies.
    command.env("LC_ALL", "C").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    let output = command.output().expect("timeout");
    assert_ne!(output.status.code(), Some(124), "{script} hangs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (text(&output.stdout), text(&output.stderr).lines().map(str::to_owned).collect())
}

/// The output of a script that may not complain.
#[track_caller]
fn quietly(directory: &Path, script: &str) -> String {
    let (output, complaints) = sh(directory, script);
    assert!(complaints.is_empty(), "{script}: {complaints:?}");
    output
}

/// A script that may complain that what comes and goes has gone or is just ending, and with these words.
#[track_caller]
fn complaining_of(directory: &Path, script: &str, allowed: &[&str]) -> String {
    let (output, complaints) = sh(directory, script);
    for line in &complaints {
        let says = |words: &[&str]| words.iter().any(|words| line.contains(words));
        let fleeting = line.contains(FLEETING) && says(&GONE);
        assert!(fleeting || says(allowed), "{script}: {line}");
    }
    output
}

/// Has `work` done again and again for its time while instances come and go by mkdir, mv, rmdir and `rm -r`, one of
/// them with a guest.
fn while_instances_come_and_go(mounted: &Mounted, work: impl Fn()) {
    let (done, rounds) = (AtomicBool::new(false), AtomicU32::new(0));
    let repeat = |one: &dyn Fn(u32)| {
        for number in 0.. {
            if done.load(Ordering::SeqCst) {
                break;
            }
            one(number);
            rounds.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        let empty = scope.spawn(|| repeat(&|number| comes_and_goes(mounted, number)));
        let with_guest = scope.spawn(|| repeat(&|_| comes_with_a_guest(mounted)));
        let start = Instant::now();
        // Also when the work fails: the others would never end.
        let worked = catch_unwind(AssertUnwindSafe(|| {
            while start.elapsed() < TIME {
                work();
            }
        }));
        done.store(true, Ordering::SeqCst);
        for other in [empty, with_guest] {
            other.join().expect("instances come and go");
        }
        if let Err(panic) = worked {
            resume_unwind(panic);
        }
    });
    assert!(rounds.load(Ordering::SeqCst) > 1);
}

fn comes_and_goes(mounted: &Mounted, number: u32) {
    let (ty, name) = (mounted.path().join("nf-types/firewall"), format!("{FLEETING}-{number}"));
    quietly(&ty, &format!("mkdir {name} && echo '# mine' > {name}/config/nf_conf && mv {name} {name}-moved"));
    // One in two has files of its own, which rmdir would not take.
    let away = if number.is_multiple_of(2) {
        format!("rmdir {name}-moved")
    } else {
        format!(
            "mkdir -p {name}-moved/config/own/more && : > {name}-moved/config/own/file && rm -r {name}-moved"
        )
    };
    quietly(&ty, &away);
    assert!(!ty.join(format!("{name}-moved")).exists());
}

fn comes_with_a_guest(mounted: &Mounted) {
    let fw = mounted.firewall(&format!("{FLEETING}-guest"));
    let ty = fw.path().parent().expect("a type");
    fw.act("activate");
    // Neither ends it nor loses it.
    let (_, complaints) = sh(ty, &format!("rm -r {FLEETING}-guest; mv {FLEETING}-guest {FLEETING}-moved"));
    assert!(complaints.iter().any(|line| line.contains("Device or resource busy")), "{complaints:?}");
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
    quietly(ty, &format!("rm -r {FLEETING}-guest"));
}

/// A mount with an instance that runs and one that does not.
fn mounted() -> (Mounted, Instance, Instance) {
    let mounted = Mounted::new();
    let (steady, quiet) = (mounted.firewall("steady"), mounted.firewall("quiet"));
    steady.put("config/nf_conf", &format!("{NEEDLE}\n"));
    steady.act("activate");
    (mounted, steady, quiet)
}

/// What the daemon has open.
fn descriptors(mounted: &Mounted) -> Vec<PathBuf> {
    let all = fs::read_dir(format!("/proc/{}/fd", mounted.pid())).expect("the daemon's descriptors");
    // One that closes meanwhile leads nowhere.
    all.filter_map(|fd| fs::read_link(fd.ok()?.path()).ok()).collect()
}

/// Runs `abuse`, after which nfio is as it was, and all that came has gone.
fn nfio_bears(mounted: &Mounted, steady: &Instance, abuse: impl FnOnce()) {
    // The counters of a guest that runs stay open from the first read on.
    steady.get("stats/rx_bytes");
    let (pid, before, guest) = (mounted.pid(), descriptors(mounted), mounted.id(steady));
    abuse();
    assert_eq!((steady.status(), mounted.id(steady)), ("running".into(), guest));
    assert!(steady.answers_ping());
    assert_eq!(mounted.pid(), pid);
    assert!(!mounted.log().contains("panicked"), "{}", mounted.log());
    let ty = mounted.path().join("nf-types/firewall");
    assert_eq!(quietly(&ty, "ls"), "quiet\nsteady\n");
    assert_eq!(quietly(&mounted.root().join("nf-types/firewall"), "ls -A"), "quiet\nsteady\n");
    let after = RefCell::new(Vec::new());
    let left = catch_unwind(AssertUnwindSafe(|| {
        eventually("no descriptor is left", || {
            *after.borrow_mut() = descriptors(mounted);
            after.borrow().len() <= before.len()
        });
    }));
    assert!(left.is_ok(), "{before:#?} before, {after:#?} after");
}

#[test]
fn who_walks_the_whole_mount_sees_it_all_whatever_comes_and_goes() {
    let (mounted, steady, _quiet) = mounted();
    let top = mounted.path();
    nfio_bears(&mounted, &steady, || {
        while_instances_come_and_go(&mounted, || {
            let found = complaining_of(&top, "find . -ls", &[]);
            for name in ["firewall/steady/stats/rx_bytes", "firewall/quiet/action", "modules/firewall/state"]
            {
                assert!(found.contains(name), "find misses {name}");
            }
            let found = complaining_of(&top, &format!("grep -R '{NEEDLE}' ."), &NO_VALUE);
            assert_eq!(found, format!("./nf-types/firewall/steady/config/nf_conf:{NEEDLE}\n"));
            // Values are shorter than the size that is shown: tar fills up, and says so.
            let shrinks = ["shrank by", "file changed as we read it", "due to previous errors"];
            let said = [&NO_VALUE[..], &shrinks].concat();
            let listed = complaining_of(&top, "tar -c nf-types | tar -t", &said);
            assert!(listed.contains("nf-types/firewall/steady/config/nf_conf\n"), "{listed}");
        });
    });
}

#[test]
fn a_tree_below_config_bears_git_rsync_tar_mv_and_rm() {
    let (mounted, steady, quiet) = mounted();
    let config = quiet.file("config");
    nfio_bears(&mounted, &steady, || {
        while_instances_come_and_go(&mounted, || {
            quietly(
                &config,
                "mkdir tree && for n in $(seq 40); do echo $n > tree/$n; done && ln -s 1 tree/link && ln tree/2 tree/hard",
            );
            let git = "git -c user.name=nobody -c user.email=nobody@localhost -c init.defaultBranch=main -c safe.directory='*'";
            quietly(
                &config,
                &format!(
                    "{git} init -q && {git} add tree && {git} commit -qm one && echo more >> tree/1 && {git} commit -qam two && {git} reset -q --hard HEAD~1 && {git} fsck --full --no-progress && {git} status --porcelain tree"
                ),
            );
            assert_eq!(quiet.get("config/tree/1"), "1");
            quietly(
                &config,
                "mv tree moved && tar -cf tree.tar moved && mkdir out && tar -xf tree.tar -C out && diff -r --no-dereference moved out/moved && rsync -aH --delete moved/ copy/ && rsync -aHc --delete --itemize-changes copy/ moved/ && diff -r --no-dereference moved copy && [ $(stat -c %h copy/hard) = 2 ]",
            );
            // From one instance to another: a plain directory moves, and nothing is copied.
            let inode = "stat -c %i ../../steady/config/other";
            let before = quietly(&config, "stat -c %i copy");
            assert_eq!(quietly(&config, &format!("mv copy ../../steady/config/other && {inode}")), before);
            quietly(
                &config,
                "rm -r .git moved out tree.tar ../../steady/config/other && ls -A | grep -v -e boot.conf -e nf_conf",
            );
        });
    });
}
