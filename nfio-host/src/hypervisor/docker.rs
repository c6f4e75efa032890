//! The driver for Docker: containers on the Docker Engine of `machine/ip`, this machine's or another's, through its API.
//!
//! The driver keeps no state of its own. What it knows of a guest (`memory.rs`) comes from the engine's events, so that a
//! read costs no request; a guest is told by its label `io.nfio.id`, never by its name.

mod address;
mod counters;
mod create;
mod deploy;
mod engine;
mod exec;
mod failure;
mod files;
mod held;
mod looks;
mod memory;
mod output;
mod pull;
mod renew;

use bollard::query_parameters::StopContainerOptionsBuilder;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::runtime::Runtime;

use super::boot_files::BootFiles;
use super::container::check as container;
use super::container::counters as kernel;
use super::container::process::Held;
use super::container::sysctl::Sysctls;
use super::{Counters, Execution, Guest, GuestSpec, Hypervisor, Output, Prepared, PutFile, Status};
use crate::config::Host;
use crate::error::{HypervisorError, NfioError, Result};
use crate::fault::{self, Step};
use address::Address;
use engine::{Engine, QUICK, SLOW};
use failure::Failure;
use memory::Known;

/// How long a command in a guest may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// How long the small init of a container of this machine may take to run the container's command; mostly it takes
/// some milliseconds.
const COMMAND_BEGINS: Duration = Duration::from_secs(1);
/// The longest `stop_timeout` that boot.conf may hold.
const LONGEST_STOP: Duration = Duration::from_secs(3600);
/// How long a mount waits for an engine's first answer before it goes on without.
const FIRST_ANSWER: Duration = Duration::from_secs(2);

/// What the driver is told.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    /// UUID of the ROOT.
    pub root: String,
    /// Directory for what the driver keeps of its guests (0700, or in one that is).
    pub state: PathBuf,
    /// Socket of this machine's engine; None: as `DOCKER_HOST` says, or docker's own default.
    pub socket: Option<PathBuf>,
    /// How the engines of other hosts are reached.
    pub hosts: BTreeMap<String, Host>,
}

/// The driver.
#[derive(Debug)]
pub struct Docker {
    config: DockerConfig,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
    engines: Mutex<HashMap<String, Arc<Engine>>>,
    boot_files: BootFiles,
}

impl Drop for Docker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Its tasks wait for engines, which may take their time.
            runtime.shutdown_background();
        }
    }
}

impl Docker {
    /// A driver. No engine is asked yet.
    ///
    /// # Errors
    /// Where no thread can be made, or no directory for its state.
    pub fn new(config: DockerConfig) -> Result<Self> {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(2).thread_name("nfio-docker").enable_all().build()?;
        let boot_files = BootFiles::new(&config.state)?;
        Ok(Self { config, runtime: Some(runtime), engines: Mutex::default(), boot_files })
    }

    fn wait<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().expect("it runs as long as the driver").block_on(future)
    }

    /// The engine of a host, whose events are followed from now on.
    fn engine(&self, host: &str) -> Result<Arc<Engine>> {
        let mut engines = self.engines.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(engine) = engines.get(host) {
            return Ok(engine.clone());
        }
        let address = Address::of(host, self.config.socket.as_deref(), &self.config.hosts)?;
        let engine = Arc::new(Engine::new(address, self.config.root.clone()));
        let runtime = self.runtime.as_ref().expect("it runs as long as the driver");
        runtime.spawn(engine::watch(Arc::clone(&engine)));
        engines.insert(host.to_owned(), Arc::clone(&engine));
        Ok(engine)
    }

    /// The engine of a host that is to be told something: its memory is up, or it has failed to answer.
    fn ready(&self, host: &str) -> Result<Arc<Engine>> {
        let engine = self.engine(host)?;
        // A little longer than an answer may take, so that a failure is told in its own words.
        self.wait(engine.memory.settled(QUICK + Duration::from_millis(500)));
        Ok(engine)
    }

    fn known(&self, guest: &Guest) -> Result<(Arc<Engine>, Known)> {
        let engine = self.ready(&guest.host)?;
        let known = engine.known(guest)?;
        Ok((engine, known))
    }

    fn running(&self, guest: &Guest) -> Result<(Arc<Engine>, Known)> {
        let (engine, known) = self.known(guest)?;
        match known.status {
            Status::Running | Status::Paused => Ok((engine, known)),
            status => Err(HypervisorError::NotRunning(format!(
                "{} is {status}: write start into action",
                guest.name
            ))
            .into()),
        }
    }

    fn awake(&self, guest: &Guest) -> Result<(Arc<Engine>, Known)> {
        let (engine, known) = self.running(guest)?;
        if known.status == Status::Paused {
            let message = format!("{} is paused: write unpause into action first", guest.name);
            return Err(HypervisorError::NotRunning(message).into());
        }
        Ok((engine, known))
    }

    /// Tells the engine something about a guest's container, and looks at what came of it.
    fn tell(
        &self,
        guest: &Guest,
        class: fn(String) -> HypervisorError,
        request: impl AsyncFnOnce(&Arc<Engine>, &Known) -> std::result::Result<(), Failure>,
    ) -> Result<()> {
        let (engine, known) = self.known(guest)?;
        let done = self.wait(async {
            request(&engine, &known).await?;
            engine.look(&known.container).await
        });
        done.map_err(|failure| failure.of(class, &guest.name, &engine.address))
    }
}

