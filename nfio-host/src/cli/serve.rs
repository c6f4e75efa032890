//! Brings the rooms together and serves until the mount is gone.

use std::path::Path;
use std::sync::Arc;
use std::thread::available_parallelism;

use super::memory;
use crate::chain::{ChainConfig, Chains, Tree};
use crate::config::Config;
use crate::error::Result;
use crate::fs::operations::Operations;
use crate::fs::{self, MountConfig, Nfio};
use crate::hypervisor::docker::DockerConfig;
use crate::hypervisor::factory::{HypervisorFactory, Settings};
#[cfg(feature = "libvirt")]
use crate::hypervisor::libvirt::LibvirtConfig;
use crate::hypervisor::oci::{self, OciConfig};
use crate::modules::{self, Loader, Registry};
use crate::root::Root;
use crate::vnf::VnfsOperations;

/// Serves `root` at `mountpoint`, calls `ready` once the file system answers, and returns when it is unmounted, by
/// whomever.
pub(super) fn serve(config: &Config, root: Root, mountpoint: &Path, ready: impl FnOnce()) -> Result<()> {
    memory::settle();
    modules::mark_crashes(&root.private())?;
    let loader = Arc::new(Loader::new(&root.private(), &config.modules)?);
    let registry = Registry::load(&config.module_root, &root.private(), &loader, config.deadlines)?;
    let mut factory = HypervisorFactory::new();
    let embedded = OciConfig {
        subnet: config.oci.subnet.clone(),
        bridge: config.oci.bridge.clone(),
        ..OciConfig::new(root.private().join("oci"), &config.oci.images)
    };
    let docker = DockerConfig {
        root: root.uuid().to_owned(),
        state: root.private().join("docker"),
        socket: config.docker.socket.clone(),
        hosts: config.hosts.clone(),
    };
    let hypervisor = factory.initialise(
        &config.hypervisor,
        Settings {
            docker,
            oci: embedded,
            #[cfg(feature = "libvirt")]
            libvirt: LibvirtConfig {
                state: root.private().join("libvirt"),
                settings: config.libvirt.clone(),
                hosts: config.hosts.clone(),
            },
        },
    )?;
    let directory = root.dir().try_clone_to_owned()?;
    let fsname = root.path().display().to_string();
    let vnfs = VnfsOperations::new(root, registry, hypervisor, config.deadlines, config.policy.clone())?;
    let mount = MountConfig {
        mountpoint: mountpoint.to_owned(),
        fsname,
        allow_other: false,
        options: config.options.clone(),
        // Requests that may take long have threads of their own; these only have to keep up with the kernel.
        threads: available_parallelism().map_or(2, usize::from).max(2),
    };
    let chains = ChainConfig {
        subnet: config.chains.subnet.clone(),
        run: oci::RUN.into(),
        mount: mountpoint.to_owned(),
        deadlines: config.deadlines,
        policy: config.policy.clone(),
    };
    // Before anything is started: a guest gets its links first.
    let chains = Chains::new(Arc::clone(&vnfs), chains)?;
    let operations: Arc<dyn Operations> = Arc::new(Tree::new(Arc::clone(&vnfs), Arc::clone(&chains)));
    let mounted = fs::mount(Nfio::new(directory, operations)?, mount)?;
    vnfs.observe()?;
    chains.observe()?;
    vnfs.watch_modules(loader)?;
    // Only the file system holds it from here on: its end is the end of all threads.
    drop((vnfs, chains));
    ready();
    mounted.wait()
}
