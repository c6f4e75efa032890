//! One Docker Engine: its client, made once and made anew when it is broken; its events, followed as long as nfio
//! serves; what it is asked and told.

use bollard::Docker;
use bollard::errors::Error;
use bollard::query_parameters::{EventsOptionsBuilder, ListContainersOptionsBuilder};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use std::collections::{BTreeSet, HashMap};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep, timeout};

use super::address::Address;
use super::counters::Samples;
use super::create::ROOT;
use super::failure::{Failure, unreachable};
use super::looks::Looks;
use super::memory::{Known, Memory};
use super::output::Logs;
use crate::error::{HypervisorError, Result};
use crate::hypervisor::Guest;

/// Longest wait for what an engine answers from its memory.
pub(super) const QUICK: Duration = Duration::from_secs(4);
/// Longest wait for what makes it work: create, start, remove.
pub(super) const SLOW: Duration = Duration::from_secs(50);
/// After this much silence the engine is asked whether it is still there: a half-open connection stays silently up.
const SILENCE: Duration = Duration::from_secs(1);
/// From one look to the next at a container of whose change the engine has not heard yet.
const LAG: Duration = Duration::from_millis(10);
/// How long an engine of this machine may take to notice the end of a process that we cannot see.
const UNSEEN: Duration = Duration::from_millis(200);
/// Events that are looked at together.
const BURST: usize = 256;
/// First and longest wait before an engine that does not answer is tried again. The first is longer than the half second
/// from one look of the life cycle at all guests to the next, so that no outage goes unseen: an engine takes its guests
/// along.
const BACK_OFF: (Duration, Duration) = (Duration::from_millis(700), Duration::from_secs(2));

/// An engine.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) address: Address,
    /// UUID of our ROOT: containers of others are not looked at.
    root: String,
    client: Mutex<Option<Docker>>,
    pub(super) memory: Memory,
    pub(super) logs: Logs,
    pub(super) samples: Samples,
    looks: Looks,
}

impl Engine {
    pub(super) fn new(address: Address, root: String) -> Self {
        Self {
            address,
            root,
            client: Mutex::default(),
            memory: Memory::new(),
            logs: Logs::default(),
            samples: Samples::default(),
            looks: Looks::default(),
        }
    }

    /// The client; a new one says first which version of the API both sides speak.
    pub(super) async fn client(&self) -> std::result::Result<Docker, Failure> {
        if let Some(client) = &*self.client.lock().unwrap_or_else(PoisonError::into_inner) {
            return Ok(client.clone());
        }
        let fresh = self.address.connect()?;
        let fresh = match timeout(QUICK, fresh.negotiate_version()).await {
            Ok(negotiated) => negotiated.map_err(Failure::from)?,
            Err(_) => return Err(silent(QUICK)),
        };
        let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(client.get_or_insert(fresh).clone())
    }

    fn forget_client(&self) {
        self.client.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// Calls the engine and waits for its answer, at most for `limit`.
    pub(super) async fn call<T>(
        &self,
        limit: Duration,
        request: impl AsyncFnOnce(Docker) -> std::result::Result<T, Error>,
    ) -> std::result::Result<T, Failure> {
        let client = self.client().await?;
        match timeout(limit, request(client)).await {
            Ok(answer) => answer.map_err(Failure::from),
            Err(_) => Err(silent(limit)),
        }
    }

    /// What is known of a guest.
    ///
    /// # Errors
    /// NotFound where the engine has none, Connection while it does not answer.
    pub(super) fn known(&self, guest: &Guest) -> Result<Known> {
        match self.memory.guest(&guest.labels.id) {
            Ok(Some(known)) => Ok(known),
            Ok(None) => Err(HypervisorError::NotFound(format!(
                "the guest {} is not there: it was removed, or never deployed; write destroy into action",
                guest.name
            ))
            .into()),
            Err(why) => Err(unreachable(&self.address, &why)),
        }
    }

    /// Looks at a container and remembers what it is.
    pub(super) async fn look(self: &Arc<Self>, container: &str) -> std::result::Result<(), Failure> {
        self.looks.one(container, async || self.inspect(container).await).await
    }

    /// An engine tells of a container that it is just starting once it has: that may take long where many start at once,
    /// and is no sign that it does not answer. For that it is pinged.
    async fn inspect(self: &Arc<Self>, container: &str) -> std::result::Result<(), Failure> {
        match self.call(SLOW, async |docker| docker.inspect_container(container, None).await).await {
            Ok(inspected) => {
                if let Some((id, known)) = Known::of(&inspected, self.address.is_local()) {
                    self.logs.seen(self, &id, &known);
                    self.memory.put(id, known);
                }
                Ok(())
            }
            Err(failure) if failure.is_not_found() => {
                self.memory.remove(container);
                Ok(())
            }
            Err(failure) => Err(failure),
        }
    }

    /// Lets a paused container run again. An engine that hears late of an earlier pause takes a container that runs for
    /// a paused one until it hears of its end as well: it refuses then, and is asked again.
    pub(super) async fn unpause(self: &Arc<Self>, container: &str) -> std::result::Result<(), Failure> {
        let limit = Instant::now() + QUICK;
        loop {
            let done = self.call(SLOW, async |docker| docker.unpause_container(container).await).await;
            let Err(Failure::Refused { .. }) = &done else { return done };
            self.look(container).await?;
            if self.memory.running(container).is_some() {
                return Ok(());
            }
            if Instant::now() > limit {
                return done;
            }
            sleep(LAG).await;
        }
    }

    /// Looks at a container that may just have ended, until the engine knows as well: of a process of this machine we
    /// know before the engine tells.
    pub(super) async fn look_until_true(
        self: &Arc<Self>,
        container: &str,
    ) -> std::result::Result<(), Failure> {
        let begun = Instant::now();
        loop {
            self.look(container).await?;
            let doubt = match self.memory.running(container) {
                Some(known) if self.address.is_local() => match &known.init {
                    Some(init) if init.alive() => return Ok(()),
                    Some(_) => QUICK,
                    // It has just ended, or the engine counts its processes in a namespace that we do not see.
                    None => UNSEEN,
                },
                _ => return Ok(()),
            };
            if begun.elapsed() > doubt {
                return Ok(());
            }
            sleep(LAG).await;
        }
    }

    /// All containers of our ROOT, looked at.
    async fn look_at_all(self: &Arc<Self>, docker: &Docker) -> std::result::Result<(), Failure> {
        let _turn = self.looks.all().await;
        let options = ListContainersOptionsBuilder::new().all(true).filters(&self.ours()).build();
        let listed = within(QUICK, docker.list_containers(Some(options))).await?;
        let mut all = Vec::new();
        for container in listed.into_iter().filter_map(|summary| summary.id) {
            match within(QUICK, docker.inspect_container(&container, None)).await {
                Ok(inspected) => all.extend(Known::of(&inspected, self.address.is_local())),
                // Removed since it was listed.
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure),
            }
        }
        all.iter().for_each(|(id, known)| self.logs.seen(self, id, known));
        self.memory.begin(all);
        Ok(())
    }

