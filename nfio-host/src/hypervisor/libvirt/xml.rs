//! A domain's XML, written by an XML library: whatever a user's text holds, it stays text.

use quick_xml::Writer;
use quick_xml::events::BytesText;
use std::io;
use std::path::{Path, PathBuf};

use crate::hypervisor::{Cable, GuestSpec};

/// Name space of what nfio notes in a domain.
pub(super) const NAMESPACE: &str = "https://github.com/nfio/nfio";
/// Memory of a guest where `machine/vm.memory` does not say, in bytes.
const MEMORY: u64 = 256 << 20;

/// The name of the guest agent's channel.
pub(super) const AGENT: &str = "org.qemu.guest_agent.0";
/// PCIe devices that every machine has: its serial channels, memory balloon, random numbers and USB.
const OTHERS: usize = 4;
/// How many interfaces can be plugged into a running machine.
pub(super) const SPARE: usize = 8;

/// What a guest boots.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Boot {
    pub(super) kernel: Option<PathBuf>,
    pub(super) initrd: Option<PathBuf>,
    pub(super) cmdline: Option<String>,
    /// The guest's own layer (qcow2).
    pub(super) disk: Option<PathBuf>,
}

/// What an interface is connected to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Link {
    Network(String),
    Bridge(String),
}

/// A domain to be defined.
pub(super) struct Domain<'a> {
    pub(super) spec: &'a GuestSpec,
    /// `kvm` or `qemu`.
    pub(super) kind: &'a str,
    pub(super) boot: &'a Boot,
    pub(super) links: &'a [Link],
    /// Whether its serial console is written to the log by QEMU itself, which is on this machine; else it is a terminal.
    pub(super) logs: bool,
}

