//! A guest's link: the bridge, made with its first guest and removed with its last, and a veth pair whose one
//! end is the guest's eth0. All by rtnetlink; nothing of the host beside the bridge is touched.

use futures_util::TryStreamExt;
use rtnetlink::packet_route::address::AddressAttribute;
use rtnetlink::packet_route::link::{InfoData, InfoVeth, LinkAttribute, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkMessageBuilder, LinkUnspec, LinkVeth, RouteMessageBuilder};
use std::fs::{self, File};
use std::io;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::AsRawFd;
use std::path::Path;

use super::lease::{Subnet, lock};
use super::state::NetworkSettings;
use crate::netlink::{in_netns, index, links, netlink, said};

/// Name of the guest's link in the guest.
const ETH0: &str = "eth0";
/// What the bridge's alias says when it is ours to remove.
const OURS: &str = "made by nfio";

/// Name of the guest's link on the host's side.
pub(super) fn host_name(short: &str) -> String {
    format!("nfv{short}")
}

/// Gives the guest whose network namespace this is its link.
pub(super) fn wire(
    settings: &NetworkSettings,
    short: &str,
    netns: &File,
    address: Ipv4Addr,
) -> io::Result<()> {
    let subnet = Subnet::parse(&settings.subnet)?;
    let host = host_name(short);
    {
        // The bridge stays for as long as the lock is held, and then because it has a port.
        let _lock = lock(&settings.run)?;
        netlink(async |handle| {
            let bridge = bridge(&handle, &settings.bridge, subnet).await?;
            if let Ok(old) = index(&host) {
                said("removing", &host, handle.link().del(old).execute().await)?;
            }
            said("making", &host, handle.link().add(pair(&host, bridge, netns, address)).execute().await)
        })?;
    }
    in_netns(netns.try_clone()?, || {
        netlink(async |handle| {
            let up = LinkUnspec::new_with_index(index("lo")?).up().build();
            said("raising", "lo", handle.link().set(up).execute().await)?;
            let eth0 = index(ETH0)?;
            let up = LinkUnspec::new_with_index(eth0).up().build();
            said("raising", ETH0, handle.link().set(up).execute().await)?;
            let add = handle.address().add(eth0, IpAddr::V4(address), subnet.prefix);
            said("addressing", ETH0, add.execute().await)?;
            let route = RouteMessageBuilder::<Ipv4Addr>::new().gateway(subnet.gateway()).build();
            said("routing over", ETH0, handle.route().add(route).execute().await)
        })
    })
}

/// The request for a pair whose one end is a port of the bridge and whose other is born in the guest's namespace. To
/// move it there would make the kernel wait until nobody uses it any more, for longer than all the rest of a start takes.
fn pair(host: &str, bridge: u32, netns: &File, address: Ipv4Addr) -> LinkMessage {
    // No end of a pair goes up before it has the other: the guest's, which is made first, does later.
    let peer = LinkUnspec::new_with_name(ETH0).setns_by_fd(netns.as_raw_fd()).address(mac(address)).build();
    let peer = InfoData::Veth(InfoVeth::Peer(peer));
    LinkVeth::new(host, ETH0).set_info_data(peer).controller(bridge).up().build()
}

/// Takes the guest's link away, and the bridge with the last one. What is not there is no error.
pub(super) fn unwire(settings: &NetworkSettings, short: &str) -> io::Result<()> {
    let host = host_name(short);
    if index(&host).is_err() && index(&settings.bridge).is_err() {
        return Ok(());
    }
    let _lock = lock(&settings.run)?;
    netlink(async |handle| {
        if let Ok(link) = index(&host) {
            match handle.link().del(link).execute().await {
                // The guest's namespace ended meanwhile and took its end with it, and so this one.
                Err(_) if index(&host).is_err() => {}
                other => said("removing", &host, other)?,
            }
        }
        let Ok(bridge) = index(&settings.bridge) else { return Ok(()) };
        let links = links(&handle).await?;
        let ours = links.iter().filter(|link| link.header.index == bridge).any(is_ours);
        let used = links.iter().any(|link| link.attributes.contains(&LinkAttribute::Controller(bridge)));
        if ours && !used {
            said("removing", &settings.bridge, handle.link().del(bridge).execute().await)?;
        }
        Ok(())
    })
}

