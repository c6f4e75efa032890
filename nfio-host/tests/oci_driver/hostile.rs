//! Guests and images that do their worst.

use nfio_host::hypervisor::{Execution, GuestSpec, Hypervisor, Prepared, PutFile, Status};
use std::fs::{self, File, OpenOptions};
use std::os::fd::AsRawFd;
use std::process::Command;
use std::time::Duration;

use crate::bed::*;

#[test]
fn a_guest_that_gets_hold_of_our_binary_cannot_write_to_it() {
    let (bed, _one) = bed();
    let guest = bed.up(&bed.spec(""));
    // What an attacker holds (CVE-2019-5736): the file that a helper runs from, opened through /proc.
    let caught = File::open(format!("/proc/{}/exe", bed.monitor(&guest))).unwrap();
    bed.sh(&guest, "printf '#!/proc/self/exe\\n' > /evil; chmod 755 /evil");
    let evil = Execution { argv: vec!["/evil".into()], stdin: Vec::new() };
    assert_ne!(bed.oci.execute_in_guest(&guest, &evil).unwrap().exit_code, 0);
    bed.oci.destroy(&guest, true).unwrap();
    until("nobody runs the binary from there", || {
        let path = format!("/proc/self/fd/{}", caught.as_raw_fd());
        let error = OpenOptions::new().write(true).open(path).unwrap_err();
        // Text file busy until the last helper has ended.
        assert!([Some(26), Some(30)].contains(&error.raw_os_error()), "{error}");
        error.raw_os_error() == Some(30)
    });
}

#[test]
fn nothing_of_the_host_is_open_in_a_guest() {
    let (bed, _one) = bed();
    let guest = bed.up(&bed.spec(""));
    for process in ["1", "$$"] {
        let open = out(&bed.sh(&guest, &format!("for f in /proc/{process}/fd/*; do readlink $f; done")));
        assert!(open.lines().count() >= 3, "{process}: {open}");
        assert!(
            // /sbin/init is a script: its shell has it open.
            open.lines().all(|to| ["/dev/null", "/sbin/init"].contains(&to)
                || to.starts_with("pipe:")
                || to.starts_with("/proc/")),
            "{process}: {open}"
        );
        assert_eq!(
            out(&bed.sh(&guest, &format!("readlink /proc/{process}/cwd; readlink /proc/{process}/root"))),
            "/\n/"
        );
        let status = out(&bed.sh(&guest, &format!("cat /proc/{process}/status")));
        for line in
            ["CapInh:\t0000000000000000", "CapAmb:\t0000000000000000", "NoNewPrivs:\t1", "Seccomp:\t2"]
        {
            assert!(status.contains(line), "{process} lacks {line}: {status}");
        }
        assert!(status.contains("Umask:\t0022"), "{process}: {status}");
    }
    let bounds = out(&bed.sh(&guest, "grep -h CapBnd /proc/1/status /proc/self/status | sort -u | wc -l"));
    assert_eq!(bounds, "1", "a command may more than its guest");
    assert_eq!(out(&bed.sh(&guest, "cat /proc/1/oom_score_adj")), "0");
    assert_ne!(bed.sh(&guest, "echo -1 > /proc/1/oom_score_adj").exit_code, 0);
    assert_eq!(out(&bed.sh(&guest, "ls -d /proc/[0-9]* | wc -l")).parse::<u32>().unwrap().max(6), 6);
    bed.oci.destroy(&guest, true).unwrap();
    let guest = bed
        .up(&bed.spec("user = \"1000:1000\"\ncommand = [\"sh\", \"-c\", \"echo $HOME; exec sleep 1000\"]"));
    let ignored = out(&bed.sh(&guest, "grep SigIgn /proc/1/status | cut -f2"));
    // The C library's own two apart: nothing that nfio or its caller ignores.
    assert_eq!(u64::from_str_radix(&ignored, 16).unwrap() & !0x1_8000_0000, 0, "{ignored}");
    until("its home is that of its user", || bed.log(&guest) == "/\n");
    assert_eq!(out(&bed.sh(&guest, "echo $HOME")), "/root");
    bed.oci.destroy(&guest, true).unwrap();
}

