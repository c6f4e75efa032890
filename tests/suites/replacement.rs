//! Replacing a plugin while mounted: the new code answers, no call fails, and memory does not run away.

use nfio_tests::{Mounted, Options, build_name, eventually, odd_build, odd_plugin};
use std::fs;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

const REPLACEMENTS: u32 = 50;

/// Resident memory of a process in KiB, shared memory included.
fn resident(pid: i32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// The builds are one build with another number in its bytes ([`odd_build`]); each is loaded for itself.
#[test]
fn each_of_fifty_replacements_answers_and_no_call_fails_meanwhile() {
    let plugin = odd_plugin();
    let mounted = Mounted::unmounted(Options::default());
    fs::write(mounted.plugin("libodd.so"), &plugin).expect("the fixture");
    mounted.mount();
    let odd = mounted.odd("a");
    assert_eq!(odd.get("odd/build"), build_name(0));
    let (done, reads) = (AtomicBool::new(false), AtomicU64::new(0));
    let before = resident(mounted.pid());
    thread::scope(|scope| {
        let reader = scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                let text = odd.try_get("odd/build").expect("no read fails");
                assert!(text.starts_with("the build of odd"), "{text}");
                assert_eq!(mounted.module("odd", "state"), "loaded");
                reads.fetch_add(1, Ordering::SeqCst);
            }
        });
        for number in 1..=REPLACEMENTS {
            if reader.is_finished() {
                break;
            }
            let build = odd_build(&plugin, number);
            let place = mounted.plugin("libodd.so");
            match number % 3 {
                0 => mounted.drop_in("libodd.so", &build),
                // As cp does it: for a moment the file is not whole.
                1 => fs::write(&place, &build).expect("cp"),
                // As install(1) does it: for a moment there is none.
                _ => {
                    fs::remove_file(&place).expect("unlink");
                    fs::write(&place, &build).expect("install");
                }
            }
            eventually("the new build answers", || {
                reader.is_finished() || odd.get("odd/build") == build_name(number)
            });
        }
        done.store(true, Ordering::SeqCst);
        reader.join().expect("no read failed");
    });
    let grown = resident(mounted.pid()).saturating_sub(before);
    println!(
        "{REPLACEMENTS} replacements by builds of {} KiB: the daemon has grown by {grown} KiB, {} reads meanwhile",
        plugin.len() >> 10,
        reads.load(Ordering::SeqCst),
    );
    // What a replacement costs is the code that it maps.
    assert!(grown < u64::from(REPLACEMENTS) * 1024, "{grown} KiB");
    assert_eq!(mounted.module("odd", "reloads"), REPLACEMENTS.to_string());
    assert!(reads.load(Ordering::SeqCst) >= u64::from(REPLACEMENTS));
    let calls: u64 = mounted.module("odd", "calls").parse().expect("a number");
    assert!(calls >= reads.load(Ordering::SeqCst), "calls of all builds count: {calls}");
}

#[test]
fn a_call_under_way_ends_in_the_old_code_and_new_ones_go_to_the_new() {
    let plugin = odd_plugin();
    let mounted = Mounted::unmounted(Options::default());
    fs::write(mounted.plugin("libodd.so"), &plugin).expect("the fixture");
    mounted.mount();
    let odd = mounted.odd("a");
    odd.put("say", "write: wait\n");
    thread::scope(|scope| {
        let poke = scope.spawn(|| odd.try_write("poke", "x"));
        // The first was mkdir's.
        eventually("it is under way", || mounted.module("odd", "calls") == "2");
        mounted.drop_in("libodd.so", &odd_build(&plugin, 1));
        eventually("the new build answers", || odd.get("odd/build") == build_name(1));
        assert!(!poke.is_finished(), "the old code still has its call");
        odd.put("go", "x");
        poke.join().expect("no panic").expect("the call ends well");
    });
}
