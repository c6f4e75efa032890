//! Files that are no plugin, or end the process that loads them.

use std::fs;
use std::time::{Duration, Instant};

use super::bed::{HEADER, Room, built, check};

#[test]
fn a_plugin_that_was_not_copied_whole_is_told_as_such() {
    let room = Room::new();
    let whole = fs::read(built("librandom.so")).unwrap();
    // Where the segments end; a linker puts them first, then debug information.
    let needed = u64::try_from(loaded(&whole)).unwrap();
    for length in [64, 100, 4096, needed / 2, needed - 1] {
        let file = room.file("libcut.so", &whole[..length as usize]);
        let report = check(&file);
        assert!(!report.is_good(), "{length}: {:?}", report.lines);
        let told = |words: &str| report.lines[0].contains(words);
        assert!(told("not copied whole") || told("not whole"), "{:?}", report.lines);
    }
    // Without its last segment.
    let file = room.file("libshort.so", &whole[..last_segment(&whole)]);
    check(&file).is_bad("copy it aside and move it into place");
    assert!(check(&room.file("librandom.so", &whole)).is_good());
}

#[test]
fn what_is_no_plugin_is_told_as_such() {
    let room = Room::new();
    check(&room.path("none.so")).is_bad("No such file");
    check(&room.file("empty.so", b"")).is_bad("not a shared object");
    check(&room.file("text.so", b"#!/bin/sh\n")).is_bad("not a shared object");
    let random: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    check(&room.file("noise.so", &[b"\x7fELF\x02\x01\x01", &random[..]].concat())).is_bad("damaged");
    check(&room.compiled("alien.so", "int x;")).is_bad("lacks export_middlebox!");
    check(&room.compiled("zeros.so", HEADER)).is_bad("another ABI library");
    let fifo = room.path("fifo.so");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    check(&fifo).is_bad("not a regular file");
    let huge = room.file("huge.so", b"\x7fELF");
    fs::File::options().write(true).open(&huge).unwrap().set_len(1 << 40).unwrap();
    check(&huge).is_bad("at most");
}

#[test]
fn a_constructor_that_ends_the_process_or_never_ends_is_told_in_words() {
    let room = Room::new();
    for (name, body, words) in [
        ("crash", "*(volatile int *)8 = 1;", "while it was loaded it crashed: SIGSEGV"),
        ("abort", "abort();", "crashed: SIGABRT"),
        ("illegal", "__builtin_trap();", "while it was loaded it crashed: SIG"),
        ("exit", "exit(0);", "ended the process (exit 0)"),
        ("exit-7", "exit(7);", "ended the process (exit 7)"),
        ("loop", "for (;;) sleep(1);", "did not come back within 5 seconds"),
        ("closed", "for (int fd = 0; fd < 100; fd++) close(fd); for (;;) sleep(1);", "did not come back"),
        ("fork", "if (!fork()) for (;;) sleep(1); exit(0);", "did not come back"),
    ] {
        let source = format!(
            "#include <stdlib.h>\n#include <unistd.h>\n{HEADER}\
             __attribute__((constructor)) static void begin(void) {{ {body} }}\n"
        );
        check(&room.compiled(&format!("{name}.so"), &source)).is_bad(words);
    }
}

#[test]
fn what_a_constructor_prints_disturbs_nothing() {
    let room = Room::new();
    let source = format!(
        "#include <unistd.h>\n{HEADER}__attribute__((constructor)) static void begin(void) {{\
         for (int fd = 0; fd < 3; fd++) write(fd, \"{{\\\"Refused\\\":\\\"me\\\"}}\\n\", 18); }}\n"
    );
    check(&room.compiled("loud.so", &source)).is_bad("another ABI library");
}

