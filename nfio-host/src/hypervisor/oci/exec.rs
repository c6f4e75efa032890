//! A command in a running guest, under the confinement of its own processes. It runs as the guest's root,
//! whoever the guest's main process is: configuring a guest is the work of its root.

use libcontainer::container::builder::ContainerBuilder;
use libcontainer::error::LibcontainerError;
use libcontainer::syscall::syscall::SyscallType;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigHandler, Signal, killpg, signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{Pid, alarm};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, BufRead, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use super::executor::{GuestExecutor, Role};
use super::helper::{Executed, answer, chain, complain};
use super::monitor::set_nonblocking;
use super::remove::remove_tree;
use super::seccomp;
use super::spec::{UMASK, oom_score};
use super::state::GuestDir;
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::container::caps::{self, Set};
use crate::hypervisor::container::process::Held;

/// The most that is kept of each of a command's outputs.
const CAP: usize = 2 << 20;

/// What a guest can hold up (it may stop a process that is just joining it) ends this long after the limit.
const GRACE: Duration = Duration::from_secs(5);

/// How often a command is tried where libcontainer trips over itself.
const TRIES: usize = 10;

/// `nfio oci exec DIR SECONDS`.
pub(super) fn main(dir: &GuestDir, limit: Duration) -> ExitCode {
    serve(limit, || execute(dir, limit))
}

