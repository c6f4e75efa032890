//! The last step in the guest before its program: what libcontainer leaves to its user. Runs in the forked
//! child, inside all namespaces, with capabilities already dropped.

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::{Executor, ExecutorError, ExecutorValidationError};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{AccessFlags, access, execv};
use seccompiler::BpfProgram;
use std::env;
use std::ffi::CString;
use std::io::{self, Write};
use std::os::fd::{BorrowedFd, RawFd};

/// What the program is to the guest.
#[derive(Debug, Clone, Copy)]
pub(super) enum Role {
    /// Its first process. The descriptor is close-on-exec: it ends silently when the program runs, and
    /// carries the reason when it cannot.
    Init(RawFd),
    /// A command in it: failures are its exit code and stderr, as in a shell. The descriptor is a pidfd of
    /// the guest's first process, whose namespaces were joined by its pid.
    Command { init: RawFd },
}

/// Installs the filters and becomes the program.
#[derive(Clone)]
pub(super) struct GuestExecutor {
    pub(super) role: Role,
    /// A pidfd of the process that starts this one.
    pub(super) parent: RawFd,
    pub(super) filters: Vec<BpfProgram>,
}

struct Failure {
    code: i32,
    message: String,
}

impl GuestExecutor {
    /// Answers only where the program cannot run.
    fn run(&self, spec: &Spec) -> Failure {
        if let Role::Command { init } = self.role
            && has_ended(init)
        {
            return Failure::new(126, "the guest has just ended");
        }
        let args = arguments(spec);
        let candidates = match candidates(args) {
            Ok(found) => found,
            Err(failure) => return failure,
        };
        let argv: Result<Vec<CString>, _> = args.iter().map(|arg| CString::new(arg.as_str())).collect();
        let Ok(argv) = argv else { return Failure::new(126, "an argument holds a NUL byte") };
        // Ignored signals stay ignored over exec: Rust's runtime and the monitor ignore some for themselves,
        // whoever started nfio (nohup, a shell's `&`) may have ignored others.
        for ignored in Signal::iterator().filter(|s| ![Signal::SIGKILL, Signal::SIGSTOP].contains(s)) {
            // SAFETY: the default action is no handler; nothing else runs in this process.
            if let Err(e) = unsafe { signal(ignored, SigHandler::SigDfl) } {
                return Failure::new(126, format!("{ignored} cannot be reset: {e}"));
            }
        }
        for filter in &self.filters {
            if let Err(e) = seccompiler::apply_filter(filter) {
                return Failure::new(126, format!("the system call filter cannot be installed: {e}"));
            }
        }
        let mut last = Errno::ENOENT;
        for program in candidates {
            let Err(e) = execv(&program, &argv);
            last = e;
        }
        Failure::new(126, format!("{} cannot be executed: {}", args[0], last.desc()))
    }
}

impl Executor for GuestExecutor {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let failure = self.run(spec);
        match self.role {
            Role::Init(report) => {
                // SAFETY: the monitor opened this descriptor for us and it stays open until exec.
                let report = unsafe { BorrowedFd::borrow_raw(report) };
                // Nobody else could be told about a report that cannot be written.
                let _ = nix::unistd::write(report, failure.message.as_bytes());
            }
            Role::Command { .. } => {
                let _ = writeln!(io::stderr(), "{}", failure.message);
            }
        }
        // SAFETY: ends this process, without the exit handlers of the program that it was forked from.
        unsafe { libc::_exit(failure.code) }
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let refuse = |why: &str| Err(ExecutorValidationError::ArgValidationError(why.into()));
        // Without its monitor a guest would run with nobody to record its end or drain its output; without its
        // helper a command would wait for ever to be let go.
        if let Err(e) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
            return refuse(e.desc());
        }
        // The signal is for deaths to come; and this process holds its own end of every channel open, so that
        // it would notice nothing.
        if has_ended(self.parent) {
            return refuse("the process that started this one is gone");
        }
        let Role::Init(_) = self.role else { return Ok(()) };
        candidates(arguments(spec))
            .map(drop)
            .map_err(|failure| ExecutorValidationError::ArgValidationError(failure.message))
    }
}

impl Failure {
    fn new(code: i32, message: impl Into<String>) -> Self {
        Self { code, message: message.into() }
    }
}

/// Whether the process of this pidfd has ended. A guest that lives after its namespaces were joined by pid had that
/// pid all along; else the pid may be a process of the host by now, and the namespaces the host's.
fn has_ended(pidfd: RawFd) -> bool {
    // SAFETY: the helper opened this descriptor for us and keeps it open until exec.
    let pidfd = unsafe { BorrowedFd::borrow_raw(pidfd) };
    let mut wanted = [PollFd::new(pidfd, PollFlags::POLLIN)];
    !poll(&mut wanted, PollTimeout::ZERO).is_ok_and(|ready| ready == 0)
}

fn arguments(spec: &Spec) -> &[String] {
    spec.process().as_ref().and_then(|process| process.args().as_deref()).unwrap_or_default()
}

/// The files that may be the program: executable ones, in the order of PATH.
fn candidates(args: &[String]) -> Result<Vec<CString>, Failure> {
    let Some(program) = args.first().filter(|program| !program.is_empty()) else {
        return Err(Failure::new(127, "the command is empty"));
    };
    let places = if program.contains('/') {
        vec![program.clone()]
    } else {
        let path = env::var("PATH").unwrap_or_default();
        path.split(':').filter(|dir| !dir.is_empty()).map(|dir| format!("{dir}/{program}")).collect()
    };
    let (mut found, mut denied) = (Vec::new(), None);
    for place in places {
        match access(place.as_str(), AccessFlags::X_OK) {
            Ok(()) if std::path::Path::new(&place).is_dir() => denied = Some("is a directory"),
            Ok(()) => {
                let place = CString::new(place);
                found.push(place.map_err(|_| Failure::new(126, "the program's name holds a NUL byte"))?);
            }
            Err(Errno::ENOENT | Errno::ENOTDIR) => {}
            Err(e) => denied = Some(e.desc()),
        }
    }
    match denied {
        _ if !found.is_empty() => Ok(found),
        Some(why) => Err(Failure::new(126, format!("{program}: cannot be executed in the guest: {why}"))),
        None => Err(Failure::new(127, format!("{program}: not found in the guest"))),
    }
}