    fn ours(&self) -> HashMap<String, Vec<String>> {
        [("label".to_owned(), vec![format!("{ROOT}={}", self.root)])].into()
    }

    /// Follows the engine's events until it fails, and answers how.
    async fn follow(self: &Arc<Self>) -> Failure {
        match self.try_follow().await {
            Ok(()) => Failure::Unreachable("it ended its stream of events".into()),
            Err(failure) => failure,
        }
    }

    async fn try_follow(self: &Arc<Self>) -> std::result::Result<(), Failure> {
        let docker = self.client().await?;
        let mut filters = self.ours();
        filters.insert("type".into(), vec!["container".into()]);
        // From whatever the engine remembers on, so that nothing is missed between the look at all and the first event,
        // whose clock is not ours.
        let options = EventsOptionsBuilder::new().filters(&filters).since("1").build();
        let mut events = pin!(docker.events(Some(options)).ready_chunks(BURST));
        self.look_at_all(&docker).await?;
        tracing::info!("{} answers", self.address);
        // Of one that is just being started an engine tells late: the news of others do not wait for that.
        let mut looks = FuturesUnordered::new();
        loop {
            let burst = tokio::select! {
                burst = timeout(SILENCE, events.next()) => burst,
                Some(looked) = looks.next() => {
                    looked?;
                    continue;
                }
            };
            match burst {
                Ok(Some(burst)) => {
                    let mut changed = BTreeSet::new();
                    for event in burst {
                        let event = event?;
                        // A command in a guest changes nothing of it.
                        let command =
                            event.action.as_deref().is_some_and(|action| action.starts_with("exec_"));
                        changed.extend(event.actor.and_then(|actor| actor.id).filter(|_| !command));
                    }
                    let look = |container: String| async move { self.look(&container).await };
                    looks.extend(changed.into_iter().map(look));
                }
                Ok(None) => return Ok(()),
                Err(_) => within(QUICK, docker.ping()).await.map(drop)?,
            }
        }
    }
}

/// Follows an engine's events, with a back-off while it does not answer. It ends with its runtime.
pub(super) async fn watch(engine: Arc<Engine>) {
    let mut wait = BACK_OFF.0;
    loop {
        let failure = engine.follow().await;
        let was_up = engine.memory.guest("").is_ok();
        let why = match failure {
            Failure::Refused { message, .. } => message,
            Failure::Unreachable(why) => why,
        };
        if was_up {
            wait = BACK_OFF.0;
            tracing::warn!("{} does not answer any more: {why}", engine.address);
        }
        engine.memory.lose(why);
        engine.forget_client();
        sleep(wait).await;
        wait = (wait * 2).min(BACK_OFF.1);
    }
}

async fn within<T>(
    limit: Duration,
    request: impl Future<Output = std::result::Result<T, Error>>,
) -> std::result::Result<T, Failure> {
    match timeout(limit, request).await {
        Ok(answer) => answer.map_err(Failure::from),
        Err(_) => Err(silent(limit)),
    }
}

fn silent(limit: Duration) -> Failure {
    Failure::Unreachable(format!("no answer within {} s", limit.as_secs()))
}