#[test]
fn a_plugin_on_trial_inherits_no_descriptor_leaves_no_core_and_ends_with_us() {
    let room = Room::new();
    let note = room.path("note");
    let source = format!(
        "#include <fcntl.h>\n#include <stdio.h>\n#include <sys/prctl.h>\n{HEADER}\
         __attribute__((constructor)) static void begin(void) {{ int signal = 0;\
         prctl(PR_GET_PDEATHSIG, &signal); FILE *note = fopen(\"{}\", \"w\");\
         fprintf(note, \"%d %d %d\", fcntl(9, F_GETFD), prctl(PR_GET_DUMPABLE), signal); fclose(note); }}\n",
        note.display()
    );
    let file = room.compiled("curious.so", &source);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec 9</dev/null; exec \"$0\" plugin check \"$1\"", env!("CARGO_BIN_EXE_nfio")]);
    assert_eq!(shell.arg(&file).output().unwrap().status.code(), Some(1));
    assert_eq!(fs::read_to_string(note).unwrap(), format!("-1 0 {}", libc::SIGKILL));
}

#[test]
fn of_a_plugin_only_what_is_loaded_is_copied() {
    let room = Room::new();
    let note = room.path("note");
    let source = format!(
        "#define _GNU_SOURCE\n#include <dlfcn.h>\n#include <stdio.h>\n#include <sys/stat.h>\n{HEADER}\
         __attribute__((constructor)) static void begin(void) {{ Dl_info info; struct stat copy;\
         dladdr(begin, &info); stat(info.dli_fname, &copy); FILE *note = fopen(\"{}\", \"w\");\
         fprintf(note, \"%ld\", (long)copy.st_size); fclose(note); }}\n",
        note.display()
    );
    let file = room.compiled("small.so", &source);
    check(&file).is_bad("another ABI library");
    let (whole, copied) = (fs::read(file).unwrap(), fs::read_to_string(note).unwrap());
    assert_eq!(copied.parse::<usize>().unwrap(), loaded(&whole));
    assert!(loaded(&whole) < whole.len());
}

#[test]
fn nothing_that_a_plugin_starts_outlives_its_trial() {
    let room = Room::new();
    let note = room.path("pid");
    let source = format!(
        "#include <stdio.h>\n#include <stdlib.h>\n#include <unistd.h>\n{HEADER}\
         __attribute__((constructor)) static void begin(void) {{ pid_t child = fork();\
         if (!child) for (;;) sleep(1);\
         FILE *note = fopen(\"{}\", \"w\"); fprintf(note, \"%d\", child); fclose(note); abort(); }}\n",
        note.display()
    );
    check(&room.compiled("fork.so", &source)).is_bad("while it was loaded it");
    let pid: i32 = fs::read_to_string(note).unwrap().parse().unwrap();
    let stat = || fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // SIGKILL has been sent; whoever has become its parent may take a while to reap it.
    let began = Instant::now();
    while !(stat().is_empty() || stat().contains(") Z ")) {
        assert!(began.elapsed() < Duration::from_secs(60), "the child of a plugin goes on: {}", stat());
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The end of the last segment that is loaded.
fn loaded(elf: &[u8]) -> usize {
    segments(elf).map(|(offset, length)| offset + length).max().unwrap()
}

/// The beginning of the last segment that is loaded.
fn last_segment(elf: &[u8]) -> usize {
    segments(elf).map(|(offset, _)| offset).max().unwrap()
}

/// Offset and length of each PT_LOAD, by elf(5).
fn segments(elf: &[u8]) -> impl Iterator<Item = (usize, usize)> {
    let number = |at: usize, size: usize| {
        let mut bytes = [0; 8];
        bytes[..size].copy_from_slice(&elf[at..at + size]);
        u64::from_le_bytes(bytes) as usize
    };
    let (table, size, count) = (number(32, 8), number(54, 2), number(56, 2));
    (0..count)
        .map(move |n| table + n * size)
        .filter(move |&at| number(at, 4) == 1)
        .map(move |at| (number(at + 8, 8), number(at + 32, 8)))
        .collect::<Vec<_>>()
        .into_iter()
}