fn is_ours(link: &LinkMessage) -> bool {
    link.attributes.contains(&LinkAttribute::IfAlias(OURS.into()))
}

/// The bridge's index; it is made where it is missing, and finished where whoever made it was killed meanwhile. One that
/// somebody else made is used as it is, as long as it is where guests will look for it.
async fn bridge(handle: &Handle, name: &str, subnet: Subnet) -> io::Result<u32> {
    let gateway = IpAddr::V4(subnet.gateway());
    let bridge = match index(name) {
        Ok(bridge) if addresses(handle, bridge).await?.contains(&gateway) => return Ok(bridge),
        Ok(bridge) if is_half_made(handle, bridge, subnet).await? => bridge,
        Ok(_) => {
            return Err(io::Error::other(format!(
                "the interface {name} exists without the address {gateway}/{}: it was made for another subnet or \
                 by somebody else; configure another bridge or the same subnet for all nfio of this machine",
                subnet.prefix
            )));
        }
        Err(_) => {
            // A fixed hardware address: a bridge otherwise takes its ports' lowest one, and changes it as guests
            // come and go, which their neighbour caches would learn too late.
            let message = LinkBridge::new(name).address(mac(subnet.gateway())).build();
            said("making", name, handle.link().add(message).execute().await)?;
            index(name)?
        }
    };
    // Guests may send router advertisements: the host must not take one of them for its router.
    deaf(name)?;
    let message: LinkMessage = LinkMessageBuilder::<LinkUnspec>::new().index(bridge).alias(OURS).up().build();
    said("raising", name, handle.link().set(message).execute().await)?;
    let add = handle.address().add(bridge, gateway, subnet.prefix);
    said("addressing", name, add.execute().await)?;
    Ok(bridge)
}

/// Whether a bridge is one of ours that never got its address: its hardware address is ours, and nothing uses it yet.
async fn is_half_made(handle: &Handle, bridge: u32, subnet: Subnet) -> io::Result<bool> {
    let links = links(handle).await?;
    let hardware = LinkAttribute::Address(mac(subnet.gateway()));
    let ours = links.iter().any(|link| link.header.index == bridge && link.attributes.contains(&hardware));
    let used = links.iter().any(|link| link.attributes.contains(&LinkAttribute::Controller(bridge)));
    let bare = addresses(handle, bridge).await?.iter().all(IpAddr::is_ipv6);
    Ok(ours && !used && bare)
}

async fn addresses(handle: &Handle, link: u32) -> io::Result<Vec<IpAddr>> {
    let request = handle.address().get().set_link_index_filter(link);
    let found: Vec<_> = request.execute().try_collect().await.map_err(io::Error::other)?;
    let address = |attribute| match attribute {
        AddressAttribute::Address(address) => Some(address),
        _ => None,
    };
    Ok(found.into_iter().flat_map(|message| message.attributes).filter_map(address).collect())
}

/// Keeps the host from configuring itself by what it hears on that interface.
fn deaf(name: &str) -> io::Result<()> {
    let conf = Path::new("/proc/sys/net/ipv6/conf").join(name);
    for key in ["accept_ra", "accept_redirects", "autoconf"] {
        match fs::write(conf.join(key), "0") {
            // A kernel without IPv6.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(io::Error::other(format!("{key} of the interface {name}: {e}"))),
            Ok(()) => {}
        }
    }
    Ok(())
}

/// The hardware address that goes with an address: a guest that comes back is found by its neighbours at once.
fn mac(address: Ipv4Addr) -> Vec<u8> {
    [&[0x02, 0x42], &address.octets()[..]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_the_kernels_fifteen_bytes() {
        assert_eq!(host_name("0123456789ab").len(), 15);
    }

    #[test]
    fn hardware_addresses_are_local_unicast_and_follow_the_address() {
        assert_eq!(mac(Ipv4Addr::new(10, 88, 0, 2)), [0x02, 0x42, 10, 88, 0, 2]);
    }
}
