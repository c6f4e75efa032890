//! The monitor: one process per running guest. It is the parent of the guest's first process, drains its
//! output into the log, records its end and clears up. It outlives nfio, and a new nfio finds the guest by
//! the records in its directory.
//!
//! Killed itself, it takes the guest with it (PR_SET_PDEATHSIG): a guest that nobody watches, whose output
//! nobody reads, would look sound and not be. The next start or destroy clears up.

use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::syscall::syscall::SyscallType;
use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, dup2_stdin, dup2_stdout, fork, setsid};
use std::fs::{self, File};
use std::io::{self, PipeReader, Read};
use std::net::Ipv4Addr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::process::ExitCode;

use super::cgroup::Cgroup;
use super::executor::{GuestExecutor, Role};
use super::helper::{Started, answer, chain, complain};
use super::inside::Inside;
use super::lease::{Subnet, acquire};
use super::residue::{self, PATIENCE};
use super::spec::Device;
use super::state::{Deployed, Exited, GuestDir, Running};
use super::{layer, network, prepare, seccomp, spec};
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::Prepared;
use crate::hypervisor::container::caps;
use crate::hypervisor::container::log::{CAP, Log};
use crate::hypervisor::container::process::{Held, Identity};
use crate::hypervisor::container::sysctl::Sysctls;

/// `nfio oci run DIR`.
pub(super) fn main(dir: GuestDir) -> ExitCode {
    // Forked away from nfio, which so never has to reap it.
    // SAFETY: this process has a single thread.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { .. }) => return ExitCode::SUCCESS,
        Ok(ForkResult::Child) => {}
        Err(e) => return refuse(&start_error(format!("the monitor cannot be forked: {e}"))),
    }
    // The lock is held until the last trace of the guest is gone.
    let (guest, _lock) = match begin(&dir) {
        Ok(guest) => guest,
        Err(e) => return refuse(&e),
    };
    // nfio may have gone meanwhile (kill -9): the guest goes on, and nobody is there to be told.
    let _ = answer(Ok(Started { pid: guest.init.pid() }), &[]);
    if let Err(e) = detach_output() {
        complain(&format!("the monitor keeps its output open: {e}"));
    }
    guest.watch(&dir);
    ExitCode::SUCCESS
}

fn refuse(error: &NfioError) -> ExitCode {
    // Without a reader there is nobody left to be told.
    let _ = answer::<Started>(Err(error.clone()), &[]);
    ExitCode::FAILURE
}

fn start_error(message: String) -> NfioError {
    HypervisorError::Start(message).into()
}

/// A guest under way.
struct Guest {
    deployed: Deployed,
    init: Held,
    address: Ipv4Addr,
    /// Held until the guest's link is gone: a namespace that dies loses its nftables rules before its interfaces, and
    /// would forward what they forbade.
    netns: File,
    output: PipeReader,
    log: Log,
    log_lost: bool,
}

/// Starts the guest, or leaves nothing of the attempt.
fn begin(dir: &GuestDir) -> Result<(Guest, Flock<File>)> {
    let mut prepared = Vec::new();
    io::stdin().read_to_end(&mut prepared)?;
    let prepared: Prepared = serde_json::from_slice(&prepared).map_err(|e| start_error(e.to_string()))?;
    // First the lock, then the look: the guest may have been destroyed while this process got going.
    let lock = dir.lock(PATIENCE)?;
    let deployed = dir.deployed()?.ok_or_else(|| start_error(format!("{} is gone", dir.path().display())))?;
    let cgroup = Cgroup::of(&deployed.short)?;
    let guest = own_life(&cgroup).and_then(|()| start(dir, deployed, &prepared, &cgroup)).map_err(|e| {
        let left = residue::clear(dir, None);
        cgroup.leave_as_monitor();
        match left {
            Ok(()) => e,
            Err(left) => start_error(format!("{e}; clearing up failed too: {left}")),
        }
    })?;
    Ok((guest, lock))
}

