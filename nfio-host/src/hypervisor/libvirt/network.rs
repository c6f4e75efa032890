//! A guest's address, and what its interfaces have carried.

use std::thread;
use std::time::{Duration, Instant};
use virt::domain::Domain;
use virt::error::Error;
use virt::sys;

use super::host::Host;
use super::{Libvirt, failure, not_running, tell, xml};
use crate::error::{HypervisorError, Result};
use crate::hypervisor::{Counters, Guest};

/// How long a guest that is up may take until it has its address: the lease comes a moment after.
const LEASE_LIMIT: Duration = Duration::from_secs(20);
/// From one look for an address to the next.
const PAUSE: Duration = Duration::from_millis(200);

/// The guest's first address.
pub(super) fn ip(driver: &Libvirt, guest: &Guest) -> Result<String> {
    let (host, seen) = driver.seen(guest)?;
    if seen.run.is_none() {
        return Err(not_running(guest, seen.status));
    }
    let domain = host.with_agent(guest)?;
    if host.is_container()
        && let Some(address) = driver.lxc.address(guest, &domain)?
    {
        return Ok(address);
    }
    // The lease is known to libvirt; the agent knows addresses that no lease gave, once it answers.
    let sources =
        [sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT];
    sources.into_iter().find_map(|source| address(guest, &domain, source)).ok_or_else(|| {
        let message = format!(
            "{} has no address yet: it has one once its DHCP client or its start-up has set one; read vm.ip again",
            guest.name
        );
        HypervisorError::NotFound(message).into()
    })
}

fn address(guest: &Guest, domain: &Domain, source: u32) -> Option<String> {
    let interfaces = domain.interface_addresses(source, 0).ok()?;
    let first = xml::hardware_address(&guest.labels.id, 0);
    let mut mine =
        interfaces.into_iter().filter(|i| i.hwaddr.as_deref() == Some(&first)).flat_map(|i| i.addrs);
    mine.find(|address| !address.addr.starts_with("fe80:")).map(|address| address.addr)
}

/// Waits for the address of a guest whose agent answers, where its network leases one: who has activated a guest reads
/// `vm.ip` next. A guest that asks for none is no error.
pub(super) fn await_address(guest: &Guest, host: &Host, domain: &Domain) {
    if !leases(host, domain).unwrap_or(false) {
        return;
    }
    let until = Instant::now() + LEASE_LIMIT;
    // The agent alone tells what the guest has: a lease may be one of an earlier run.
    while address(guest, domain, sys::VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT).is_none() {
        if Instant::now() >= until {
            tracing::warn!("{} has no address {} s after its start", guest.name, LEASE_LIMIT.as_secs());
            return;
        }
        thread::sleep(PAUSE);
    }
}

/// Whether the network of the first interface has a DHCP server of libvirt's.
fn leases(host: &Host, domain: &Domain) -> Result<bool> {
    let unknown = |e: Error| host.unreachable(e.message());
    let Some(name) = tell::first_network(&domain.xml_desc(0).map_err(unknown)?)? else { return Ok(false) };
    let connection = host.connection()?;
    let network = connection.connect.lookup_network_by_name(&name).map_err(unknown)?;
    Ok(tell::has_element(&network.xml_desc(0).map_err(unknown)?, b"dhcp")?)
}

/// What all interfaces have carried since the guest's start.
pub(super) fn counters(driver: &Libvirt, guest: &Guest) -> Result<Counters> {
    let (host, seen) = driver.seen(guest)?;
    if seen.run.is_none() {
        return Err(not_running(guest, seen.status));
    }
    let domain = host.domain(guest)?;
    let class = |e: &Error| failure::of(e, HypervisorError::Connection, &guest.name, &host);
    let text = domain.xml_desc(0).map_err(|e| class(&e))?;
    let mut sum = Counters::default();
    // Both ends of a cable: what the host's end has sent, the guest has received; libvirt tells it the guest's way.
    for device in tell::host_devices(&text)? {
        let stats = domain.interface_stats(&device).map_err(|e| class(&e))?;
        let number = |value: i64| u64::try_from(value).unwrap_or(0);
        sum.rx_bytes += number(stats.rx_bytes);
        sum.tx_bytes += number(stats.tx_bytes);
        sum.pkt_drops += number(stats.rx_drop) + number(stats.tx_drop);
    }
    Ok(sum)
}
