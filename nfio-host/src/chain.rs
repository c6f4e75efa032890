//! Service chains: `chns/`. A chain is a directory of links; `activate` connects the guests' network stacks as the links
//! say, and `destroy` takes exactly that away.
//!
//! `drawing` reads the links, `graph` says what they mean, `rights` who may have them, `overlap` whose addresses they would
//! take; `plan` makes hops, addresses and routes of it, `record` keeps that, `wiring` does it, in one `stack` after the
//! other: namespaces (`links`, `parameters`) and virtual machines, which are a `bridge` away (`end`: what is outside the
//! guests). `verbs` are the words of `action`, `observer` sees what happens without them; `skeleton`, `files`, `totals` and
//! `picture` are what a user sees. What a guest is and does is the room `vnf`'s, which is asked through `vnf/members.rs`.

mod bridge;
mod drawing;
mod end;
mod files;
mod graph;
mod links;
mod observer;
mod operations;
mod overlap;
mod parameters;
mod picture;
mod plan;
mod record;
mod rights;
mod skeleton;
mod stack;
mod totals;
mod verbs;
mod wiring;

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::fs::File;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use crate::config::{Deadlines, Policy};
use crate::error::{HypervisorError, NfioError, Result};
use crate::fs::operations::OnChange;
use crate::hypervisor::oci::lease::Subnet;
use crate::hypervisor::{self, Status};
use crate::modules::Table;
use crate::tree::Instance;
use crate::vnf::VnfsOperations;
use crate::vnf::disk::remove_synced;
use crate::vnf::instance::{Kept, make_private};
use crate::vnf::turns::Turns;
use graph::Member;
use plan::Place;
use record::Record;
use stack::{Machine, Namespace, Stack};
use totals::Meters;
use verbs::Verb;
use wiring::{Made, Wiring};

pub use operations::Tree;

/// Addresses of the links within chains where nfio.toml does not say.
pub const SUBNET: &str = "10.204.0.0/16";

/// What chains have to know.
#[derive(Debug, Clone)]
pub struct ChainConfig {
    /// Addresses of links, an IPv4 network.
    pub subnet: String,
    /// What all nfio of this machine share: leases of addresses.
    pub run: PathBuf,
    /// MOUNT, absolute: links that begin with it lead into it.
    pub mount: PathBuf,
    /// How long a write to `action` may take, and a read.
    pub deadlines: Deadlines,
    /// What chains of others than root may have.
    pub policy: Policy,
}

/// All chains of a mount.
pub struct Chains {
    vnfs: Arc<VnfsOperations>,
    config: ChainConfig,
    subnet: Subnet,
    table: Table,
    /// Chains that something has been asked about, by name.
    chains: Mutex<HashMap<String, Arc<Chain>>>,
    /// Held from the look whether instances are free to their note in a record, and from the look which kernel parameters
    /// another chain needs until they are set, or restored and in no record any more. Taken before a chain's wiring.
    claiming: Mutex<()>,
    /// Tells the file system that a status may have changed.
    changed: OnceLock<Arc<OnChange>>,
}

/// A chain in memory. On disk it has `ROOT/.nfio/chains/<name>/` with `id`, and where they exist `record.toml` and
/// `last_error`.
struct Chain {
    name: String,
    private: PathBuf,
    turns: Arc<Turns>,
    now: Mutex<Now>,
    /// Held while links are made or taken away. Nobody waits for the turn of an instance with it.
    wiring: Mutex<()>,
}

#[derive(Default)]
struct Now {
    record: Option<Arc<Record>>,
    last_verb: Option<Verb>,
    /// Whether `activate` has made its links and goes on: a member that is started anew meanwhile gets its own again.
    wired: bool,
    /// Whether its links have been seen since nfio is here.
    looked: bool,
    /// What is not as it should be beside the guests' states, as the observer has seen it last.
    gaps: Vec<String>,
    /// What routes were last set for; None: not known, nfio has been away.
    made: Option<Made>,
    /// Until when nothing is mended without need, after a failure.
    not_before: Option<Instant>,
    /// The namespaces that links were made in.
    held: Vec<File>,
    /// The status that was told last.
    told: Option<String>,
    meters: Meters,
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "chns/{}", self.name)
    }
}