impl Hypervisor for Docker {
    fn name(&self) -> &'static str {
        "Docker"
    }

    fn check(&self, spec: &GuestSpec) -> Result<()> {
        create::judge(spec)?;
        Address::of(&spec.host, self.config.socket.as_deref(), &self.config.hosts).map(drop)
    }

    fn deploy(&self, spec: &GuestSpec) -> Result<String> {
        self.check(spec)?;
        let engine = self.ready(&spec.host)?;
        // The first words of an engine that does not answer are the best that can be told.
        match engine.memory.guest(&spec.labels.id) {
            Err(why) => return Err(failure::unreachable(&engine.address, &why)),
            Ok(Some(known)) => {
                let message = format!(
                    "{}: the container {} is this guest already: destroy it first",
                    spec.name, known.container
                );
                return Err(HypervisorError::Deploy(message).into());
            }
            Ok(None) => {}
        }
        engine.logs.goes_to(&spec.labels.id, &spec.log);
        self.boot_files.keep(spec)?;
        fault::at(Step::DockerFiles);
        self.wait(deploy::deploy(&engine, spec)).inspect_err(|e| {
            // The container may be there, and be started yet.
            if matches!(e, NfioError::Hypervisor(HypervisorError::InconsistentState(_))) {
                return;
            }
            engine.logs.forget(&spec.labels.id);
            if let Err(e) = self.boot_files.remove(&spec.labels.id) {
                tracing::warn!("the files of {} that boot.conf names are left in ROOT: {e}", spec.name);
            }
        })
    }

    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        let (engine, known) = self.known(guest)?;
        match known.status {
            Status::Running => return Ok(()),
            Status::Paused => {
                let message = format!("{} is paused: write unpause into action", guest.name);
                return Err(HypervisorError::Start(message).into());
            }
            _ => {}
        }
        if let Some(log) = &prepared.log {
            engine.logs.goes_to(&guest.labels.id, log);
        }
        let failed = |failure: Failure| failure.of(HypervisorError::Start, &guest.name, &engine.address);
        let container = self.wait(renew::renew(&engine, guest, &known, prepared)).map_err(failed)?;
        // The type's own files win.
        for file in self.boot_files.of(guest)?.iter().chain(&prepared.files) {
            self.put(&engine, &container, file)?;
        }
        fault::at(Step::DockerFilled);
        self.wait(async {
            engine.call(SLOW, async |docker| docker.start_container(&container, None).await).await?;
            fault::at(Step::DockerStarted);
            engine.look(&container).await
        })
        .map_err(failed)?;
        if !engine.address.is_local() {
            return Ok(());
        }
        // A command that is not in the image is told now, not found out later.
        let known = engine.known(guest)?;
        if let Some(init) = &known.init {
            init.runs_its_command(COMMAND_BEGINS);
            if init.alive() {
                return Ok(());
            }
        }
        self.wait(engine.look_until_true(&known.container)).map_err(failed)
    }

    fn stop(&self, guest: &Guest) -> Result<()> {
        self.tell(guest, HypervisorError::Stop, async |engine, known| {
            let id = known.container.as_str();
            if known.status == Status::Paused {
                engine.unpause(id).await?;
                fault::at(Step::DockerUnpaused);
            }
            // The container was made with the time that it gets.
            let limit = SLOW + LONGEST_STOP;
            let options = StopContainerOptionsBuilder::new().build();
            engine.call(limit, async |docker| docker.stop_container(id, Some(options)).await).await
        })
    }

    fn pause(&self, guest: &Guest) -> Result<()> {
        self.running(guest)?;
        self.tell(guest, HypervisorError::Pause, async |engine, known| {
            let id = known.container.as_str();
            engine.call(SLOW, async |docker| docker.pause_container(id).await).await
        })
    }

    fn unpause(&self, guest: &Guest) -> Result<()> {
        self.running(guest)?;
        self.tell(guest, HypervisorError::Unpause, async |engine, known| {
            engine.unpause(&known.container).await
        })
    }

    fn destroy(&self, guest: &Guest, force: bool) -> Result<()> {
        let engine = self.ready(&guest.host)?;
        let runs = match engine.known(guest) {
            Err(NfioError::Hypervisor(HypervisorError::NotFound(_))) => false,
            known => matches!(known?.status, Status::Running | Status::Paused),
        };
        if runs && !force {
            let message =
                format!("{} runs: write stop into action first, or destroy it with force", guest.name);
            return Err(HypervisorError::Destroy(message).into());
        }
        let removed = self.wait(async {
            renew::remove_guest(&engine, guest).await?;
            renew::remove_images(&engine, guest).await
        });
        fault::at(Step::DockerImages);
        engine.logs.forget(&guest.labels.id);
        self.boot_files.remove(&guest.labels.id)?;
        removed.map_err(|failure| failure.of(HypervisorError::Destroy, &guest.name, &engine.address))
    }

    fn execute_in_guest(&self, guest: &Guest, execution: &Execution) -> Result<Output> {
        let (engine, known) = self.awake(guest)?;
        container::command(&execution.argv, "the command")?;
        let done = self.wait(async {
            let done = exec::execute(&engine, &known.container, execution, COMMAND_LIMIT).await;
            if done.as_ref().map_or(true, |output| output.exit_code != 0) {
                // It may have failed because the guest ended, or was paused: whoever asks next is told so.
                engine.look_until_true(&known.container).await?;
            }
            done
        });
        done.map_err(|failure| match self.awake(guest) {
            Ok(_) => failure.of(HypervisorError::CommandExecution, &guest.name, &engine.address),
            Err(gone) => gone,
        })
    }

    fn put_file(&self, guest: &Guest, file: &PutFile) -> Result<()> {
        let (engine, known) = self.awake(guest)?;
        self.put(&engine, &known.container, file)
    }

    fn guest_status(&self, guest: &Guest) -> Result<Status> {
        Ok(self.engine(&guest.host)?.known(guest)?.status)
    }

    fn run_id(&self, guest: &Guest) -> Result<Option<String>> {
        let known = self.engine(&guest.host)?.known(guest)?;
        let runs = matches!(known.status, Status::Running | Status::Paused);
        Ok(runs.then(|| format!("{} {}", known.container, known.started)))
    }

    fn get_id(&self, guest: &Guest) -> Result<String> {
        self.known(guest).map(|(_, known)| known.container)
    }

    fn get_ip(&self, guest: &Guest) -> Result<String> {
        let (_, known) = self.running(guest)?;
        match known.address.is_empty() {
            false => Ok(known.address),
            true => {
                let message = format!("{} has no address: it is connected to no network", guest.name);
                Err(HypervisorError::NotFound(message).into())
            }
        }
    }

    fn counters(&self, guest: &Guest) -> Result<Counters> {
        let (engine, known) = self.running(guest)?;
        match &known.init {
            Some(init) => kernel::read(init)?.ok_or_else(|| ended(guest)),
            None => {
                let asked = self.wait(engine.samples.of(&engine, &known));
                asked.map_err(|failure| failure.of(HypervisorError::Connection, &guest.name, &engine.address))
            }
        }
    }

    fn counts_at_once(&self, guest: &Guest) -> bool {
        let known = self.engine(&guest.host).and_then(|engine| engine.known(guest));
        known.is_ok_and(|known| known.init.is_some())
    }

    fn set_forwarding(&self, guest: &Guest, on: bool) -> Result<()> {
        let (engine, known) = self.running(guest)?;
        // On another machine the engine has set it when the guest started.
        let Some(sysctls) = known.sysctls.as_ref().filter(|sysctls| sysctls.forwards()) else {
            return Ok(());
        };
        let outcome = match &known.init {
            Some(init) => forward(init, sysctls, on),
            None => Err(io::Error::other("its first process is not to be seen")),
        };
        outcome.or_else(|e| {
            // Its end is known before the event tells of it: whoever looks next finds it ended.
            let looked = self.wait(engine.look_until_true(&known.container));
            looked.map_err(|failure| failure.of(HypervisorError::Start, &guest.name, &engine.address))?;
            self.running(guest)?;
            Err(HypervisorError::Start(format!("{}: {e}", guest.name)).into())
        })
    }

    fn netns(&self, guest: &Guest) -> Result<File> {
        let (engine, known) = self.running(guest)?;
        match &known.init {
            Some(init) => init.netns().map_err(|_| ended(guest)),
            None if engine.address.is_local() => Err(ended(guest)),
            None => {
                let message = format!(
                    "{} runs on {}: service chains connect guests of this machine only",
                    guest.name, guest.host
                );
                Err(NfioError::posix(libc::EOPNOTSUPP, message))
            }
        }
    }

    fn adopt(&self, guest: &Guest, log: &Path) -> Result<Status> {
        let engine = self.engine(&guest.host)?;
        engine.logs.goes_to(&guest.labels.id, log);
        self.wait(engine.memory.settled(FIRST_ANSWER));
        self.guest_status(guest)
    }

    fn settle_log(&self, guest: &Guest) {
        if let Ok((engine, known)) = self.known(guest) {
            self.wait(engine.logs.settled(&guest.labels.id, &known));
        }
    }
}

impl Docker {
    fn put(&self, engine: &Engine, container: &str, file: &PutFile) -> Result<()> {
        self.wait(files::put(engine, container, file))
    }
}

fn ended(guest: &Guest) -> NfioError {
    HypervisorError::NotRunning(format!("{} has just ended: write start into action", guest.name)).into()
}

fn forward(init: &Held, sysctls: &Sysctls, on: bool) -> io::Result<()> {
    sysctls.apply(init.netns()?, on)
}
