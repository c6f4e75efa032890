//! A ROOT with one instance, a driver and a module that only note what is asked of them: the bed of this room's tests.

use middlebox_sdk::{File, Middlebox, Type, Vnf};
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use super::*;
use crate::config;
use crate::fs::operations::Operations;
use crate::hypervisor::{Execution, GuestSpec, Output, Prepared, PutFile};
use crate::root::Relocation;

/// What happened, what is there, and what is to fail.
#[derive(Default)]
pub(super) struct World {
    /// Steps in their order: what changes a guest, and the module's calls.
    pub(super) steps: Vec<String>,
    /// Guests by the UUID in their labels.
    pub(super) guests: HashMap<String, Status>,
    /// How often a guest was started.
    pub(super) runs: u32,
    /// Steps that fail, and with what.
    pub(super) failing: HashMap<&'static str, NfioError>,
    /// Steps that do not end before they are told to.
    pub(super) held: HashMap<String, Held>,
    /// The call of the module that outstays its deadline, and who hears what it is answered from then on.
    pub(super) outstaying: Option<(&'static str, Sender<Vec<i32>>)>,
    /// Guests end as soon as they have been configured.
    pub(super) short_lived: bool,
    /// What was asked to be made last.
    pub(super) spec: Option<GuestSpec>,
    /// What the last start was given.
    pub(super) prepared: Prepared,
}

/// A step that is held: it tells that it has begun, and waits.
pub(super) struct Held {
    begun: Sender<()>,
    go: Receiver<()>,
}

#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<World>>);

impl Shared {
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn step(&self, step: &str) -> Result<()> {
        let mut world = self.world();
        world.steps.push(step.to_owned());
        let outcome = world.failing.get(step).map_or(Ok(()), |e| Err(e.clone()));
        let held = world.held.remove(step);
        drop(world);
        if let Some(held) = held {
            held.begun.send(()).unwrap();
            // Also where the test is over.
            let _ = held.go.recv();
        }
        outcome
    }

    fn turn_into(&self, guest: &Guest, step: &str, status: Status) -> Result<()> {
        self.guest_status(guest)?;
        self.step(step)?;
        self.world().guests.insert(guest.labels.id.clone(), status);
        Ok(())
    }
}

impl Hypervisor for Shared {
    fn name(&self) -> &'static str {
        "Fake"
    }

    fn check(&self, _: &GuestSpec) -> Result<()> {
        self.step("check")
    }

    fn deploy(&self, spec: &GuestSpec) -> Result<String> {
        self.step("deploy")?;
        self.world().spec = Some(spec.clone());
        self.world().guests.insert(spec.labels.id.clone(), Status::Created);
        Ok(format!("engine-{}", spec.labels.id))
    }

    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        self.world().prepared = prepared.clone();
        self.turn_into(guest, "start", Status::Running)?;
        self.world().runs += 1;
        Ok(())
    }

    fn stop(&self, guest: &Guest) -> Result<()> {
        self.turn_into(guest, "stop", Status::Exited)
    }

    fn pause(&self, guest: &Guest) -> Result<()> {
        self.turn_into(guest, "pause", Status::Paused)
    }

    fn unpause(&self, guest: &Guest) -> Result<()> {
        self.turn_into(guest, "unpause", Status::Running)
    }

    fn destroy(&self, guest: &Guest, force: bool) -> Result<()> {
        if !force && self.guest_status(guest)? == Status::Running {
            return Err(HypervisorError::Destroy("it runs".into()).into());
        }
        self.step("destroy")?;
        self.world().guests.remove(&guest.labels.id);
        Ok(())
    }

    fn execute_in_guest(&self, _: &Guest, execution: &Execution) -> Result<Output> {
        self.step("execute")?;
        Ok(Output { exit_code: 0, stdout: execution.argv.join(" ").into(), stderr: Vec::new() })
    }

    fn put_file(&self, _: &Guest, _: &PutFile) -> Result<()> {
        self.step("put_file")
    }

    fn guest_status(&self, guest: &Guest) -> Result<Status> {
        let world = self.world();
        if let Some(e) = world.failing.get("guest_status") {
            return Err(e.clone());
        }
        world
            .guests
            .get(&guest.labels.id)
            .copied()
            .ok_or_else(|| HypervisorError::NotFound("it is not there".into()).into())
    }

    fn run_id(&self, guest: &Guest) -> Result<Option<String>> {
        let runs = matches!(self.guest_status(guest)?, Status::Running | Status::Paused);
        Ok(runs.then(|| self.world().runs.to_string()))
    }

    fn get_id(&self, guest: &Guest) -> Result<String> {
        self.guest_status(guest).map(|_| format!("engine-{}", guest.labels.id))
    }

    fn get_ip(&self, _: &Guest) -> Result<String> {
        Ok("10.0.0.2".into())
    }

    fn counters(&self, _: &Guest) -> Result<Counters> {
        Ok(Counters::default())
    }

    fn set_forwarding(&self, _: &Guest, on: bool) -> Result<()> {
        self.step(if on { "forward" } else { "do not forward" })
    }

    fn adopt(&self, guest: &Guest, _log: &Path) -> Result<Status> {
        self.guest_status(guest)
    }
}

