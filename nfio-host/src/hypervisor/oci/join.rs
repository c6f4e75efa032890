//! A command in a container that another engine runs: it joins the namespaces and control groups of the container's
//! first process, keeps no capability beyond that one's bound, and has its environment.

use nix::sched::{CloneFlags, setns};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{Pid, chdir, write};
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use super::exec::{Joined, failed, not_running, question, see_through, serve};
use super::spec::UMASK;
use crate::error::Result;
use crate::hypervisor::container::process::{Held, Identity};

/// What is joined at the last moment; the PID namespace takes a fork more, the user namespace is the host's.
const NAMESPACES: CloneFlags = CloneFlags::CLONE_NEWNS
    .union(CloneFlags::CLONE_NEWUTS)
    .union(CloneFlags::CLONE_NEWIPC)
    .union(CloneFlags::CLONE_NEWNET)
    .union(CloneFlags::CLONE_NEWCGROUP);

/// `nfio oci join SECONDS`.
pub(super) fn main(limit: Duration) -> ExitCode {
    serve(limit, || execute(limit))
}

fn execute(limit: Duration) -> Result<(i32, Vec<u8>, Vec<u8>)> {
    let end = Instant::now() + limit;
    let ((identity, argv), stdin) = question::<(Identity, Vec<String>)>()?;
    let init = identity.hold()?.ok_or_else(|| not_running("the container"))?;
    match join(init, &argv)? {
        Ok(joined) => see_through(joined, stdin, "the container", (end, limit)),
        // As a shell does.
        Err(e) => {
            let code = if e.kind() == io::ErrorKind::NotFound { 127 } else { 126 };
            let program = argv.first().map_or("", String::as_str);
            Ok((code, Vec::new(), format!("{program}: cannot be executed in the guest: {e}\n").into_bytes()))
        }
    }
}

/// The command, or why its program cannot be executed.
fn join(init: Held, argv: &[String]) -> Result<io::Result<Joined>> {
    let (program, arguments) =
        argv.split_first().ok_or_else(|| failed("a command needs at least a program".into()))?;
    let groups = groups(init.pid())?;
    let bound = bound(init.pid())?;
    let environment = fs::read(format!("/proc/{}/environ", init.pid()))?;
    let variables = environment.split(|byte| *byte == 0).filter_map(|word| {
        let at = word.iter().position(|byte| *byte == b'=')?;
        Some((OsStr::from_bytes(&word[..at]), OsStr::from_bytes(&word[at + 1..])))
    });
    // Told by pid so far: the process that lives now had that pid all along.
    if !init.alive() {
        return Err(not_running("the container"));
    }
    setns(init.as_fd(), CloneFlags::CLONE_NEWPID).map_err(io::Error::from)?;
    let ((in_reader, stdin), (stdout, out_writer)) = (io::pipe()?, io::pipe()?);
    let ((stderr, err_writer), (mut inside, arrived)) = (io::pipe()?, io::pipe()?);
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(variables);
    command.stdin(in_reader).stdout(out_writer).stderr(err_writer).process_group(0);
    let enter = move || {
        groups.iter().try_for_each(|group| write(group, b"0").map(drop))?;
        setns(init.as_fd(), NAMESPACES)?;
        chdir("/")?;
        umask(Mode::from_bits_truncate(UMASK));
        confine(bound)?;
        write(&arrived, b"1")?;
        Ok(())
    };
    // SAFETY: nothing but system calls, in a child of a process without other threads.
    unsafe { command.pre_exec(enter) };
    let spawned = command.spawn();
    // Its ends of the pipes, which nobody else must hold.
    drop(command);
    let mut word = [0];
    match spawned {
        Ok(child) => Ok(Ok(Joined { pid: Pid::from_raw(child.id() as i32), stdin, stdout, stderr })),
        Err(e) if inside.read(&mut word)? == 1 => Ok(Err(e)),
        Err(e) => Err(failed(format!("the container cannot be entered: {e}"))),
    }
}

/// The lists of processes of the control groups that a process is in, open for writing.
fn groups(pid: i32) -> io::Result<Vec<File>> {
    let (own, text) =
        (fs::read_to_string("/proc/self/cgroup")?, fs::read_to_string(format!("/proc/{pid}/cgroup"))?);
    let mut groups = Vec::new();
    // Where it is in the same group, there is nothing to join.
    for line in text.lines().filter(|line| !own.lines().any(|own| own == *line)) {
        let mut words = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (words.next(), words.next()) else { continue };
        let controllers = controllers.strip_prefix("name=").unwrap_or(controllers);
        let mount = match controllers {
            "" if fs::exists("/sys/fs/cgroup/cgroup.procs")? => "/sys/fs/cgroup".to_owned(),
            "" => "/sys/fs/cgroup/unified".to_owned(),
            some => format!("/sys/fs/cgroup/{some}"),
        };
        let place = format!("{mount}{path}/cgroup.procs");
        let open = OpenOptions::new().write(true).open(&place);
        groups.push(open.map_err(|e| io::Error::new(e.kind(), format!("{place}: {e}")))?);
    }
    Ok(groups)
}

/// The capabilities that a process can ever have.
fn bound(pid: i32) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let mask = status.lines().find_map(|line| line.strip_prefix("CapBnd:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .ok_or_else(|| io::Error::other(format!("/proc/{pid}/status has no CapBnd")))
}

/// Gives up every capability outside `bound`, also for programs that are executed later.
fn confine(bound: u64) -> io::Result<()> {
    /// `_LINUX_CAPABILITY_VERSION_3` of linux/capability.h.
    const VERSION: u32 = 0x2008_0522;
    for capability in (0..64).filter(|n| bound >> n & 1 == 0) {
        // SAFETY: two integers.
        if unsafe { libc::prctl(libc::PR_CAPBSET_DROP, capability, 0, 0, 0) } != 0 {
            match io::Error::last_os_error() {
                // Beyond the last one that this kernel knows.
                e if e.raw_os_error() == Some(libc::EINVAL) => break,
                e => return Err(e),
            }
        }
    }
    let (low, high) = (bound as u32, (bound >> 32) as u32);
    let header = [VERSION, 0];
    // Effective, permitted and inheritable, of the lower and of the higher 32.
    let sets = [low, low, 0, high, high, 0];
    // SAFETY: header and sets have the layout that version 3 of this call reads.
    match unsafe { libc::syscall(libc::SYS_capset, header.as_ptr(), sets.as_ptr()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
