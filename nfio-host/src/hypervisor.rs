//! What runs the guests. One trait ([`Hypervisor`], the manual's `HypervisorBase` completed with all of its
//! `DockerDriver`), one [`factory`], one folder per driver. The life cycle (order of steps, roll-back, records)
//! is not here: it lives in [`crate::vnf`] and is the same for every driver.

pub mod boot_conf;
mod boot_files;
mod container;
pub mod docker;
pub mod factory;
pub mod guest;
mod image_names;
#[cfg(feature = "libvirt")]
pub mod libvirt;
pub mod oci;
pub mod policy;
mod stack;

use crate::error::{NfioError, Result};
pub use guest::{Counters, Execution, Guest, GuestSpec, Output, Prepared, PutFile, Status};
pub use stack::{Cable, Machine, Stack};
use std::fs::File;
use std::path::Path;

/// A driver. Every method may block and may be called from several threads at once; calls that change one
/// guest are made one after the other by the caller. The suite `tests/conformance` judges each driver by what is said here.
///
/// A guest that is not (or no longer) there is [`HypervisorError::NotFound`]; an engine or host that does
/// not answer is [`HypervisorError::Connection`].
///
/// [`HypervisorError::NotFound`]: crate::error::HypervisorError::NotFound
/// [`HypervisorError::Connection`]: crate::error::HypervisorError::Connection
pub trait Hypervisor: Send + Sync {
    /// The name that `--hypervisor` takes and records keep: `Oci`, `Docker`, `Libvirt`.
    fn name(&self) -> &'static str;

    /// Judges a specification without touching anything: a host, image or boot.conf key that this driver
    /// cannot serve is refused with a sentence that names it.
    fn check(&self, spec: &GuestSpec) -> Result<()>;

    /// Makes a guest (state `created`) and answers its driver's id. Nothing is left behind on failure, but where that is
    /// VNFDeployErrorWithInconsistentState.
    /// Calling it again for a guest id that exists already is an error (VNFDeployError).
    fn deploy(&self, spec: &GuestSpec) -> Result<String>;

    /// Starts a guest that is created or exited, with the files of boot.conf and what `prepare` asked for in place
    /// before its first process runs. One that runs is left alone, a paused one is refused (VNFStartError). Forwarding of packets is off ([`set_forwarding`](Self::set_forwarding)).
    fn start(&self, guest: &Guest, prepared: &Prepared) -> Result<()>;

    /// Asks the guest to end, kills it after the boot.conf's `stop_timeout`; done when it has ended.
    /// A guest that does not run is left alone; a paused one is unpaused first.
    fn stop(&self, guest: &Guest) -> Result<()>;

    /// Stops, then starts.
    fn restart(&self, guest: &Guest, prepared: &Prepared) -> Result<()> {
        self.stop(guest)?;
        self.start(guest, prepared)
    }

    /// Freezes a running guest.
    fn pause(&self, guest: &Guest) -> Result<()>;

    /// Thaws a paused guest.
    fn unpause(&self, guest: &Guest) -> Result<()>;

    /// Removes the guest with its layer. With `force` a running one is killed; without, it is refused
    /// (VNFDestroyError). A guest that is not there counts as removed.
    fn destroy(&self, guest: &Guest, force: bool) -> Result<()>;

    /// Runs a command in a running guest, as its root and in its environment, and waits for it. A command that cannot be found or executed is
    /// exit code 127 or 126 with the reason on stderr, as in a shell; Err is for a guest that cannot be asked.
    fn execute_in_guest(&self, guest: &Guest, execution: &Execution) -> Result<Output>;

    /// Writes a file into a running guest; directories on the way are made (0755).
    fn put_file(&self, guest: &Guest, file: &PutFile) -> Result<()>;

    /// The guest's state. Answered from memory or by a few system calls, never by waiting.
    fn guest_status(&self, guest: &Guest) -> Result<Status>;

    /// What tells this run of the guest from every other one: it changes with each start, whoever started it.
    /// None: it does not run (a paused guest does). Answered like [`guest_status`](Self::guest_status).
    fn run_id(&self, guest: &Guest) -> Result<Option<String>>;

    /// The driver's id of the guest with this record, looked up where the engine keeps it: the answer to
    /// "is it really there". Finds a guest whose record was written before [`deploy`](Self::deploy) answered.
    fn get_id(&self, guest: &Guest) -> Result<String>;

    /// First address of the guest's first interface, without prefix length.
    fn get_ip(&self, guest: &Guest) -> Result<String>;

    /// Counters over all interfaces of the guest but lo. A paused local guest still answers.
    fn counters(&self, guest: &Guest) -> Result<Counters>;

    /// Whether [`counters`](Self::counters) of this guest are answered from memory or by a few system calls, never by
    /// waiting.
    fn counts_at_once(&self, guest: &Guest) -> bool {
        let _ = guest;
        false
    }

    /// Switches forwarding in the guest's network namespace on (as its sysctls say) or off. Called with
    /// `true` after configure has succeeded. Does nothing for a guest that asked for no forwarding.
    fn set_forwarding(&self, guest: &Guest, on: bool) -> Result<()>;

    /// The network namespace of a running guest of this machine. It is proven to be the guest's. A guest without one (of another machine, or with a kernel of its own) is EOPNOTSUPP with a sentence that says so.
    fn netns(&self, guest: &Guest) -> Result<File> {
        let message = format!(
            "{} has no network namespace on this machine: the driver {} cannot be part of service chains",
            guest.name,
            self.name()
        );
        Err(NfioError::posix(libc::EOPNOTSUPP, message))
    }

    /// What service chains connect of a running guest of this machine. A virtual machine is a bridge away: it takes
    /// interfaces while it runs. A guest of another machine is EOPNOTSUPP. Answered like
    /// [`guest_status`](Self::guest_status).
    fn stack(&self, guest: &Guest) -> Result<Stack> {
        self.netns(guest).map(Stack::Namespace)
    }

    /// Gives a running virtual machine an interface, for this run at most. It has none of that hardware address yet.
    fn attach_interface(&self, guest: &Guest, cable: &Cable) -> Result<()> {
        let _ = cable;
        Err(no_interfaces(guest, self.name()))
    }

    /// Takes an interface away that was attached; done when the machine has let go of it. Answers whether it was there: a
    /// machine that does not run has none.
    fn detach_interface(&self, guest: &Guest, cable: &Cable) -> Result<bool> {
        let _ = cable;
        Err(no_interfaces(guest, self.name()))
    }

    /// Takes up a guest found in the records at mount; its output goes to `log` from now on. One that is gone is
    /// `NotFound`.
    fn adopt(&self, guest: &Guest, log: &Path) -> Result<Status>;

    /// Waits, for moments at most, until all that a guest which has ended said is in its log.
    fn settle_log(&self, guest: &Guest) {
        // A driver that writes the log itself has written it.
        let _ = guest;
    }
}

fn no_interfaces(guest: &Guest, driver: &str) -> NfioError {
    let message = format!("{}: the driver {driver} plugs no interfaces into running guests", guest.name);
    NfioError::posix(libc::EOPNOTSUPP, message)
}