impl Domain<'_> {
    /// The text for libvirt.
    pub(super) fn to_xml(&self) -> io::Result<String> {
        let mut writer = Writer::new(Vec::new());
        let spec = self.spec;
        writer.create_element("domain").with_attribute(("type", self.kind)).write_inner_content(|w| {
            text(w, "name", &spec.name)?;
            text(w, "uuid", &spec.labels.id)?;
            metadata(w, spec)?;
            let memory = spec.memory.unwrap_or(MEMORY).to_string();
            unit(w, "memory", &memory)?;
            unit(w, "currentMemory", &memory)?;
            // A domain has whole CPUs; a fraction is one that may not always run.
            text(w, "vcpu", &(spec.vcpu.unwrap_or(1.0).ceil() as u64).to_string())?;
            if let Some(vcpu) = spec.vcpu.filter(|vcpu| vcpu.fract() != 0.0) {
                let quota = (vcpu / vcpu.ceil() * 100_000.0) as u64;
                w.create_element("cputune").write_inner_content(|w| {
                    text(w, "period", "100000")?;
                    text(w, "quota", &quota.max(1000).to_string())
                })?;
            }
            self.os(w)?;
            processor(w, self.kind)?;
            w.create_element("features").write_inner_content(|w| empty(w, "acpi", &[]))?;
            text(w, "on_poweroff", "destroy")?;
            text(w, "on_reboot", "restart")?;
            text(w, "on_crash", "destroy")?;
            self.devices(w)
        })?;
        String::from_utf8(writer.into_inner()).map_err(io::Error::other)
    }

    fn os(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        let boot = self.boot;
        writer.create_element("os").write_inner_content(|w| {
            machine(w)?;
            let paths = [("kernel", &boot.kernel), ("initrd", &boot.initrd)];
            for (name, path) in paths.iter().filter_map(|(name, path)| Some((*name, path.as_deref()?))) {
                text(w, name, &display(path))?;
            }
            match &boot.cmdline {
                Some(cmdline) if boot.kernel.is_some() => text(w, "cmdline", cmdline),
                _ => Ok(()),
            }
        })?;
        Ok(())
    }

    fn devices(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        writer.create_element("devices").write_inner_content(|w| {
            if let Some(disk) = &self.boot.disk {
                let attributes = [("type", "file"), ("device", "disk")];
                w.create_element("disk").with_attributes(attributes).write_inner_content(|w| {
                    empty(w, "driver", &[("name", "qemu"), ("type", "qcow2")])?;
                    empty(w, "source", &[("file", &display(disk))])?;
                    empty(w, "target", &[("dev", "vda"), ("bus", "virtio")])
                })?;
            }
            for (number, link) in self.links.iter().enumerate() {
                self.interface(w, number, link)?;
            }
            w.create_element("channel")
                .with_attribute(("type", "unix"))
                .write_inner_content(|w| empty(w, "target", &[("type", "virtio"), ("name", AGENT)]))?;
            let kind = if self.logs { "file" } else { "pty" };
            w.create_element("serial").with_attribute(("type", kind)).write_inner_content(|w| {
                if self.logs {
                    empty(w, "source", &[("path", &display(&self.spec.log)), ("append", "on")])?;
                }
                empty(w, "target", &[("port", "0")])
            })?;
            empty(w, "memballoon", &[("model", "virtio")])?;
            self.slots(w)?;
            w.create_element("rng").with_attribute(("model", "virtio")).write_inner_content(|w| {
                w.create_element("backend")
                    .with_attribute(("model", "random"))
                    .write_text_content(BytesText::new("/dev/urandom"))?;
                Ok(())
            })?;
            Ok(())
        })?;
        Ok(())
    }

    /// A PCIe machine takes a device while it runs only where a port is free. Those that it has from its start take the
    /// first ones.
    fn slots(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        // As libvirt of most versions adds by itself: named, so that it is counted for certain.
        empty(writer, "controller", &[("type", "usb"), ("index", "0"), ("model", "qemu-xhci")])?;
        empty(writer, "controller", &[("type", "pci"), ("index", "0"), ("model", "pcie-root")])?;
        let disks = usize::from(self.boot.disk.is_some());
        for _ in 0..SPARE + OTHERS + disks + self.links.len() {
            empty(writer, "controller", &[("type", "pci"), ("model", "pcie-root-port")])?;
        }
        Ok(())
    }

    fn interface(&self, writer: &mut Writer<Vec<u8>>, number: usize, link: &Link) -> io::Result<()> {
        let (kind, name) = match link {
            Link::Network(name) => ("network", name),
            Link::Bridge(name) => ("bridge", name),
        };
        let address = hardware_address(&self.spec.labels.id, number);
        writer.create_element("interface").with_attribute(("type", kind)).write_inner_content(|w| {
            empty(w, "mac", &[("address", &address)])?;
            empty(w, "source", &[(kind, name)])?;
            empty(w, "model", &[("type", "virtio")])?;
            empty(w, "rom", &[("enabled", "no")])
        })?;
        Ok(())
    }
}

/// The interface at the end of a cable, for a machine that runs.
pub(super) fn plug(cable: &Cable) -> io::Result<String> {
    let mut writer = Writer::new(Vec::new());
    writer.create_element("interface").with_attribute(("type", "bridge")).write_inner_content(|w| {
        empty(w, "mac", &[("address", &cable.hardware)])?;
        empty(w, "source", &[("bridge", &cable.bridge)])?;
        empty(w, "target", &[("dev", &cable.port)])?;
        empty(w, "model", &[("type", "virtio")])?;
        empty(w, "rom", &[("enabled", "no")])
    })?;
    String::from_utf8(writer.into_inner()).map_err(io::Error::other)
}

/// All that the processor can, or that QEMU can in its place.
fn processor(writer: &mut Writer<Vec<u8>>, kind: &str) -> io::Result<()> {
    empty(writer, "cpu", &[("mode", if kind == "kvm" { "host-passthrough" } else { "maximum" })])
}

fn machine(writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
    writer
        .create_element("type")
        .with_attribute(("arch", std::env::consts::ARCH))
        .with_attribute(("machine", if cfg!(target_arch = "aarch64") { "virt" } else { "q35" }))
        .write_text_content(BytesText::new("hvm"))?;
    Ok(())
}