/// Does the work of a helper for one command, and answers.
pub(super) fn serve(limit: Duration, work: impl FnOnce() -> Result<(i32, Vec<u8>, Vec<u8>)>) -> ExitCode {
    if let Err(e) = set_alarm(limit + GRACE) {
        // Without a bound it still does its work.
        complain(&format!("a command runs without an alarm: {e}"));
    }
    let told = match work() {
        Ok((exit_code, stdout, stderr)) => {
            let executed = Executed { exit_code, stdout: stdout.len(), stderr: stderr.len() };
            answer(Ok(executed), &[&stdout, &stderr])
        }
        Err(e) => answer::<Executed>(Err(e), &[]),
    };
    // The caller may have given up: there is nobody else to tell.
    if told.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Ends this process, and whoever it is bringing into the guest, after that time.
fn set_alarm(after: Duration) -> io::Result<()> {
    // SAFETY: the handler makes system calls alone, which a handler may.
    unsafe { signal(Signal::SIGALRM, SigHandler::Handler(on_alarm)) }?;
    alarm::set(u32::try_from(after.as_secs()).unwrap_or(u32::MAX));
    Ok(())
}

/// A process that the guest has stopped before it became the command still holds our output: it must go too.
extern "C" fn on_alarm(_: libc::c_int) {
    kill_children();
    // SAFETY: ends this process without running anything else of it.
    unsafe { libc::_exit(1) }
}

/// Nothing but system calls, as a signal handler calls it.
fn kill_children() {
    let mut text = [0u8; 512];
    // SAFETY: the path ends in a NUL byte; read writes at most as many bytes as the array has; close and kill
    // take integers. Our children's pids are theirs until we wait for them.
    unsafe {
        let children = libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        let length = libc::read(children, text.as_mut_ptr().cast(), text.len());
        libc::close(children);
        let mut pid: libc::pid_t = 0;
        for byte in text.iter().take(usize::try_from(length).unwrap_or(0)) {
            if byte.is_ascii_digit() {
                pid = pid.saturating_mul(10).saturating_add(libc::pid_t::from(byte - b'0'));
            } else if pid > 0 {
                libc::kill(pid, libc::SIGKILL);
                pid = 0;
            }
        }
    }
}

fn execute(dir: &GuestDir, limit: Duration) -> Result<(i32, Vec<u8>, Vec<u8>)> {
    let end = Instant::now() + limit;
    let (argv, stdin) = question::<Vec<String>>()?;
    let deployed = dir.deployed()?.ok_or_else(|| failed("the guest is gone".into()))?;
    let init = dir.hold_init()?.ok_or_else(|| not_running(&deployed.spec.name))?;
    let (process, privileged) = process(dir, argv)?;
    let caps = capabilities(&process)?;
    let filters = match privileged {
        true => Vec::new(),
        false => seccomp::filters(&caps).map_err(|e| failed(e.to_string()))?,
    };
    let mut description =
        File::from(memfd_create(c"process", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from)?);
    description.write_all(process.to_string().as_bytes())?;
    // A copy of libcontainer's state: it leaves a socket there for each command.
    let root = dir.join(&format!("exec.{}", std::process::id()));
    let state = root.join(&deployed.short);
    fs::create_dir_all(&state)?;
    fs::copy(dir.join("rc").join(&deployed.short).join("state.json"), state.join("state.json"))?;
    let me = Held::open(std::process::id() as i32)?;
    let (role, parent) = (Role::Command { init: init.as_fd().as_raw_fd() }, me.as_fd().as_raw_fd());
    let executor = GuestExecutor { role, parent, filters };
    let mut tried = 0;
    let joined = loop {
        tried += 1;
        match join(&deployed.short, &root, &executor, &description) {
            Err(e) if tried < TRIES && out_of_order(&chain(&e)) => {
                kill_children();
                while waitpid(None, None).is_ok() {}
            }
            joined => break joined,
        }
    };
    // What it was needed for is done; what is left of it goes with the guest.
    let _ = remove_tree(&root);
    // A guest on its way out fails in many ways; it gets a moment to be gone.
    let joined = joined.map_err(|e| match init.ended_within(Duration::from_millis(200)) {
        false => failed(format!("{}: {}", deployed.spec.name, chain(&e))),
        true => not_running(&deployed.spec.name),
    })?;
    see_through(joined, stdin, &deployed.spec.name, (end, limit))
}

/// What a helper is asked: a line of JSON, then the command's stdin.
pub(super) fn question<T: DeserializeOwned>() -> Result<(T, Vec<u8>)> {
    let mut input = io::stdin().lock();
    let mut line = Vec::new();
    input.read_until(b'\n', &mut line)?;
    let question = serde_json::from_slice(&line).map_err(|e| failed(e.to_string()))?;
    let mut stdin = Vec::new();
    input.read_to_end(&mut stdin)?;
    Ok((question, stdin))
}

/// Feeds and drains a command until it ends; one that has not by `end`, after `limit`, is killed.
pub(super) fn see_through(
    joined: Joined,
    bytes: Vec<u8>,
    guest: &str,
    (end, limit): (Instant, Duration),
) -> Result<(i32, Vec<u8>, Vec<u8>)> {
    let Joined { pid, stdin, stdout, stderr } = joined;
    let command = Held::open(pid.as_raw())?;
    let pumped = pump(&command, (stdin, bytes), stdout, stderr, end)?;
    let Some(pumped) = pumped else {
        // Its process group, which it leads: not yet waited for, its number is nobody else's.
        let _ = killpg(pid, Signal::SIGKILL);
        command.signal(Signal::SIGKILL)?;
        let limit = limit.as_secs();
        return Err(failed(format!(
            "{guest}: the command was killed, it took longer than {limit} s: start long work in the background"
        )));
    };
    let code = match waitpid(pid, None).map_err(io::Error::from)? {
        WaitStatus::Exited(_, code) => code,
        WaitStatus::Signaled(_, signal, _) => 128 + signal as i32,
        other => return Err(failed(format!("the command ended strangely: {other:?}"))),
    };
    Ok((code, pumped.0, pumped.1))
}

/// A process that has joined the guest and become the command.
pub(super) struct Joined {
    pub(super) pid: Pid,
    pub(super) stdin: PipeWriter,
    pub(super) stdout: PipeReader,
    pub(super) stderr: PipeReader,
}

fn join(
    short: &str,
    root: &Path,
    executor: &GuestExecutor,
    description: &File,
) -> Result<Joined, LibcontainerError> {
    let pipe = || io::pipe().map_err(LibcontainerError::OtherIO);
    let ((in_reader, stdin), (stdout, out_writer), (stderr, err_writer)) = (pipe()?, pipe()?, pipe()?);
    let description = format!("/proc/self/fd/{}", description.as_raw_fd());
    let pid = ContainerBuilder::new(short.into(), SyscallType::default())
        .with_executor(executor.clone())
        .with_root_path(root)
        .map(|builder| builder.with_stdin(in_reader).with_stdout(out_writer).with_stderr(err_writer))?
        .as_tenant()
        .with_detach(true)
        .with_process(Some(description))
        .build()?;
    Ok(Joined { pid: Pid::from_raw(pid.as_raw()), stdin, stdout, stderr })
}

/// Whether libcontainer was overtaken by itself: two of its processes report to a third, which takes the second
/// report for the first. The program has not been let go yet, so it can be tried again.
pub(super) fn out_of_order(report: &str) -> bool {
    report.contains("unexpected message")
}

/// The guest's own process description with another command, as the guest's root.
fn process(dir: &GuestDir, argv: Vec<String>) -> Result<(Value, bool)> {
    let mut config: Value = serde_json::from_slice(&fs::read(dir.join("config.json"))?)
        .map_err(|e| failed(format!("config.json: {e}")))?;
    let privileged = config["linux"]["readonlyPaths"].is_null();
    let mut process = config["process"].take();
    process["args"] = json!(argv);
    if process["user"]["uid"] != json!(0) {
        let env = process["env"].as_array_mut().ok_or_else(|| failed("config.json has no env".into()))?;
        env.retain(|word| !word.as_str().is_some_and(|word| word.starts_with("HOME=")));
        env.push(json!("HOME=/root"));
    }
    process["user"] = json!({"uid": 0, "gid": 0, "umask": UMASK});
    // Out of memory, the command ends before what the guest is there for. Less than it has takes a capability.
    process["oomScoreAdj"] = json!(oom_score()?.max(300));
    Ok((process, privileged))
}

fn capabilities(process: &Value) -> Result<Set> {
    let names: Vec<String> = serde_json::from_value(process["capabilities"]["effective"].clone())
        .map_err(|e| failed(e.to_string()))?;
    caps::names(&names, "config.json")
}

/// Feeds and drains the command until it has ended; None where it has not by `end`. What it left running in the background may hold its
/// output open: that is not waited for.
fn pump(
    command: &Held,
    (stdin, bytes): (PipeWriter, Vec<u8>),
    stdout: PipeReader,
    stderr: PipeReader,
    end: Instant,
) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    set_nonblocking(stdin.as_fd())?;
    let mut stdin = Some(stdin);
    let mut left = &bytes[..];
    let mut outputs = [Drain::new(stdout)?, Drain::new(stderr)?];
    loop {
        if let Some(pipe) = stdin.as_mut() {
            match pipe.write(left) {
                Ok(n) => left = &left[n..],
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {}
                // It does not want to read any more.
                Err(e) if e.kind() == io::ErrorKind::BrokenPipe => left = &[],
                Err(e) => return Err(e),
            }
            if left.is_empty() {
                stdin = None;
            }
        }
        let ended = !command.alive();
        for output in &mut outputs {
            output.read()?;
        }
        if ended {
            let [stdout, stderr] = outputs;
            return Ok(Some((stdout.kept, stderr.kept)));
        }
        let left_time = end.saturating_duration_since(Instant::now());
        if left_time.is_zero() {
            return Ok(None);
        }
        let mut wanted = vec![PollFd::new(command.as_fd(), PollFlags::POLLIN)];
        wanted.extend(stdin.as_ref().map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLOUT)));
        let open = outputs.iter().filter_map(|output| output.pipe.as_ref());
        wanted.extend(open.map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN)));
        let timeout = PollTimeout::try_from(left_time.as_millis() + 1).unwrap_or(PollTimeout::MAX);
        match poll(&mut wanted, timeout) {
            Err(e) if e != Errno::EINTR => return Err(e.into()),
            _ => {}
        }
    }
}

struct Drain {
    pipe: Option<PipeReader>,
    kept: Vec<u8>,
}

impl Drain {
    fn new(pipe: PipeReader) -> io::Result<Self> {
        set_nonblocking(pipe.as_fd())?;
        Ok(Self { pipe: Some(pipe), kept: Vec::new() })
    }

    /// Takes what is there; beyond the cap it is read and dropped, as the command waits for it to be read.
    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 1 << 16];
        // Bounded: one output that never dries up must not keep us from the other, or from the end.
        for _ in 0..64 {
            let Some(pipe) = self.pipe.as_mut() else { return Ok(()) };
            match pipe.read(&mut buffer) {
                Ok(0) => self.pipe = None,
                Ok(n) => {
                    let room = CAP - self.kept.len();
                    self.kept.extend_from_slice(&buffer[..n.min(room)]);
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

pub(super) fn failed(message: String) -> NfioError {
    HypervisorError::CommandExecution(message).into()
}

pub(super) fn not_running(name: &str) -> NfioError {
    HypervisorError::NotRunning(format!("{name} does not run: start it first")).into()
}