impl Kept for Chain {
    fn private(&self, name: &str) -> PathBuf {
        self.private.join(name)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chain {
    fn now(&self) -> MutexGuard<'_, Now> {
        lock(&self.now)
    }

    fn record(&self) -> Option<Arc<Record>> {
        self.now().record.clone()
    }

    /// The record.
    ///
    /// # Errors
    /// VNFNotFoundError (ENXIO) where the chain is not active.
    fn active(&self) -> Result<Arc<Record>> {
        self.record().ok_or_else(|| {
            HypervisorError::NotFound(format!("{self} is not active; write activate to its action")).into()
        })
    }

    fn set_record(&self, record: Record) -> Result<()> {
        record.save(&self.private("record.toml"))?;
        self.now().record = Some(Arc::new(record));
        Ok(())
    }

    fn clear_record(&self) -> Result<()> {
        remove_synced(&self.private("record.toml"))?;
        let mut now = self.now();
        let told = now.told.take();
        *now = Now { last_verb: now.last_verb, told, ..Now::default() };
        Ok(())
    }
}

impl Chains {
    /// Takes up the chains of the ROOT that `vnfs` serves: those that are active are found again by their records.
    ///
    /// # Errors
    /// A subnet that is none; where ROOT cannot be read or written.
    pub fn new(vnfs: Arc<VnfsOperations>, config: ChainConfig) -> Result<Arc<Self>> {
        let subnet = Subnet::parse(&config.subnet)
            .map_err(|e| NfioError::configuration(format!("[chains] subnet: {e}")))?;
        let chains = Arc::new(Self {
            vnfs,
            config,
            subnet,
            table: files::table(),
            chains: Mutex::default(),
            claiming: Mutex::default(),
            changed: OnceLock::new(),
        });
        chains.clear_aside()?;
        chains.clear_private()?;
        chains.mend()?;
        for name in chains.all_private()? {
            if let Err(e) = chains.chain(&name) {
                tracing::warn!("chns/{name} may be active, but: {e}");
            }
        }
        let weak = Arc::downgrade(&chains);
        chains.vnfs.on_start(Box::new(move |at| {
            if let Some(chains) = weak.upgrade() {
                chains.relink(at);
            }
        }));
        Ok(chains)
    }

    /// Below which chains keep what is not to be seen.
    fn private_top(&self) -> PathBuf {
        self.vnfs.root().private().join("chains")
    }

    fn all_private(&self) -> Result<Vec<String>> {
        fs::create_dir_all(self.private_top())?;
        let mut all = Vec::new();
        for entry in fs::read_dir(self.private_top())? {
            all.extend(entry?.file_name().into_string().ok());
        }
        Ok(all)
    }

    /// What is known of a chain; its record is read when it is first asked about.
    fn chain(&self, name: &str) -> Result<Arc<Chain>> {
        let mut chains = lock(&self.chains);
        if let Some(chain) = chains.get(name) {
            return Ok(chain.clone());
        }
        let private = self.private_top().join(name);
        if fs::symlink_metadata(&private).is_ok_and(|found| !found.is_dir()) {
            let message = format!("{} is not a directory: remove it, nfio makes its own", private.display());
            return Err(NfioError::posix(libc::EIO, message));
        }
        let record = Record::load(&private.join("record.toml"))?.map(Arc::new);
        let chain = Arc::new(Chain {
            name: name.to_owned(),
            private,
            turns: Arc::default(),
            now: Mutex::new(Now { record, ..Now::default() }),
            wiring: Mutex::default(),
        });
        chains.insert(name.to_owned(), chain.clone());
        Ok(chain)
    }

    /// What was removed or renamed is read anew when it is asked about again.
    fn forget(&self, name: &str) {
        if let Some(chain) = lock(&self.chains).remove(name) {
            chain.turns.retire();
        }
    }

    /// All chains that are active, with their records.
    fn all_active(&self) -> Vec<(Arc<Chain>, Arc<Record>)> {
        let all: Vec<Arc<Chain>> = lock(&self.chains).values().cloned().collect();
        all.into_iter().filter_map(|chain| chain.record().map(|record| (chain, record))).collect()
    }

