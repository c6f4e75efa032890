//! A host: one connection to its libvirt, made once and made anew when it is broken, and what is known of its guests.
//!
//! Every half second one thread asks for the state of each of our domains, so that a read of `status` costs no request
//! and is never older than that. Where libvirt does not answer, nothing is known.

use std::collections::HashMap;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};
use virt::connect::Connect;
use virt::domain::{Domain, DomainState, DomainStateReason, DomainStateReasonEnum};
use virt::domain::{DomainPausedReason, DomainShutoffReason, DomainStateEnum};
use virt::enumutil::Enum;
use virt::error::Error;

use super::console::Consoles;
use super::{accelerator, failure, run, tell};
use crate::error::{HypervisorError, NfioError, Result};
use crate::hypervisor::container::log::{CAP, Log};
use crate::hypervisor::{Guest, Status};

/// What a log may hold when it is looked at: it goes on growing until the next look.
const LOG: u64 = CAP / 2;
/// From one look at all domains to the next.
const TICK: Duration = Duration::from_millis(500);
/// What was seen longer ago is not told as true any more.
const STALE: Duration = Duration::from_secs(4);

/// A host.
pub(super) struct Host {
    pub(super) uri: String,
    /// Whether its domains run on this machine.
    pub(super) local: bool,
    state: Mutex<State>,
    /// What runs the instructions of its domains, where nfio.toml leaves that to us.
    accelerator: OnceLock<&'static str>,
    /// Looks come one after the other, so that an old one never overwrites a newer one.
    looking: Mutex<()>,
    consoles: Mutex<Consoles>,
}

#[derive(Default)]
struct State {
    connection: Option<Arc<Connection>>,
    /// For calls to the agents of guests, by id. libvirt takes only some calls of a connection at a time (five), and one
    /// to an agent that is silent lasts: on the connection of all it would hold up what others ask.
    agents: HashMap<String, Arc<Connection>>,
    /// The guests that are looked at: id, and where the console is written.
    ours: HashMap<String, PathBuf>,
    seen: HashMap<String, Seen>,
    /// The run of each guest in which its agent has answered last.
    answered: HashMap<String, String>,
    /// When all were looked at last.
    looked: Option<Instant>,
    /// Why the last look failed.
    lost: Option<String>,
}

/// A connection, and what tells it from the one before.
pub(super) struct Connection {
    pub(super) connect: Connect,
    number: String,
}

/// A guest as libvirt last told it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) status: Status,
    /// Changes with each start; None: it does not run.
    pub(super) run: Option<String>,
    /// When this run was first seen.
    pub(super) since: Instant,
    /// Connection and number of the domain: while both stay, so does the run, unless the guest boots again.
    place: Option<(String, u32)>,
    agent: Agent,
}

/// What was seen of a guest's agent in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Agent {
    /// The guest still boots, or has none.
    Never,
    There,
    /// The guest ends, or boots again by itself.
    Gone,
}

impl Seen {
    fn at_rest(status: Status) -> Self {
        Self { status, run: None, since: Instant::now(), place: None, agent: Agent::Never }
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("uri", &self.uri).finish_non_exhaustive()
    }
}

impl Host {
    /// A host whose guests are looked after from now on, as long as somebody holds it.
    pub(super) fn new(uri: String, local: bool) -> Result<Arc<Self>> {
        let host = Arc::new(Self {
            uri,
            local,
            state: Mutex::default(),
            accelerator: OnceLock::new(),
            looking: Mutex::default(),
            consoles: Mutex::default(),
        });
        let weak = Arc::downgrade(&host);
        thread::Builder::new().name("nfio-libvirt".into()).spawn(move || watch(&weak))?;
        Ok(host)
    }