#[test]
fn what_is_masked_stays_masked() {
    let (bed, _one) = bed();
    let guest = bed.up(&bed.spec(""));
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug", "/proc/interrupts"] {
        let script =
            format!("[ ! -e {path} ] || {{ head -c 1 {path} | wc -c | grep -qx 0 && ! umount {path}; }}");
        assert_eq!(bed.sh(&guest, &script).exit_code, 0, "{path}");
    }
    for path in ["/proc/scsi", "/proc/acpi", "/sys/firmware", "/sys/devices/virtual/powercap"] {
        let script = format!(
            "[ ! -e {path} ] || {{ ! touch {path}/x && ! umount {path} && [ -z \"$(ls {path})\" ]; }}"
        );
        assert_eq!(bed.sh(&guest, &script).exit_code, 0, "{path}");
    }
    for script in [
        "echo 1 > /proc/sys/kernel/core_pattern",
        "mount -o remount,rw /proc/sys",
        "mount -o remount,rw /sys",
        "mount -o remount,dev /",
        "mv /proc /p",
        "mknod /dev/console c 5 1 && cat < /dev/console",
    ] {
        assert_ne!(bed.sh(&guest, script).exit_code, 0, "{script}");
    }
    bed.oci.destroy(&guest, true).unwrap();
}

#[test]
fn a_flooded_log_is_capped_and_costs_the_monitor_no_memory() {
    let (bed, _one) = bed();
    let guest = bed.up(&bed.spec("command = [\"sh\", \"-c\", \"yes $(seq 1000)\"]"));
    let mut before = 0;
    until("the log has been cut", || {
        let length = bed.log(&guest).len();
        length < std::mem::replace(&mut before, length)
    });
    let status = fs::read_to_string(format!("/proc/{}/status", bed.monitor(&guest))).unwrap();
    let peak = status.lines().find_map(|l| l.strip_prefix("RssAnon:")).unwrap();
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(peak < 16 << 10, "{peak} kB");
    bed.oci.stop(&guest).unwrap();
    assert!(bed.log(&guest).len() <= 4 << 20);
    bed.oci.destroy(&guest, true).unwrap();
}

#[test]
fn a_command_that_does_not_end_is_ended_with_what_it_started() {
    let (bed, _one) = bed_with(|config| config.command_limit = Duration::from_secs(1));
    let guest = bed.up(&bed.spec(""));
    let error = bed.oci.execute_in_guest(&guest, &sh("sleep 4711 | sleep 4711")).unwrap_err();
    assert!(error.code() == 703 && error.to_string().contains("longer than 1 s"), "{error}");
    until("its processes are gone", || out(&bed.sh(&guest, "ps | grep -c '[4]711'")) == "0");
    let flood = bed.oci.execute_in_guest(&guest, &sh("yes & yes >&2")).unwrap_err();
    assert_eq!(flood.code(), 703, "{flood}");
    let bomb = "bomb() { bomb | bomb & }; bomb; sleep 1000";
    assert!(bed.oci.execute_in_guest(&guest, &sh(bomb)).is_err());
    assert_eq!(bed.status(&guest), Status::Running);
    bed.oci.destroy(&guest, true).unwrap();
    // It stops whatever joins it, before the helper knows it for its own.
    let stopper = "command = [\"sh\", \"-c\", \"while :; do for p in /proc/[0-9]*; do kill -STOP ${p#/proc/}; done; done 2>/dev/null\"]";
    let guest = bed.up(&bed.spec(stopper));
    let answer = bed.oci.execute_in_guest(&guest, &sh("sleep 1000"));
    assert!(answer.is_err(), "{answer:?}");
    bed.oci.destroy(&guest, true).unwrap();
    until("nothing is left", || traces().is_empty());
}

#[test]
fn files_put_into_a_guest_that_swaps_directories_for_links_stay_in_it() {
    let (bed, _one) = bed();
    let outside = bed.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let up = format!("../../../../../../..{}", outside.display());
    let swap = format!(
        "mkdir -p /srv{0} /srv/real {0}; while :; do ln -s {up} /srv/l; mv -T /srv/real /srv/a; mv -T /srv/a /srv/real; \
         mv -T /srv/l /srv/a; rm /srv/a; done 2>/dev/null",
        outside.display()
    );
    let mut spec = bed.spec("");
    spec.boot.command = Some(vec!["sh".into(), "-c".into(), swap]);
    let guest = bed.up(&spec);
    let mut put = 0;
    for n in 0..500 {
        let file = PutFile { path: format!("/srv/a/f{}", n % 7), mode: 0o644, data: b"x".into() };
        put += usize::from(bed.oci.put_file(&guest, &file).is_ok());
    }
    println!("{put} of 500 files arrived somewhere in the guest");
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    bed.oci.destroy(&guest, true).unwrap();
}

