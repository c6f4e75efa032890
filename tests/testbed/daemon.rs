//! A daemon that the test bed runs: dockerd, libvirtd.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::eventually;

/// A daemon, whether it runs or not.
#[derive(Debug)]
pub(crate) struct Daemon {
    /// What it says.
    log: PathBuf,
    /// None while it is killed.
    process: Mutex<Option<Child>>,
}

impl Daemon {
    /// One that does not run yet.
    pub(crate) fn new(log: PathBuf) -> Self {
        Self { log, process: Mutex::default() }
    }

    /// Starts it and waits until it answers.
    #[track_caller]
    pub(crate) fn run(&self, mut command: Command, answers: impl Fn() -> bool) {
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).expect("a log");
        let errors = log.try_clone().expect("a descriptor");
        let child = command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().expect("a daemon");
        *self.process() = Some(child);
        eventually(&format!("a daemon answers (its log: {})", self.log.display()), || {
            let ended = self.process().as_mut().and_then(|child| child.try_wait().expect("a child"));
            if let Some(code) = ended {
                let words = fs::read_to_string(&self.log).unwrap_or_default();
                panic!("{command:?} ended: {code}\n{words}");
            }
            answers()
        });
    }

    /// Its process id; it must run.
    #[track_caller]
    pub(crate) fn pid(&self) -> u32 {
        self.process().as_ref().expect("it runs").id()
    }

    /// Sends it a signal.
    #[track_caller]
    pub(crate) fn signal(&self, signal: Signal) {
        kill(pid(self.pid()), signal).expect("kill");
    }

    /// Ends it with SIGKILL, if it runs.
    #[track_caller]
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.process().take() {
            child.kill().expect("kill");
            child.wait().expect("wait");
        }
    }

    /// Ends it in good order, also when it is stopped, if it runs. Says what fails: this is the end of a test.
    pub(crate) fn end(&self) {
        self.wake();
        let Some(mut child) = self.process().take() else { return };
        let _ = kill(pid(child.id()), Signal::SIGTERM);
        if let Err(e) = child.wait() {
            eprintln!("the end of a daemon: {e}");
        }
    }

    /// Has it go on, where a signal has stopped it.
    pub(crate) fn wake(&self) {
        if let Some(child) = self.process().as_ref() {
            let _ = kill(pid(child.id()), Signal::SIGCONT);
        }
    }

    fn process(&self) -> MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn pid(id: u32) -> Pid {
    Pid::from_raw(i32::try_from(id).expect("a pid"))
}
