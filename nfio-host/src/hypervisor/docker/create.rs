//! What a container is made of: the request to the engine, from a specification.

use bollard::models::{
    ContainerCreateBody, DeviceMapping, EndpointIpamConfig, EndpointSettings, HostConfig,
    HostConfigLogConfig, NetworkingConfig, PortBinding, RestartPolicy, RestartPolicyNameEnum,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

use super::renew;

use crate::error::{NfioError, Result};
use crate::hypervisor::boot_conf::Interface;
use crate::hypervisor::container::sysctl::Sysctls;
use crate::hypervisor::container::{caps, check};
use crate::hypervisor::guest::Labels;
use crate::hypervisor::{GuestSpec, Prepared};

/// Processes and threads that a guest may have.
const PIDS_LIMIT: i64 = 1024;
/// Seconds that a guest gets to end by itself where boot.conf does not say.
const STOP_TIMEOUT: u32 = 10;
/// What the engine itself keeps of a guest's output; nfio keeps its own copy.
const LOG_SIZE: &str = "4m";

pub(super) const ROOT: &str = "io.nfio.root";
const TYPE: &str = "io.nfio.type";
const INSTANCE: &str = "io.nfio.instance";
pub(super) const ID: &str = "io.nfio.id";
/// What is written in the guest's network namespace once it is configured.
pub(super) const SYSCTLS: &str = "io.nfio.sysctls";

/// What tells a guest from all others.
pub(super) fn labels(labels: &Labels) -> HashMap<String, String> {
    [(ROOT, &labels.root), (TYPE, &labels.ty), (INSTANCE, &labels.instance), (ID, &labels.id)]
        .map(|(key, value)| (key.to_owned(), value.clone()))
        .into()
}

/// Judges what this driver serves, but for the host.
pub(super) fn judge(spec: &GuestSpec) -> Result<()> {
    let boot = &spec.boot;
    let bridged = boot.interfaces.iter().any(|interface| interface.bridge.is_some());
    check::unsupported("Docker", &[("[vm]", boot.vm.is_some()), ("[[interface]] bridge", bridged)])?;
    check::check(spec)?;
    Sysctls::of(spec)?;
    for (number, interface) in boot.interfaces.iter().enumerate() {
        judge_interface(number, interface)?;
    }
    for port in &boot.ports {
        if !matches!(port.protocol.as_str(), "tcp" | "udp") || port.guest == 0 {
            return Err(NfioError::configuration(format!(
                "boot.conf: [[port]] {} → {}/{:?}: a port is 1 … 65535, a protocol tcp or udp",
                port.host, port.guest, port.protocol
            )));
        }
    }
    image(&spec.image)
}

fn judge_interface(number: usize, interface: &Interface) -> Result<()> {
    let named = format!("eth{number}");
    if interface.name.as_ref().is_some_and(|name| *name != named) {
        return Err(NfioError::configuration(format!(
            "boot.conf: [[interface]] name = {:?}: the driver Docker names interfaces eth0, eth1, … in their order; \
             write {named:?} or leave it out",
            interface.name.as_deref().unwrap_or_default()
        )));
    }
    if let Some(address) = &interface.address {
        address_of(address)?;
    }
    let network = interface.network.as_deref().unwrap_or("bridge");
    // `host`, `none` and `container:…` are namespaces of others.
    if matches!(network, "host" | "none" | "") || network.contains([':', '/', ' ']) {
        return Err(NfioError::configuration(format!(
            "boot.conf: [[interface]] network = {network:?} is no network of the engine; see docker network ls"
        )));
    }
    Ok(())
}

/// The address without its prefix length: the engine takes that from the network.
fn address_of(text: &str) -> Result<String> {
    let address = text.split_once('/').map_or(text, |(address, _)| address);
    address.parse::<std::net::IpAddr>().map(|address| address.to_string()).map_err(|_| {
        NfioError::configuration(format!("boot.conf: [[interface]] address = {text:?} is no address"))
    })
}

/// Names are the engine's to judge; what cannot be one is refused here, in words that help.
fn image(name: &str) -> Result<()> {
    let sound = name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.len() <= 512
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'/' | b':' | b'@'));
    match sound {
        true => Ok(()),
        false => Err(NfioError::configuration(format!(
            "machine/vm.image: {name:?} is no name of a Docker image; see docker image ls"
        ))),
    }
}

/// Environment and command, in which the container of one start may differ from that of the next.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub(super) env: Vec<String>,
    pub(super) command: Option<Vec<String>>,
}