#[test]
fn a_guest_that_fills_its_disk_and_digs_deep_can_be_destroyed() {
    let (bed, _one) = bed_with(|config| {
        let state = config.state.with_file_name("small");
        fs::create_dir(&state).unwrap();
        let mount =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=16m", "tmpfs"]).arg(&state).status();
        assert!(mount.unwrap().success());
        config.state = state;
    });
    let small = bed.dir.path().join("small");
    // It keeps count, a byte a line, where there is room.
    let talk = "line=$(head -c 1000 /dev/zero | tr '\\0' x); \
        while :; do echo $line; echo >> /dev/shm/said; sleep 0.005; done";
    let mut spec = bed.spec("");
    spec.boot.command = Some(vec!["sh".into(), "-c".into(), talk.into()]);
    spec.log = small.join("log");
    fs::write(&spec.log, "").unwrap();
    let guest = bed.up(&spec);
    assert_eq!(bed.sh(&guest, "p=$(printf 'd/%.0s' $(seq 1900)); mkdir -p /root/$p").exit_code, 0);
    assert_ne!(bed.sh(&guest, "cat /dev/zero > /full; cat /dev/zero > /full2").exit_code, 0);
    assert!(fs::write(small.join("more"), vec![1; 1 << 16]).is_err(), "the disk is not full");
    let record = fs::read(small.join("guests").join(&guest.id).join("run.json")).unwrap();
    let record: serde_json::Value = serde_json::from_slice(&record).unwrap();
    let said = format!("/proc/{}/root/dev/shm/said", record["init"]["pid"]);
    let said = || fs::metadata(&said).expect("what the running guest counts").len();
    let before = said();
    until("its output is taken though nobody can write it: a pipe holds 64 lines", || said() > before + 100);
    assert_eq!(bed.status(&guest), Status::Running, "a log that cannot be written ended the guest");
    let _ = bed.oci.stop(&guest);
    assert_eq!(bed.status(&guest), Status::Exited);
    bed.oci.destroy(&guest, true).unwrap();
    until("nothing is left", || traces().is_empty());
    assert_eq!(fs::read_dir(small.join("guests")).unwrap().count(), 0);
    assert!(Command::new("umount").arg("-l").arg(&small).status().unwrap().success());
}

#[test]
fn hostile_images_give_a_guest_nothing_more() {
    let (bed, _one) = bed();
    let image = images().join("hostile");
    assert!(Command::new("cp").arg("-a").arg(images().join("box")).arg(&image).status().unwrap().success());
    // A disk of the host, a program that makes its caller root.
    let disk = fs::read_to_string("/proc/partitions").unwrap();
    let disk: Vec<&str> = disk.lines().nth(2).unwrap_or_default().split_whitespace().collect();
    if let [major, minor, ..] = disk[..] {
        let mknod = Command::new("mknod").arg(image.join("srv-disk")).args(["b", major, minor]).status();
        assert!(mknod.unwrap().success());
    }
    fs::create_dir(image.join("suid")).unwrap();
    fs::copy(image.join("bin/busybox"), image.join("suid/busybox")).unwrap();
    let chmod = Command::new("chmod").arg("4755").arg(image.join("suid/busybox")).status();
    assert!(chmod.unwrap().success());
    let on_hostile = |conf: &str| GuestSpec { image: "hostile".into(), ..bed.spec(conf) };
    let conf = "user = \"1000:1000\"\ncommand = [\"sh\", \"-c\", \"/suid/busybox id -u; exec sleep 1000\"]";
    let guest = bed.up(&on_hostile(conf));
    until("the set-uid program has run", || !bed.log(&guest).is_empty());
    assert_eq!(bed.log(&guest).trim(), "1000");
    assert_eq!(out(&bed.sh(&guest, "head -c 1 /srv-disk | wc -c")), "0");
    bed.oci.destroy(&guest, true).unwrap();
    // Mount points that lead elsewhere.
    for point in ["proc", "sys", "dev"] {
        let real = image.join(point);
        fs::remove_dir(&real).unwrap();
        std::os::unix::fs::symlink("etc", &real).unwrap();
        let guest = bed.deployed(&on_hostile(""));
        if bed.oci.start(&guest, &Prepared::default()).is_ok() {
            let masked = "[ \"$(head -c1 /proc/kcore | wc -c)\" = 0 ] && ! echo 1 > /proc/sys/kernel/panic";
            assert_eq!(
                bed.sh(&guest, masked).exit_code,
                0,
                "/{point} is a link and the guest is not confined"
            );
        }
        bed.oci.destroy(&guest, true).unwrap();
        fs::remove_file(&real).unwrap();
        fs::create_dir(&real).unwrap();
    }
    assert!(image.join("etc/passwd").exists());
    fs::remove_dir_all(&image).unwrap();
    until("nothing is left", || traces().is_empty());
}