/// A domain that runs nothing, to try whether its processor starts.
pub(super) fn probe(name: &str) -> io::Result<String> {
    let mut writer = Writer::new(Vec::new());
    writer.create_element("domain").with_attribute(("type", "kvm")).write_inner_content(|w| {
        text(w, "name", name)?;
        unit(w, "memory", &(16 << 20).to_string())?;
        w.create_element("os").write_inner_content(machine)?;
        processor(w, "kvm")?;
        w.create_element("devices").write_inner_content(|w| empty(w, "memballoon", &[("model", "none")]))?;
        Ok(())
    })?;
    String::from_utf8(writer.into_inner()).map_err(io::Error::other)
}

/// What tells the guest from all others, whatever it is called.
pub(super) fn metadata(writer: &mut Writer<Vec<u8>>, spec: &GuestSpec) -> io::Result<()> {
    let labels = &spec.labels;
    writer.create_element("metadata").write_inner_content(|w| {
        empty(
            w,
            "nfio:guest",
            &[
                ("xmlns:nfio", NAMESPACE),
                ("root", &labels.root),
                ("type", &labels.ty),
                ("instance", &labels.instance),
                ("id", &labels.id),
            ],
        )
    })?;
    Ok(())
}

/// An address in QEMU's range that stays with the guest, and so does its lease.
pub(super) fn hardware_address(id: &str, number: usize) -> String {
    let digits: Vec<u8> = id.bytes().filter(u8::is_ascii_hexdigit).collect();
    let tail = digits.get(..6).unwrap_or(b"000000");
    let value = usize::from_str_radix(&String::from_utf8_lossy(tail), 16).unwrap_or(0);
    let value = (value + number) & 0xff_ffff;
    format!("52:54:00:{:02x}:{:02x}:{:02x}", value >> 16, (value >> 8) & 0xff, value & 0xff)
}

pub(super) fn display(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

pub(super) fn text(writer: &mut Writer<Vec<u8>>, name: &str, content: &str) -> io::Result<()> {
    writer.create_element(name).write_text_content(BytesText::new(content)).map(drop)
}

pub(super) fn unit(writer: &mut Writer<Vec<u8>>, name: &str, bytes: &str) -> io::Result<()> {
    let content = BytesText::new(bytes);
    writer.create_element(name).with_attribute(("unit", "bytes")).write_text_content(content).map(drop)
}

pub(super) fn empty(writer: &mut Writer<Vec<u8>>, name: &str, attributes: &[(&str, &str)]) -> io::Result<()> {
    writer.create_element(name).with_attributes(attributes.iter().copied()).write_empty().map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quick_xml::Reader;
    use quick_xml::events::Event;

    #[test]
    fn whatever_a_text_holds_it_stays_text() {
        let mut spec = GuestSpec::example();
        spec.labels.instance = "a\"<&'>b".into();
        let boot = Boot { kernel: Some("/k".into()), cmdline: Some("x=\"<&'>".into()), ..Boot::default() };
        let links = [Link::Network("n\"<&'>".into())];
        let xml =
            Domain { spec: &spec, kind: "qemu", boot: &boot, links: &links, logs: true }.to_xml().unwrap();
        let mut reader = Reader::from_str(&xml);
        let (mut depth, mut elements) = (0, 0);
        loop {
            match reader.read_event().expect("sound XML") {
                Event::Start(_) => (depth, elements) = (depth + 1, elements + 1),
                Event::End(_) => depth -= 1,
                Event::Eof => break,
                _ => {}
            }
        }
        assert!(depth == 0 && elements > 10, "{xml}");
        assert!(!xml.contains("a\"<") && !xml.contains("n\"<") && !xml.contains("x=\"<"), "{xml}");
    }

    #[test]
    fn interfaces_of_a_guest_have_addresses_of_their_own() {
        let id = "ffffff00-0000-4000-8000-000000000000";
        assert_eq!(hardware_address(id, 0), "52:54:00:ff:ff:ff");
        assert_eq!(hardware_address(id, 1), "52:54:00:00:00:00");
    }
}
