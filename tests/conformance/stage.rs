//! A promise's stage: the driver under judgement, guests that are its own, and short words for what is asked of them.

use nfio_host::error::{NfioError, Result};
use nfio_host::hypervisor::boot_conf::BootConf;
use nfio_host::hypervisor::guest::Labels;
use nfio_host::hypervisor::{Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Status};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

use crate::ground::{Facts, Ground};

/// Puts a driver in place of the ground's own: the same, or a broken one around it.
pub(crate) type Wrap<'a> = &'a (dyn Fn(Arc<dyn Hypervisor>) -> Arc<dyn Hypervisor> + Sync);

/// One promise's stage. Its guests go with it.
pub(crate) struct Stage<'a> {
    /// The driver under judgement.
    pub(crate) driver: Arc<dyn Hypervisor>,
    pub(crate) facts: Facts,
    ground: &'a dyn Ground,
    wrap: Wrap<'a>,
    /// The ground's own driver, which clears up.
    own: Arc<dyn Hypervisor>,
    directory: TempDir,
    patience: Duration,
    made: Mutex<Vec<Guest>>,
    /// Guests that other promises may have, too.
    shared: Mutex<Vec<(Guest, TempDir)>>,
}

impl<'a> Stage<'a> {
    /// A stage over `own`. `patience`: how long anything may take that is waited for.
    pub(crate) fn new(
        ground: &'a dyn Ground,
        own: &Arc<dyn Hypervisor>,
        wrap: Wrap<'a>,
        patience: Duration,
    ) -> Self {
        Self {
            driver: wrap(own.clone()),
            facts: ground.facts(),
            ground,
            wrap,
            own: own.clone(),
            directory: tempfile::tempdir_in("/run").expect("a directory below /run"),
            patience,
            made: Mutex::default(),
            shared: Mutex::default(),
        }
    }

    /// Another driver over the same guests, as nfio has after its own restart.
    pub(crate) fn again(&self) -> Arc<dyn Hypervisor> {
        (self.wrap)(self.ground.driver())
    }

    pub(crate) fn ground(&self) -> &dyn Ground {
        self.ground
    }

    /// A directory of this machine that goes with the stage.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A guest of its own, of the type firewall, with this boot.conf.
    pub(crate) fn spec(&self, conf: &str) -> GuestSpec {
        let spec = self.spec_at(self.directory.path(), conf);
        held(&self.made).push(Guest::of(&spec));
        spec
    }

    fn spec_at(&self, directory: &Path, conf: &str) -> GuestSpec {
        let id = uuid::Uuid::new_v4().to_string();
        let log = directory.join(format!("{id}.log"));
        fs::write(&log, "").expect("a log");
        let instance = format!("fw-{}", &id[..8]);
        GuestSpec {
            name: format!("root-firewall-{instance}"),
            labels: Labels { root: self.facts.root.clone(), ty: "firewall".into(), instance, id },
            host: self.facts.host.clone(),
            user: "root".into(),
            image: self.facts.image.clone(),
            absolute_image: false,
            vcpu: None,
            memory: self.facts.memory,
            boot: BootConf::parse(conf).unwrap_or_else(|e| panic!("{conf}: {e}")),
            needs: Default::default(),
            files: Vec::new(),
            log,
        }
    }

    /// Deploys a guest.
    pub(crate) fn deployed(&self, spec: &GuestSpec) -> Guest {
        let id = self.driver.deploy(spec).unwrap_or_else(|e| panic!("deploy: {e}"));
        Guest { id, ..Guest::of(spec) }
    }

    /// Deploys and starts a guest.
    pub(crate) fn up(&self, spec: &GuestSpec) -> Guest {
        let guest = self.deployed(spec);
        self.start(&guest);
        guest
    }

    /// Deploys and starts a guest that runs this script of a shell.
    pub(crate) fn running(&self, script: &str) -> Guest {
        self.up(&self.spec(&command(script)))
    }

    /// boot.conf of a guest that does nothing until it is asked.
    pub(crate) fn idle_conf(&self) -> String {
        if self.facts.machine { String::new() } else { command("exec sleep 1000") }
    }

    /// Deploys and starts a guest that does nothing until it is asked.
    pub(crate) fn idle(&self) -> Guest {
        self.up(&self.spec(&self.idle_conf()))
    }

    /// The same for a promise that leaves the guest as it was, or gone: where a boot takes seconds, the next such promise
    /// has it after this one.
    pub(crate) fn shared(&self) -> Guest {
        let Some(waiting) = self.ground.waiting() else { return self.idle() };
        let ready = held(waiting).pop();
        let (guest, log) = match ready {
            Some((guest, log)) => {
                held(&self.made).push(guest.clone());
                (guest, log)
            }
            None => {
                let log = tempfile::tempdir_in("/run").expect("a directory below /run");
                let spec = self.spec_at(log.path(), &self.idle_conf());
                held(&self.made).push(Guest::of(&spec));
                (self.up(&spec), log)
            }
        };
        self.says(&guest, "true");
        self.address(&guest);
        held(&self.shared).push((guest.clone(), log));
        guest
    }