/// Own session and control groups: neither a terminal nor the end of nfio's service reaches the monitor.
fn own_life(cgroup: &Cgroup) -> Result<()> {
    setsid().map_err(|e| start_error(format!("the monitor gets no session of its own: {e}")))?;
    // SIGTERM comes when the machine goes down: the guest gets it as well, and is waited for.
    for ignored in [Signal::SIGHUP, Signal::SIGTERM] {
        // SAFETY: ignoring a signal runs no code.
        unsafe { signal(ignored, SigHandler::SigIgn) }
            .map_err(|e| start_error(format!("the monitor cannot ignore {ignored}: {e}")))?;
    }
    nix::sys::prctl::set_child_subreaper(true)
        .map_err(|e| start_error(format!("the monitor cannot take orphans in: {e}")))?;
    cgroup.enter_as_monitor();
    Ok(())
}

fn start(dir: &GuestDir, deployed: Deployed, prepared: &Prepared, cgroup: &Cgroup) -> Result<Guest> {
    let spec = &deployed.spec;
    let step =
        |what: &str, e: &dyn std::error::Error| start_error(format!("{}: {what}: {}", spec.name, chain(e)));
    let log = prepared.log.as_ref().unwrap_or(&spec.log);
    let log =
        Log::open(log, CAP).map_err(|e| step(&format!("its log {} cannot be opened", log.display()), &e))?;
    let before = dir.exited()?.and_then(|exited| exited.address.parse().ok());
    let settings = &deployed.network;
    let subnet = Subnet::parse(&settings.subnet)?;
    let address =
        acquire(&settings.run, subnet, dir.path(), before).map_err(|e| step("it gets no address", &e))?;
    let devices: Vec<Device> =
        spec.needs.devices.iter().map(|path| Device::find(path)).collect::<Result<_>>()?;
    cgroup.make(&spec::limits(spec, &devices)).map_err(|e| step("its control groups cannot be made", &e))?;
    let way = layer::mount_private(dir, &deployed.image)
        .map_err(|e| step("its layer cannot be mounted over the image", &e))?;
    let inside = Inside::open(&dir.join("rootfs"))?;
    prepare::write(&inside, spec, prepared, address)?;
    let caps = caps::of(spec, &caps::held()?, cgroup.guards_devices())?;
    let config = spec::config(dir, &deployed, prepared, &inside, &caps, &devices)?;
    // Means nothing beyond this start, so it need not outlive a crash of the machine.
    fs::write(dir.join("config.json"), config.to_string())?;
    drop(inside);
    let filters = if spec.boot.privileged {
        Vec::new()
    } else {
        seccomp::filters(&caps).map_err(|e| start_error(format!("the system call filter: {e}")))?
    };
    let (mut failure, report) = io::pipe()?;
    let (output, writer) = io::pipe()?;
    let (uid, gid) = crate::hypervisor::container::check::user(spec.boot.user.as_deref())?;
    // A program that is not root opens /dev/stdout by name: it must own what is behind it.
    nix::unistd::fchown(&writer, Some(uid.into()), Some(gid.into()))
        .map_err(|e| step("its output cannot be handed over", &e))?;
    let me = Held::open(std::process::id() as i32)?;
    let executor =
        GuestExecutor { role: Role::Init(report.as_raw_fd()), parent: me.as_fd().as_raw_fd(), filters };
    fs::create_dir_all(dir.join("rc"))?;
    let (null, stdout) = (File::open("/dev/null")?, writer.try_clone()?);
    let container = ContainerBuilder::new(deployed.short.clone(), SyscallType::default())
        .with_executor(executor)
        .with_root_path(dir.join("rc"))
        .map(|builder| builder.with_stdin(null).with_stdout(stdout).with_stderr(writer))
        .and_then(|builder| builder.as_init(dir.path()).with_systemd(false).build());
    let mut container = container.map_err(|e| step("it cannot be made", &e))?;
    // Only the guest's end is left: the pipe ends with it.
    drop(report);
    let init = created(&container)?;
    let mut running = Running {
        init: Identity::of(init.pid())?,
        monitor: Identity::of(std::process::id() as i32)?,
        address: address.to_string(),
        started: false,
    };
    // Before it is whole, so that whoever finds it half-made can clear it away.
    dir.write_running(&running)?;
    let netns = File::open(format!("/proc/{}/ns/net", init.pid()))?;
    let sysctls = Sysctls::of(spec)?;
    // Before there is an interface: a new namespace takes the host's forwarding over.
    Sysctls::withhold(netns.try_clone()?).map_err(|e| step("its kernel parameters", &e))?;
    network::wire(settings, &deployed.short, &netns, address)
        .map_err(|e| step("its network cannot be wired", &e))?;
    sysctls.apply(netns.try_clone()?, false).map_err(|e| step("its kernel parameters", &e))?;
    way.back().map_err(|e| step("the monitor cannot leave the mount namespace", &e))?;
    container.start().map_err(|e| step("it cannot be started", &e))?;
    // Ends when the program has been executed; says why where it has not.
    let mut why = String::new();
    failure.read_to_string(&mut why)?;
    if !why.is_empty() {
        return Err(start_error(format!("{}: {why}", spec.name)));
    }
    running.started = true;
    dir.write_running(&running)?;
    Ok(Guest { deployed, init, address, netns, output, log, log_lost: false })
}

