//! What is known of the guests of one engine, kept fresh by its events, so that a read costs no request. While the
//! engine does not answer nothing is known: what was true before is never told as true now.

use bollard::models::{ContainerInspectResponse, ContainerStateStatusEnum as State};
use serde::de::DeserializeOwned;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

use super::create::{ID, SYSCTLS};
use super::held::hold;
use super::renew::{Origin, PROCESS, REPLACES};
use crate::hypervisor::Status;
use crate::hypervisor::container::process::Held;
use crate::hypervisor::container::sysctl::Sysctls;

/// A guest as its engine last told it.
#[derive(Debug, Clone)]
pub(super) struct Known {
    /// The container's id.
    pub(super) container: String,
    pub(super) name: String,
    pub(super) status: Status,
    /// When its last run began, as the engine tells it; empty: never.
    pub(super) started: String,
    /// First address of its first interface; empty where it has none.
    pub(super) address: String,
    /// Its first process, where that is a process of this machine.
    pub(super) init: Option<Arc<Held>>,
    /// Kernel parameters for its network namespace, where that is of this machine.
    pub(super) sysctls: Option<Arc<Sysctls>>,
    /// What the container was made of; None: its label is not of our making.
    pub(super) origin: Option<Arc<Origin>>,
    /// The container that this one takes the place of, once it has gone.
    pub(super) replaces: Option<String>,
}

impl Known {
    /// What an inspection tells, with the id of the guest (its label); None for what is no guest. `local`: the
    /// processes are this machine's.
    pub(super) fn of(inspected: &ContainerInspectResponse, local: bool) -> Option<(String, Self)> {
        let container = inspected.id.clone()?;
        let labels = inspected.config.as_ref()?.labels.as_ref()?;
        let state = inspected.state.as_ref()?;
        let status = status(state.status?);
        let started = state.started_at.clone().filter(|time| !time.starts_with("0001-"));
        let runs = matches!(status, Status::Running | Status::Paused);
        let pid = state.pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 0 && runs && local);
        let name = inspected.name.as_deref().unwrap_or_default().trim_start_matches('/').to_owned();
        let known = Self {
            status,
            started: started.unwrap_or_default(),
            address: address(inspected),
            init: pid.and_then(|pid| hold(pid, &container)).map(Arc::new),
            ..Self::created(container, name, labels, local)
        };
        Some((labels.get(ID)?.clone(), known))
    }

    /// A container that has just been made with these labels.
    pub(super) fn created(
        container: String,
        name: String,
        labels: &HashMap<String, String>,
        local: bool,
    ) -> Self {
        Self {
            container,
            name,
            status: Status::Created,
            started: String::new(),
            address: String::new(),
            init: None,
            sysctls: content(labels, SYSCTLS).filter(|_| local).map(Arc::new),
            origin: content(labels, PROCESS).map(Arc::new),
            replaces: labels.get(REPLACES).cloned(),
        }
    }
}

/// What a label of ours holds.
fn content<T: DeserializeOwned>(labels: &HashMap<String, String>, label: &str) -> Option<T> {
    serde_json::from_str(labels.get(label)?).ok()
}

fn status(state: State) -> Status {
    match state {
        State::RUNNING | State::STOPPING => Status::Running,
        State::PAUSED => Status::Paused,
        State::RESTARTING => Status::Restarting,
        State::REMOVING => Status::Removing,
        State::EXITED => Status::Exited,
        State::DEAD => Status::Dead,
        State::CREATED | State::EMPTY => Status::Created,
    }
}

/// The engine tells networks by name, not in the order of interfaces: the one that it was made with comes first.
fn address(inspected: &ContainerInspectResponse) -> String {
    let Some(networks) = inspected.network_settings.as_ref().and_then(|settings| settings.networks.as_ref())
    else {
        return String::new();
    };
    let first = inspected.host_config.as_ref().and_then(|host| host.network_mode.as_deref());
    let first = first.map(|name| if name == "default" { "bridge" } else { name });
    let endpoint = first.and_then(|name| networks.get(name)).or_else(|| networks.values().next());
    let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
    endpoint
        .and_then(|endpoint| filled(&endpoint.ip_address).or_else(|| filled(&endpoint.global_ipv6_address)))
        .unwrap_or_default()
}

/// Whether the engine's events are followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    /// Not yet tried.
    New,
    /// They are: what is known is true.
    Up,
    /// They are not, and why.
    Down(String),
}

/// The memory of one engine.
#[derive(Debug)]
pub(super) struct Memory {
    guests: RwLock<HashMap<String, Known>>,
    link: watch::Sender<Link>,
}