    /// The promise was kept: its shared guests are the next one's.
    pub(crate) fn hand_on(&mut self) {
        let Some(waiting) = self.ground.waiting() else { return };
        for (guest, log) in std::mem::take(&mut *held(&self.shared)) {
            let status = self.own.guest_status(&guest);
            let goes_on = match status {
                Ok(Status::Running) => Ok(()),
                Ok(Status::Paused) => self.own.unpause(&guest),
                _ => self.own.destroy(&guest, true).and_then(|()| self.own.guest_status(&guest).map(drop)),
            };
            if goes_on.is_ok() {
                held(&self.made).retain(|made| made.labels.id != guest.labels.id);
                held(waiting).push((guest, log));
            }
        }
    }

    /// Its address; a virtual machine has none before its own DHCP client got one.
    pub(crate) fn address(&self, guest: &Guest) -> String {
        if self.facts.machine {
            self.until("it has an address", || self.driver.get_ip(guest).is_ok());
        }
        accepted("get_ip", self.driver.get_ip(guest))
    }

    pub(crate) fn start(&self, guest: &Guest) {
        self.driver.start(guest, &Prepared::default()).unwrap_or_else(|e| panic!("start: {e}"));
    }

    pub(crate) fn stop(&self, guest: &Guest) {
        self.driver.stop(guest).unwrap_or_else(|e| panic!("stop: {e}"));
    }

    pub(crate) fn status(&self, guest: &Guest) -> Status {
        self.driver.guest_status(guest).unwrap_or_else(|e| panic!("guest_status: {e}"))
    }

    /// Runs a command.
    pub(crate) fn run(&self, guest: &Guest, argv: &[&str], stdin: &[u8]) -> Output {
        self.driver
            .execute_in_guest(guest, &execution(argv, stdin))
            .unwrap_or_else(|e| panic!("execute_in_guest {argv:?}: {e}"))
    }

    /// What a shell's script in the guest says on stdout, without the last newline.
    pub(crate) fn says(&self, guest: &Guest, script: &str) -> String {
        let output = self.run(guest, &["sh", "-c", script], b"");
        String::from_utf8_lossy(&output.stdout).trim_end_matches('\n').to_owned()
    }

    /// Whether a shell's script in the guest succeeds.
    pub(crate) fn succeeds(&self, guest: &Guest, script: &str) -> bool {
        self.run(guest, &["sh", "-c", script], b"").exit_code == 0
    }

    pub(crate) fn run_id(&self, guest: &Guest) -> Option<String> {
        self.driver.run_id(guest).unwrap_or_else(|e| panic!("run_id: {e}"))
    }

    /// Where a guest's output is looked for.
    pub(crate) fn log_of(&self, guest: &Guest) -> PathBuf {
        self.directory.path().join(format!("{}.log", guest.labels.id))
    }

    pub(crate) fn log(&self, guest: &Guest) -> String {
        let bytes = fs::read(self.log_of(guest)).expect("the guest's log");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Waits until `done`, and fails where it takes longer than anything may.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let begin = Instant::now();
        while !done() {
            assert!(begin.elapsed() < self.patience, "{what}: not within {:?}", self.patience);
            std::thread::park_timeout(Duration::from_millis(10));
        }
    }

    /// Sends some kilobytes through the guest's first interface and back.
    pub(crate) fn traffic(&self, guest: &Guest) {
        if self.facts.machine {
            let address = self.address(guest);
            let ping = |arguments: &[&str]| {
                let mut ping = self.ground.near("ping");
                ping.args(arguments).arg(&address).output().expect("ping").status.success()
            };
            self.until("the guest answers", || ping(&["-c", "1", "-W", "1"]));
            assert!(ping(&["-c", "5", "-i", "0.2", "-W", "5", "-s", "1400"]), "{address} does not answer");
            return;
        }
        let ping = "ping -c 5 -i 0.2 -W 5 -s 1400 $(/usr/sbin/ip route | sed -n 's/^default via \\([^ ]*\\).*/\\1/p')";
        assert!(self.succeeds(guest, ping), "the guest's gateway does not answer");
    }
}

pub(crate) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A test that fails leaves nothing either.
impl Drop for Stage<'_> {
    fn drop(&mut self) {
        for guest in self.made.get_mut().unwrap_or_else(PoisonError::into_inner) {
            if let Err(e) = self.own.destroy(guest, true) {
                eprintln!("{} is left behind: {e}", guest.name);
            }
        }
    }
}

/// boot.conf for a guest that runs this script of a shell.
pub(crate) fn command(script: &str) -> String {
    format!("command = [\"sh\", \"-c\", {script:?}]\n")
}

pub(crate) fn execution(argv: &[&str], stdin: &[u8]) -> Execution {
    Execution { argv: argv.iter().map(ToString::to_string).collect(), stdin: stdin.into() }
}

pub(crate) fn file(path: &str, mode: u32, data: impl Into<Vec<u8>>) -> PutFile {
    PutFile { path: path.into(), mode, data: data.into() }
}

/// Fails unless `outcome` is the error of this code (DESIGN, section 5), which it answers.
#[track_caller]
pub(crate) fn refused<T>(what: &str, outcome: Result<T>, code: i32) -> NfioError {
    match outcome {
        Ok(_) => panic!("{what} succeeded; error {code} was promised"),
        Err(e) if e.code() == code => e,
        Err(e) => panic!("{what}: error {} and not {code}: {e}", e.code()),
    }
}

#[track_caller]
pub(crate) fn accepted<T>(what: &str, outcome: Result<T>) -> T {
    outcome.unwrap_or_else(|e| panic!("{what}: {e}"))
}