    /// The chain's UUID.
    fn id(&self, chain: &Chain) -> Result<String> {
        make_private(&chain.private)
    }

    /// The network stack of a place; None: it is not there.
    fn stack(&self, record: &Record, place: Place) -> Result<Option<Box<dyn Stack>>> {
        let namespace = |netns| -> Box<dyn Stack> { Box::new(Namespace { name: record.name(place), netns }) };
        let number = match place {
            Place::Ingress => return Ok(record.ingress.open()?.map(namespace)),
            Place::Egress => return Ok(record.egress.open()?.map(namespace)),
            Place::Member(number) => number,
        };
        let Some((_, member)) = record.graph.members().nth(number) else { return Ok(None) };
        Ok(self.vnfs.member_stack(member.at(), &member.id)?.map(|stack| -> Box<dyn Stack> {
            match stack {
                hypervisor::Stack::Namespace(netns) => namespace(netns),
                hypervisor::Stack::Machine(machine) => {
                    let (vnfs, member) = (self.vnfs.clone(), member.clone());
                    Box::new(Machine { vnfs, place, member, machine })
                }
            }
        }))
    }

    fn wiring<'a>(&self, record: &'a Record) -> Result<Wiring<'a>> {
        Wiring::open(record, |place| self.stack(record, place))
    }

    /// One line: `undeployed`, `running`, or `degraded` with what is amiss.
    fn status(&self, chain: &Chain) -> String {
        let Some(record) = chain.record() else { return Status::Undeployed.to_string() };
        if !record.complete {
            let verb = if record.leaving { "destroy" } else { "activate" };
            return format!("degraded: {verb} did not come to its end; write destroy or activate");
        }
        let mut amiss: Vec<String> = record
            .graph
            .members()
            .filter_map(|(node, member)| {
                self.amiss(&crate::error::one_line(&record.graph.nodes[node].name), member)
            })
            .collect();
        if amiss.is_empty() {
            let now = chain.now();
            amiss.clone_from(&now.gaps);
            if !now.looked {
                amiss.push("its links have not been looked at since the mount".into());
            }
        }
        match amiss.is_empty() {
            true => "running".into(),
            false => format!("degraded: {}", amiss.join(", ")),
        }
    }

    /// What is amiss with a member, in words.
    fn amiss(&self, node: &str, member: &Member) -> Option<String> {
        let state = match self.vnfs.member_status(member.at()) {
            Ok(Status::Running) => match self.vnfs.member_id(member.at()) {
                Ok(id) if id == member.id => match self.vnfs.member_is_configured(member.at()) {
                    Ok(true) => return None,
                    _ => "not configured yet".to_owned(),
                },
                _ => "another one now".to_owned(),
            },
            Ok(status) => status.to_string(),
            Err(e) => crate::error::one_line(&e.to_string()),
        };
        Some(format!("{node} ({member} is {state})"))
    }

    /// Takes note of a status that somebody has seen, and tells whoever polls where it is news.
    fn notice(&self, chain: &Chain, status: &str) {
        let news = chain.now().told.replace(status.to_owned()).as_deref() != Some(status);
        if news {
            self.tell_changed(chain);
        }
    }

    fn tell_changed(&self, chain: &Chain) {
        if let Some(changed) = self.changed.get() {
            changed(Instance::chain(&chain.name));
        }
    }

    /// Reads the links of a chain.
    fn read(&self, chain: &Chain) -> Result<drawing::Read> {
        drawing::read(self.vnfs.root().dir(), &self.config.mount, &chain.name)
    }

    /// Attributes of a member's `action`.
    ///
    /// # Errors
    /// VNFConfigurationError (EINVAL) where there is no such instance.
    fn action_of(&self, member: &Member) -> Result<nix::sys::stat::FileStat> {
        let path = member.at().path().join("action");
        let dir = crate::vnf::disk::open_dir(self.vnfs.root().dir(), &member.at().path());
        let stat = dir.ok().and_then(|dir| {
            nix::sys::stat::fstatat(&dir, "action", nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW).ok()
        });
        stat.ok_or_else(|| {
            NfioError::configuration(format!(
                "a link points to {member}, and there is no {}: make the instance, or mend the link",
                path.display()
            ))
        })
    }
}