impl Process {
    /// What boot.conf says, with what `prepare` asked for: its variables win, boot.conf's command does.
    pub(super) fn of(
        env: &BTreeMap<String, String>,
        command: Option<&Vec<String>>,
        prepared: &Prepared,
    ) -> Self {
        let mut all = env.clone();
        all.extend(prepared.env.iter().cloned());
        let command = command.or(prepared.command.as_ref()).cloned();
        Self { env: all.into_iter().map(|(key, value)| format!("{key}={value}")).collect(), command }
    }
}

/// The request that makes a guest. `local`: the engine is this machine's, where forwarding is withheld until the guest
/// is configured.
pub(super) fn body(spec: &GuestSpec, process: Process, local: bool) -> Result<ContainerCreateBody> {
    let boot = &spec.boot;
    let mut labels = labels(&spec.labels);
    labels.insert(renew::PROCESS.into(), renew::label(spec, &process));
    let sysctls = serde_json::to_string(&Sysctls::of(spec)?);
    labels.insert(SYSCTLS.into(), sysctls.expect("maps of text are always JSON"));
    Ok(ContainerCreateBody {
        hostname: Some(boot.hostname.clone().unwrap_or_else(|| spec.labels.instance.clone())),
        user: boot.user.clone().filter(|user| !user.is_empty()),
        env: Some(process.env),
        cmd: process.command,
        entrypoint: boot.entrypoint.clone(),
        image: Some(spec.image.clone()),
        labels: Some(labels),
        stop_timeout: Some(boot.stop_timeout.unwrap_or(STOP_TIMEOUT).into()),
        exposed_ports: Some(
            boot.ports.iter().map(|port| format!("{}/{}", port.guest, port.protocol)).collect(),
        ),
        host_config: Some(host_config(spec, local)?),
        networking_config: boot.interfaces.first().map(first_network).transpose()?,
        ..ContainerCreateBody::default()
    })
}

fn host_config(spec: &GuestSpec, local: bool) -> Result<HostConfig> {
    let boot = &spec.boot;
    let (add, drop) = capabilities(spec)?;
    let ports = boot.ports.iter().map(|port| {
        let binding = PortBinding { host_ip: None, host_port: Some(port.host.to_string()) };
        (format!("{}/{}", port.guest, port.protocol), Some(vec![binding]))
    });
    let device = |path: &String| DeviceMapping {
        path_on_host: Some(path.clone()),
        path_in_container: Some(path.clone()),
        cgroup_permissions: Some("rwm".into()),
    };
    Ok(HostConfig {
        // The engine refuses more than it has; a fraction of a nanosecond of CPU does not matter.
        nano_cpus: spec.vcpu.map(|cpus| (cpus * 1e9) as i64),
        memory: spec.memory.map(|bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
        pids_limit: Some(PIDS_LIMIT),
        // A first process that passes signals on and reaps orphans: `sleep` alone would not hear SIGTERM.
        init: Some(true),
        cap_add: Some(add),
        cap_drop: Some(drop),
        privileged: Some(boot.privileged),
        security_opt: (!boot.privileged).then(|| vec!["no-new-privileges:true".into()]),
        devices: Some(spec.needs.devices.iter().map(device).collect()),
        sysctls: Some(Sysctls::of(spec)?.at_create(local).into_iter().collect()),
        dns: (!boot.dns.is_empty()).then(|| boot.dns.clone()),
        network_mode: boot.interfaces.first().map(|first| network(first).to_owned()),
        port_bindings: Some(ports.collect()),
        // nfio alone starts a guest again: it gives it its configuration first.
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some([("max-size".to_owned(), LOG_SIZE.to_owned())].into()),
        }),
        ..HostConfig::default()
    })
}

/// Capabilities beside the engine's default set, and those taken from it. As with Oci: boot.conf's drop takes from what the
/// type needs, its add stands in any case.
fn capabilities(spec: &GuestSpec) -> Result<(Vec<String>, Vec<String>)> {
    let boot = &spec.boot.capabilities;
    let needed = caps::names(&spec.needs.capabilities, "the type's needs")?.into_iter().chain(["NET_ADMIN"]);
    let added = caps::names(&boot.add, "boot.conf: [capabilities] add")?;
    let dropped = caps::names(&boot.drop, "boot.conf: [capabilities] drop")?;
    let add = needed.filter(|name| !dropped.contains(name)).chain(added.iter().copied());
    let drop = dropped.difference(&added).copied();
    // An engine may know fewer than we do: all of them it is told by that word.
    let told = |list: &[String], names: Vec<&str>| match caps::is_all(list) {
        true => vec!["ALL".to_owned()],
        false => names.into_iter().map(str::to_owned).collect(),
    };
    let all_added = caps::is_all(&boot.add);
    let drop = if all_added { Vec::new() } else { told(&boot.drop, drop.collect()) };
    Ok((told(&boot.add, add.collect()), drop))
}