    /// `kvm` where that works on the host, else `qemu`; found out once.
    pub(super) fn accelerator(&self) -> Result<&'static str> {
        if let Some(known) = self.accelerator.get() {
            return Ok(known);
        }
        let connection = self.connection()?;
        Ok(self.accelerator.get_or_init(|| accelerator::detect(&connection.connect)))
    }

    /// Whether its domains are containers, and not virtual machines.
    pub(super) fn is_container(&self) -> bool {
        self.uri.starts_with("lxc")
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That libvirt does not answer.
    pub(super) fn unreachable(&self, why: &str) -> NfioError {
        let message =
            format!("libvirt at {} does not answer: {why}; see that it runs and can be reached", self.uri);
        HypervisorError::Connection(message).into()
    }

    /// The connection; a broken one is made anew.
    pub(super) fn connection(&self) -> Result<Arc<Connection>> {
        if let Some(connection) = &self.lock().connection
            && connection.connect.is_alive().unwrap_or(false)
        {
            return Ok(Arc::clone(connection));
        }
        let connection = self.open()?;
        self.lock().connection = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Opens a connection; not under the lock: a host that is silent would hold up whoever asks what is known.
    fn open(&self) -> Result<Arc<Connection>> {
        let connect = Connect::open(Some(&self.uri)).map_err(|e| self.unreachable(e.message()))?;
        Ok(Arc::new(Connection { connect, number: uuid::Uuid::new_v4().to_string() }))
    }

    /// The domain of a guest.
    pub(super) fn domain(&self, guest: &Guest) -> Result<Domain> {
        self.domain_by(&*self.connection()?, guest)
    }

    /// The domain of a guest, for calls to its agent.
    pub(super) fn with_agent(&self, guest: &Guest) -> Result<Domain> {
        let known = self.lock().agents.get(&guest.labels.id).map(Arc::clone);
        if let Some(known) = known {
            match self.domain_by(&known, guest) {
                // Broken, which only a call tells: made anew.
                Err(NfioError::Hypervisor(HypervisorError::Connection(_))) => {}
                told => return told,
            }
        }
        let new = self.open()?;
        self.lock().agents.insert(guest.labels.id.clone(), Arc::clone(&new));
        self.domain_by(&new, guest)
    }

    fn domain_by(&self, connection: &Connection, guest: &Guest) -> Result<Domain> {
        connection
            .connect
            .lookup_domain_by_uuid_string(&guest.labels.id)
            .map_err(|e| failure::of(&e, HypervisorError::NotFound, &guest.name, self))
    }

    /// Looks after a guest and its log from now on, and looks at it at once.
    pub(super) fn look_after(&self, guest: &Guest, log: &Path) -> Result<()> {
        self.lock().ours.insert(guest.labels.id.clone(), log.to_owned());
        self.look(guest)
    }

    /// Looks no more after a guest.
    pub(super) fn let_go(&self, guest: &Guest) {
        let mut state = self.lock();
        state.ours.remove(&guest.labels.id);
        state.seen.remove(&guest.labels.id);
        state.agents.remove(&guest.labels.id);
        state.answered.remove(&guest.labels.id);
    }

    /// Takes note that a guest's agent has answered in this run.
    pub(super) fn note_answer(&self, guest: &Guest, run: &str) {
        self.lock().answered.insert(guest.labels.id.clone(), run.to_owned());
    }

    /// Whether a guest's agent has answered in this run.
    pub(super) fn has_answered(&self, guest: &Guest, run: &str) -> bool {
        self.lock().answered.get(&guest.labels.id).is_some_and(|answered| answered == run)
    }

    /// Looks at one guest.
    pub(super) fn look(&self, guest: &Guest) -> Result<()> {
        let _turn = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let connection = self.connection()?;
        let seen = self.see(&connection, &guest.labels.id).map_err(|e| self.unreachable(e.message()))?;
        let mut state = self.lock();
        state.lost = None;
        match seen {
            Some(seen) => state.seen.insert(guest.labels.id.clone(), seen),
            None => state.seen.remove(&guest.labels.id),
        };
        drop(state);
        self.follow_consoles();
        Ok(())
    }

    fn see(&self, connection: &Connection, id: &str) -> std::result::Result<Option<Seen>, Error> {
        let gone = |e: Error| if failure::is_gone(&e) { Ok(None) } else { Err(e) };
        let domain = match connection.connect.lookup_domain_by_uuid_string(id) {
            Ok(domain) => domain,
            Err(e) => return gone(e),
        };
        let (state, reason) = match domain.state() {
            Ok(told) => told,
            Err(e) => return gone(e),
        };
        let before = self.lock().seen.get(id).cloned();
        if is_starting(&reason) {
            // Nothing yet: it is being made, and a question of ours would wait for that.
            return Ok(Some(before.unwrap_or(Seen::at_rest(Status::Created))));
        }
        // The binding does not tell that a domain has vanished: the state is then none at all.
        let Some(status) = status(&state, &reason) else { return Ok(None) };
        let runs = matches!(status, Status::Running | Status::Paused | Status::Restarting);
        let Some(number) = domain.id().filter(|_| runs) else { return Ok(Some(Seen::at_rest(status))) };
        let place = Some((connection.number.clone(), number));
        if let Some(same) = before.clone().filter(|before| before.place == place) {
            return match self.follow(&domain, id, Seen { status, ..same }) {
                Ok(seen) => Ok(Some(seen)),
                Err(e) if failure::is_wrong_state(&e) => Ok(Some(Seen::at_rest(Status::Exited))),
                Err(e) => gone(e),
            };
        }
        let run = match run::of(&domain) {
            Ok(run) => Some(run),
            Err(e) if failure::is_wrong_state(&e) => return Ok(Some(Seen::at_rest(Status::Exited))),
            Err(e) => return gone(e),
        };
        let since =
            before.filter(|before| before.run == run).map_or_else(Instant::now, |before| before.since);
        Ok(Some(Seen { status, run, since, place, agent: Agent::Never }))
    }

    /// Follows the agent of a virtual machine that goes on: where it had gone and is back, the guest has booted again by
    /// itself. Nothing of what was set in it is left, so that it is another run.
    fn follow(&self, domain: &Domain, id: &str, seen: Seen) -> std::result::Result<Seen, Error> {
        if self.is_container() {
            return Ok(seen);
        }
        // What cannot be understood tells nothing.
        let is_there = tell::agent_is_there(&domain.xml_desc(0)?).unwrap_or(false);
        match (seen.agent, is_there) {
            (Agent::There, false) => {
                self.lock().answered.remove(id);
                Ok(Seen { agent: Agent::Gone, ..seen })
            }
            (Agent::Gone, true) => {
                tracing::info!("the guest {id} has booted again by itself");
                Ok(Seen {
                    run: Some(run::begin(domain)?),
                    since: Instant::now(),
                    agent: Agent::There,
                    ..seen
                })
            }
            (Agent::Never, true) => Ok(Seen { agent: Agent::There, ..seen }),
            _ => Ok(seen),
        }
    }

    /// Looks at all of ours.
    fn look_at_all(&self) {
        let _turn = self.looking.lock().unwrap_or_else(PoisonError::into_inner);
        let ours = self.lock().ours.clone();
        let outcome = self.connection().and_then(|connection| {
            let mut seen = HashMap::new();
            for id in ours.keys() {
                match self.see(&connection, id) {
                    Ok(Some(guest)) => drop(seen.insert(id.clone(), guest)),
                    Ok(None) => {}
                    Err(e) => return Err(self.unreachable(e.message())),
                }
            }
            Ok(seen)
        });
        let mut state = self.lock();
        match outcome {
            Ok(seen) => {
                state.seen = seen;
                // One that was let go meanwhile is not there, whatever was seen of it before.
                let State { seen, ours, .. } = &mut *state;
                seen.retain(|id, _| ours.contains_key(id));
                state.looked = Some(Instant::now());
                state.lost = None;
            }
            Err(e) => {
                state.connection = None;
                state.looked = None;
                state.lost = Some(e.to_string());
                self.consoles().clear();
            }
        }
    }

    /// QEMU writes the logs, and without an end.
    fn hold_logs(&self) {
        let logs: Vec<PathBuf> =
            if self.local { self.lock().ours.values().cloned().collect() } else { vec![] };
        for log in logs {
            match Log::open(&log, LOG).and_then(|mut log| log.hold()) {
                // It goes before its guest where that is destroyed.
                Err(e) if e.kind() != ErrorKind::NotFound => {
                    tracing::warn!("the log {} cannot be kept below its cap: {e}", log.display());
                }
                _ => {}
            }
        }
    }

    fn consoles(&self) -> MutexGuard<'_, Consoles> {
        self.consoles.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Elsewhere nobody but we can write them.
    fn follow_consoles(&self) {
        if self.local {
            return;
        }
        let state = self.lock();
        let running = |id: &String| state.seen.get(id).is_some_and(|seen| seen.run.is_some());
        let ours: Vec<_> = state.ours.iter().filter(|(id, _)| running(id)).collect();
        for (id, log) in ours {
            if let Err(e) = self.consoles().follow(&self.uri, id, log) {
                tracing::warn!("the console of {id} cannot be listened to: {e}");
            }
        }
    }

    /// What is known of a guest.
    ///
    /// # Errors
    /// NotFound where there is none, Connection where libvirt has not answered of late.
    pub(super) fn seen(&self, guest: &Guest) -> Result<Seen> {
        let state = self.lock();
        if let Some(why) = &state.lost {
            return Err(HypervisorError::Connection(why.clone()).into());
        }
        if state.looked.is_some_and(|looked| looked.elapsed() > STALE) {
            return Err(self.unreachable("it has been silent for some seconds"));
        }
        state.seen.get(&guest.labels.id).cloned().ok_or_else(|| failure::not_found(&guest.name))
    }
}

fn watch(host: &Weak<Host>) {
    while let Some(host) = host.upgrade() {
        if !host.lock().ours.is_empty() {
            host.look_at_all();
            host.hold_logs();
            host.follow_consoles();
        }
        drop(host);
        thread::sleep(TICK);
    }
}

fn is_starting(reason: &DomainStateReasonEnum) -> bool {
    let starting = DomainStateReason::Paused(Enum::Known(DomainPausedReason::StartingUp));
    *reason == Enum::Known(starting)
}

/// Docker's word for libvirt's state; None: there is no such domain.
fn status(state: &DomainStateEnum, reason: &DomainStateReasonEnum) -> Option<Status> {
    let Enum::Known(state) = state else { return None };
    let never = DomainStateReason::Shutoff(Enum::Known(DomainShutoffReason::Unknown));
    Some(match state {
        DomainState::Running | DomainState::Blocked | DomainState::Shutdown => Status::Running,
        DomainState::Paused | DomainState::PMSuspended => Status::Paused,
        // Defined, and never started.
        DomainState::Shutoff if *reason == Enum::Known(never) => Status::Created,
        DomainState::Shutoff | DomainState::Crashed => Status::Exited,
        DomainState::NoState => return None,
    })
}