impl Memory {
    pub(super) fn new() -> Self {
        Self { guests: RwLock::default(), link: watch::Sender::new(Link::New) }
    }

    fn read(&self) -> RwLockReadGuard<'_, HashMap<String, Known>> {
        self.guests.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, HashMap<String, Known>> {
        self.guests.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// The guest of this id, or why it is not known; Ok(None): the engine has none.
    pub(super) fn guest(&self, id: &str) -> Result<Option<Known>, String> {
        match &*self.link.borrow() {
            Link::Up => Ok(self.read().get(id).cloned()),
            Link::New => Err("it has not answered yet".into()),
            Link::Down(why) => Err(why.clone()),
        }
    }

    /// A container, if it runs as far as is known.
    pub(super) fn running(&self, container: &str) -> Option<Known> {
        let guests = self.read();
        guests.values().find(|it| it.container == container && it.status == Status::Running).cloned()
    }

    /// All that is known at the beginning of a subscription.
    pub(super) fn begin(&self, all: Vec<(String, Known)>) {
        self.write().clear();
        all.into_iter().for_each(|(id, known)| self.put(id, known));
        self.link.send_replace(Link::Up);
    }

    /// A container as it is now. One that is to take another's place counts once the other has gone.
    pub(super) fn put(&self, id: String, known: Known) {
        let mut guests = self.write();
        let stands_back =
            guests.get(&id).is_some_and(|other| known.replaces.as_ref() == Some(&other.container));
        if !stands_back {
            guests.insert(id, known);
        }
    }

    /// A container that has just been made, unless more is known of it already.
    pub(super) fn put_new(&self, id: &str, known: Known) {
        self.write().entry(id.to_owned()).or_insert(known);
    }

    /// A container is gone.
    pub(super) fn remove(&self, container: &str) {
        self.write().retain(|_, known| known.container != container);
    }

    /// Why nothing is known any more.
    pub(super) fn lose(&self, why: String) {
        self.link.send_replace(Link::Down(why));
        self.write().clear();
    }

    /// Waits until the engine has answered or failed to, at most for `limit`.
    pub(super) async fn settled(&self, limit: Duration) {
        let mut link = self.link.subscribe();
        // Whoever asks next is told why where this was too short.
        let _ = timeout(limit, link.wait_for(|link| *link != Link::New)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn inspected(id: &str, state: &str, labels: serde_json::Value) -> ContainerInspectResponse {
        serde_json::from_value(json!({
            "Id": id,
            "State": {"Status": state, "Pid": 1, "StartedAt": "2026-01-01T00:00:00Z"},
            "Config": {"Labels": labels},
            "HostConfig": {"NetworkMode": "inside"},
            "NetworkSettings": {"Networks": {"a": {"IPAddress": "10.0.0.9"}, "inside": {"IPAddress": "10.0.0.2"}}},
        }))
        .unwrap()
    }

    #[test]
    fn a_guest_is_found_by_its_label_and_has_the_address_of_its_first_interface() {
        let (id, known) = Known::of(&inspected("c1", "running", json!({"io.nfio.id": "g"})), false).unwrap();
        assert_eq!((id.as_str(), known.status, known.address.as_str()), ("g", Status::Running, "10.0.0.2"));
        assert!(known.init.is_none(), "a process of another machine is none of ours");
        assert!(Known::of(&inspected("c1", "running", json!({})), false).is_none());
    }

    #[test]
    fn nothing_is_known_while_the_engine_does_not_answer() {
        let memory = Memory::new();
        assert!(memory.guest("g").is_err());
        memory.begin(vec![Known::of(&inspected("c1", "exited", json!({"io.nfio.id": "g"})), false).unwrap()]);
        assert_eq!(memory.guest("g").unwrap().unwrap().status, Status::Exited);
        assert!(memory.guest("other").unwrap().is_none());
        memory.lose("gone".into());
        assert_eq!(memory.guest("g").err().unwrap(), "gone");
    }

    #[test]
    fn a_container_that_takes_anothers_place_counts_once_that_has_gone() {
        let memory = Memory::new();
        let old = Known::of(&inspected("old", "exited", json!({"io.nfio.id": "g"})), false).unwrap();
        let labels = json!({"io.nfio.id": "g", "io.nfio.replaces": "old"});
        let new = Known::of(&inspected("new", "created", labels), false).unwrap();
        memory.begin(vec![old]);
        memory.put(new.0.clone(), new.1.clone());
        assert_eq!(memory.guest("g").unwrap().unwrap().container, "old");
        memory.remove("old");
        memory.put(new.0, new.1);
        assert_eq!(memory.guest("g").unwrap().unwrap().container, "new");
    }
}