fn created(container: &Container) -> Result<Held> {
    let pid = container.pid().ok_or_else(|| start_error("libcontainer names no process".into()))?;
    Ok(Held::open(pid.as_raw())?)
}

impl Guest {
    /// Until the guest ends: drains its output and waits for it; then records its end and clears up.
    fn watch(mut self, dir: &GuestDir) {
        let status = self.drain();
        let address = self.address.to_string();
        let exited = match status {
            Ok(WaitStatus::Exited(_, code)) => Exited::now(Some(code), None, &address),
            Ok(WaitStatus::Signaled(_, signal, _)) => Exited::now(None, Some(signal as i32), &address),
            _ => Exited::now(None, None, &address),
        };
        // The namespace ends rules first and interfaces later: nothing is forwarded in between.
        if let Err(e) = self.netns.try_clone().and_then(Sysctls::withhold) {
            complain(&format!("{}: forwarding cannot be switched off: {e}", self.deployed.spec.name));
        }
        let cleared = residue::clear(dir, Some(&exited));
        if let Err(e) = cleared {
            complain(&format!("{}: clearing up failed: {e}", self.deployed.spec.name));
        }
        drop(self.netns);
        match Cgroup::of(&self.deployed.short) {
            Ok(cgroup) => cgroup.leave_as_monitor(),
            Err(e) => complain(&format!("{}: {e}", self.deployed.spec.name)),
        }
    }

    fn drain(&mut self) -> io::Result<WaitStatus> {
        set_nonblocking(self.output.as_fd())?;
        let mut open = true;
        loop {
            let mut wanted = vec![PollFd::new(self.init.as_fd(), PollFlags::POLLIN)];
            if open {
                wanted.push(PollFd::new(self.output.as_fd(), PollFlags::POLLIN));
            }
            match poll(&mut wanted, PollTimeout::NONE) {
                Err(e) if e != nix::Error::EINTR => return Err(e.into()),
                _ => {}
            }
            let ended = !self.init.alive();
            if open {
                open = self.copy_output()?;
            }
            // Its namespace's other processes have ended before it: what they wrote has been read.
            if ended {
                return Ok(waitpid(Pid::from_raw(self.init.pid()), None)?);
            }
            reap_others(self.init.pid());
        }
    }

    /// Copies what is there; false once nobody can write any more.
    fn copy_output(&mut self) -> io::Result<bool> {
        let mut buffer = [0; 1 << 16];
        loop {
            match self.output.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => {
                    // A full disk costs the guest its log, not its life. Said once: the guest decides how
                    // often this happens.
                    let logged = self.log.append(&buffer[..n]);
                    if let Err(e) = &logged
                        && !self.log_lost
                    {
                        complain(&format!("{}: the log cannot be written: {e}", self.deployed.spec.name));
                    }
                    self.log_lost = logged.is_err();
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Children that came to us as subreaper. The guest's init is left to be waited for by name.
fn reap_others(init: i32) {
    use nix::sys::wait::{Id, waitid};
    let peek = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
    while let Ok(status) = waitid(Id::All, peek) {
        match status.pid() {
            Some(pid) if pid.as_raw() != init => {
                if waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_err() {
                    return;
                }
            }
            _ => return,
        }
    }
}

/// The report has been made: nfio waits for the end of this pipe.
fn detach_output() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    Ok(dup2_stdout(&null)?)
}

pub(super) fn set_nonblocking(fd: BorrowedFd<'_>) -> io::Result<()> {
    use nix::fcntl::{FcntlArg, OFlag, fcntl};
    let flags = OFlag::from_bits_retain(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}
