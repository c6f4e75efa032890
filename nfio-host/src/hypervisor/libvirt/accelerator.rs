//! Whether a host's processors run virtual machines. That libvirt offers KVM does not say so: where nfio's machine is a
//! virtual one itself, a domain may be refused at its start, or never print a word. So it is tried, once a host, with a
//! domain of nothing but a processor, which is gone again in a moment.

use virt::connect::Connect;
use virt::sys;

use super::xml;
use crate::error::one_line;

/// `kvm` where a domain of that type starts, else `qemu`.
pub(super) fn detect(connect: &Connect) -> &'static str {
    let name = format!("nfio-probe-{}", uuid::Uuid::new_v4());
    let tried = xml::probe(&name).map_err(|e| e.to_string()).and_then(|xml| {
        let flags = sys::VIR_DOMAIN_START_PAUSED | sys::VIR_DOMAIN_START_AUTODESTROY;
        connect.create_domain_xml(&xml, flags).map_err(|e| one_line(e.message()))
    });
    match tried {
        Ok(domain) => {
            // It ends with the connection in any case.
            if let Err(e) = domain.destroy() {
                tracing::warn!(
                    "the domain {name}, which tried KVM, is not gone yet: {}",
                    one_line(e.message())
                );
            }
            "kvm"
        }
        Err(why) => {
            tracing::info!("virtual machines run without KVM, which is slow: {why}");
            "qemu"
        }
    }
}