/// The network of an interface; the engine's default one where boot.conf names none.
pub(super) fn network(interface: &Interface) -> &str {
    interface.network.as_deref().unwrap_or("bridge")
}

/// How an interface is connected to its network.
pub(super) fn endpoint(interface: &Interface) -> Result<EndpointSettings> {
    let address = interface.address.as_deref().map(address_of).transpose()?;
    let ipam = address.map(|address| match address.contains(':') {
        true => EndpointIpamConfig { ipv6_address: Some(address), ..EndpointIpamConfig::default() },
        false => EndpointIpamConfig { ipv4_address: Some(address), ..EndpointIpamConfig::default() },
    });
    Ok(EndpointSettings { ipam_config: ipam, ..EndpointSettings::default() })
}

fn first_network(interface: &Interface) -> Result<NetworkingConfig> {
    let endpoints = [(network(interface).to_owned(), endpoint(interface)?)].into();
    Ok(NetworkingConfig { endpoints_config: Some(endpoints) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::boot_conf::BootConf;

    fn spec(conf: &str) -> GuestSpec {
        GuestSpec { boot: BootConf::parse(conf).unwrap(), ..GuestSpec::example() }
    }

    #[test]
    fn what_docker_does_not_serve_is_refused_by_its_key() {
        for (conf, key) in [
            ("[vm]\nkernel = \"k\"", "[vm]"),
            ("[[interface]]\nbridge = \"br0\"", "bridge"),
            ("[[interface]]\nnetwork = \"a\\u0000b\"", "network"),
            ("[[interface]]\nname = \"lan\"", "lan"),
            ("[[interface]]\nnetwork = \"host\"", "host"),
            ("[[interface]]\nnetwork = \"container:x\"", "container:x"),
            ("[[interface]]\naddress = \"somewhere\"", "somewhere"),
            ("[[port]]\nhost = 1\nguest = 2\nprotocol = \"icmp\"", "icmp"),
        ] {
            let error = judge(&spec(conf)).unwrap_err();
            assert!(error.code() == 720 && error.to_string().contains(key), "{conf}: {error}");
        }
        for image in ["/srv/images/box", "-v", "a b", "a\nb", "a?x=1"] {
            let error = judge(&GuestSpec { image: image.into(), ..GuestSpec::example() }).unwrap_err();
            assert!(error.code() == 720 && error.to_string().contains("vm.image"), "{image}: {error}");
        }
    }

    #[test]
    fn a_guest_is_confined_and_never_restarted_by_the_engine() {
        let body = body(&spec(""), Process::default(), true).unwrap();
        let host = body.host_config.unwrap();
        assert_eq!(host.cap_add.unwrap(), ["NET_ADMIN"]);
        assert_eq!(host.security_opt.unwrap(), ["no-new-privileges:true"]);
        assert_eq!(host.restart_policy.unwrap().name, Some(RestartPolicyNameEnum::NO));
        assert!(host.init.unwrap() && !host.privileged.unwrap() && host.pids_limit == Some(PIDS_LIMIT));
    }

    #[test]
    fn what_boot_conf_adds_stands_and_all_is_one_word() {
        let told = |conf: &str| capabilities(&spec(&format!("[capabilities]\n{conf}"))).unwrap();
        let words = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
        assert_eq!(told("drop = [\"NET_RAW\"]"), (words(&["NET_ADMIN"]), words(&["NET_RAW"])));
        assert_eq!(told("drop = [\"all\"]\nadd = [\"CAP_CHOWN\"]"), (words(&["CHOWN"]), words(&["ALL"])));
        assert_eq!(told("drop = [\"NET_RAW\"]\nadd = [\"ALL\"]"), (words(&["ALL"]), words(&[])));
    }

    #[test]
    fn the_types_variables_win_and_boot_confs_command_does() {
        let prepared = Prepared {
            env: vec![("A".into(), "type".into())],
            command: Some(vec!["type".into()]),
            ..Prepared::default()
        };
        let env = BTreeMap::from([("A".to_owned(), "boot".to_owned()), ("B".to_owned(), "boot".to_owned())]);
        let command = vec!["boot".to_owned()];
        let process = Process::of(&env, Some(&command), &prepared);
        assert_eq!(process, Process { env: vec!["A=type".into(), "B=boot".into()], command: Some(command) });
        assert_eq!(Process::of(&env, None, &prepared).command, prepared.command);
    }
}