/// The type `box`: a value `seen`, and a verb `do` that does to the guest what is written to it.
struct FakeBox(Shared);

impl FakeBox {
    /// Where it is told to outstay: asks until it is refused, then for everything that changes something.
    fn outstay(&self, function: &str, vnf: &Vnf<'_>) {
        let outstaying = self.0.world().outstaying.take_if(|(which, _)| *which == function);
        let Some((_, heard)) = outstaying else { return };
        while vnf.name().is_ok() {
            std::thread::yield_now();
        }
        let answers = [
            vnf.put_file("/late", 0o644, b"late"),
            vnf.execute_in_guest(&["late"], b"").map(drop),
            vnf.write_file("late", b"late"),
            vnf.set_env("LATE", "1"),
            vnf.stop(),
            vnf.destroy(true),
            vnf.get_ip().map(drop),
            vnf.value("status").map(drop),
            vnf.read_file("machine/ip").map(drop),
        ];
        let codes = answers.map(|answer| answer.map_or_else(|e| e.code(), |()| 0));
        let _ = heard.send(codes.to_vec());
    }
}

impl Middlebox for FakeBox {
    fn describe(&self) -> Type {
        Type::new("box", "1").file(File::verb("do")).file(File::value("stats/seen"))
    }

    fn write(&self, vnf: &Vnf<'_>, _: &str, data: &[u8]) -> Result<()> {
        self.outstay("write", vnf);
        match data {
            b"stop" => vnf.stop(),
            b"execute" => vnf.execute_in_guest(&["true"], b"").map(drop),
            b"destroy" => vnf.destroy(false),
            b"deploy" => vnf.deploy(),
            _ => Err(NfioError::configuration("what?")),
        }
    }

    fn read(&self, vnf: &Vnf<'_>, _: &str) -> Result<Vec<u8>> {
        vnf.stop().map(|()| b"stopped by a read".to_vec())
    }

    fn prepare(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        self.0.step("prepare")?;
        self.outstay("prepare", vnf);
        vnf.put_file("/etc/nf.conf", 0o644, nf_conf)
    }

    fn configure(&self, vnf: &Vnf<'_>, _: &[u8]) -> Result<()> {
        let outcome = self.0.step("configure");
        self.outstay("configure", vnf);
        let mut world = self.0.world();
        if world.short_lived {
            world.guests.values_mut().for_each(|status| *status = Status::Exited);
        }
        outcome
    }
}

/// The instance `box/a`, ready to be activated.
pub(super) struct Bed {
    pub(super) vnfs: Arc<VnfsOperations>,
    pub(super) shared: Shared,
    pub(super) directory: tempfile::TempDir,
}

pub(super) const A: tree::Instance<'static> = tree::Instance { ty: "box", name: "a" };

pub(super) fn myself() -> Caller {
    Caller { uid: nix::unistd::getuid().as_raw(), gid: nix::unistd::getgid().as_raw() }
}

impl Bed {
    pub(super) fn new() -> Self {
        Self::with(config::Deadlines::default())
    }

    /// One where a call within a verb has a second.
    pub(super) fn hasty() -> Self {
        Self::with(config::Deadlines { verb: Duration::from_secs(1), ..config::Deadlines::default() })
    }

    fn with(deadlines: config::Deadlines) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let shared = Shared::default();
        let bed = Self { vnfs: Self::take_up(&directory, &shared, false, deadlines), shared, directory };
        bed.vnfs.create(A, 0o755, myself()).unwrap();
        bed.write("machine/ip", "127.0.0.1\n");
        bed.write("machine/vm.image", "image\n");
        bed
    }

    fn take_up(
        directory: &tempfile::TempDir,
        shared: &Shared,
        lost: bool,
        deadlines: config::Deadlines,
    ) -> Arc<VnfsOperations> {
        let policy = Policy { hosts: vec!["127.0.0.1".into()], ..Policy::default() };
        let root = Root::open(directory.path(), Relocation::None).unwrap();
        let registry = Registry::of(FakeBox(shared.clone()), &root.private());
        if lost {
            registry.lose();
        }
        VnfsOperations::new(root, registry, Arc::new(shared.clone()), deadlines, policy).unwrap()
    }

    /// Ends nfio and mounts again, with the module or without.
    pub(super) fn mount_again(self, lost: bool) -> Self {
        let Self { vnfs, shared, directory } = self;
        drop(vnfs);
        Self {
            vnfs: Self::take_up(&directory, &shared, lost, config::Deadlines::default()),
            shared,
            directory,
        }
    }

    pub(super) fn path(&self, file: &str) -> PathBuf {
        self.directory.path().join(A.path()).join(file)
    }

    pub(super) fn private(&self, file: &str) -> PathBuf {
        self.directory.path().join(".nfio/instances/box/a").join(file)
    }

    pub(super) fn write(&self, file: &str, text: &str) {
        std::fs::write(self.path(file), text).unwrap();
    }

    pub(super) fn instance(&self) -> Arc<Instance> {
        self.vnfs.instance(A).unwrap()
    }

    pub(super) fn act(&self, verb: &str) -> Result<()> {
        self.vnfs.run(&self.instance(), Verb::parse(verb).unwrap())
    }

    /// Code of what a verb fails with; 0: it succeeds.
    pub(super) fn code(&self, verb: &str) -> i32 {
        self.act(verb).map_or_else(|e| e.code(), |()| 0)
    }

    pub(super) fn status(&self) -> String {
        self.vnfs.status(&self.instance()).unwrap().to_string()
    }

    pub(super) fn last_error(&self) -> String {
        String::from_utf8(self.vnfs.read_standard(&self.instance(), "last_error").unwrap()).unwrap()
    }

    /// The steps since this was last asked.
    pub(super) fn steps(&self) -> String {
        std::mem::take(&mut self.shared.world().steps).join(" ")
    }

    pub(super) fn fail(&self, step: &'static str, error: impl Into<NfioError>) {
        self.shared.world().failing.insert(step, error.into());
    }

    /// Has a call of the module outstay its deadline; what comes back tells the codes that it is answered then.
    pub(super) fn outstay(&self, function: &'static str) -> Receiver<Vec<i32>> {
        let (heard, codes) = channel();
        self.shared.world().outstaying = Some((function, heard));
        codes
    }

    /// Holds the next step of this name: what comes back tells that it has begun, and lets it go on.
    pub(super) fn hold(&self, step: &str) -> (Receiver<()>, Sender<()>) {
        let ((begun, has_begun), (release, go)) = (channel(), channel());
        self.shared.world().held.insert(step.to_owned(), Held { begun, go });
        (has_begun, release)
    }

    /// A write to the module's verb `do`: the code that it fails with; 0: it succeeds.
    pub(super) fn do_own(&self, data: &[u8]) -> i32 {
        let file = self.vnfs.special("box", "do").unwrap();
        self.vnfs.write(A, &file, data, myself()).count.map_or_else(|e| e.code(), |_| 0)
    }

    /// Brings the guest into a state, by hand where no verb leads there; `dead` is one that has vanished.
    pub(super) fn be(self, state: &str) -> Self {
        if state != "undeployed" {
            self.act("activate").unwrap();
        }
        let status = match state {
            "created" => Status::Created,
            "exited" => Status::Exited,
            "paused" => Status::Paused,
            _ => Status::Running,
        };
        self.shared.world().guests.values_mut().for_each(|guest| *guest = status);
        if state == "dead" {
            self.shared.world().guests.clear();
        }
        self.steps();
        assert_eq!(self.status(), state);
        self
    }
}
