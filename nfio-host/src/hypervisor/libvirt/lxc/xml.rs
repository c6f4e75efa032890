//! The XML of a domain that is a container.

use quick_xml::events::{BytesText, Event};
use quick_xml::{Reader, Writer};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use crate::error::{NfioError, Result};
use crate::hypervisor::GuestSpec;
use crate::hypervisor::boot_conf::Interface;
use crate::hypervisor::container::caps::Set;
use crate::hypervisor::libvirt::xml::{Link, display, empty, hardware_address, metadata, text, unit};

/// Memory of a guest where `machine/vm.memory` does not say, in bytes.
const MEMORY: u64 = 256 << 20;

/// A container to be defined.
pub(super) struct Container<'a> {
    pub(super) spec: &'a GuestSpec,
    pub(super) links: &'a [Link],
    /// Its root directory.
    pub(super) layer: &'a Path,
    /// Program and arguments of its first process.
    pub(super) arguments: &'a [String],
    /// Variables, as `NAME=value`.
    pub(super) environment: &'a [String],
    /// All that its root may have.
    pub(super) capabilities: &'a Set,
}

impl Container<'_> {
    /// The text for libvirt.
    pub(super) fn to_xml(&self) -> io::Result<String> {
        let mut writer = Writer::new(Vec::new());
        let spec = self.spec;
        writer.create_element("domain").with_attribute(("type", "lxc")).write_inner_content(|w| {
            text(w, "name", &spec.name)?;
            text(w, "uuid", &spec.labels.id)?;
            metadata(w, spec)?;
            unit(w, "memory", &spec.memory.unwrap_or(MEMORY).to_string())?;
            text(w, "vcpu", &(spec.vcpu.unwrap_or(1.0).ceil() as u64).to_string())?;
            if let Some(vcpu) = spec.vcpu {
                w.create_element("cputune").write_inner_content(|w| {
                    text(w, "period", "100000")?;
                    text(w, "quota", &((vcpu * 100_000.0) as u64).max(1000).to_string())
                })?;
            }
            self.os(w)?;
            w.create_element("features").write_inner_content(|w| {
                w.create_element("capabilities").with_attribute(("policy", "deny")).write_inner_content(
                    |w| {
                        let mut names = self.capabilities.iter().map(|name| name.to_ascii_lowercase());
                        names.try_for_each(|name| empty(w, &name, &[("state", "on")]))
                    },
                )?;
                Ok(())
            })?;
            self.devices(w)
        })?;
        String::from_utf8(writer.into_inner()).map_err(io::Error::other)
    }

    fn os(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        writer.create_element("os").write_inner_content(|w| {
            text(w, "type", "exe")?;
            let mut words = self.arguments.iter();
            words.next().map_or(Ok(()), |program| text(w, "init", program))?;
            words.try_for_each(|word| text(w, "initarg", word))?;
            for (name, value) in self.environment.iter().filter_map(|variable| variable.split_once('=')) {
                w.create_element("initenv")
                    .with_attribute(("name", name))
                    .write_text_content(BytesText::new(value))?;
            }
            Ok(())
        })?;
        Ok(())
    }

    fn devices(&self, writer: &mut Writer<Vec<u8>>) -> io::Result<()> {
        writer.create_element("devices").write_inner_content(|w| {
            w.create_element("filesystem").with_attribute(("type", "mount")).write_inner_content(|w| {
                empty(w, "source", &[("dir", &display(self.layer))])?;
                empty(w, "target", &[("dir", "/")])
            })?;
            for (number, link) in self.links.iter().enumerate() {
                self.interface(w, number, link)?;
            }
            empty(w, "console", &[("type", "pty")])
        })?;
        Ok(())
    }

    fn interface(&self, writer: &mut Writer<Vec<u8>>, number: usize, link: &Link) -> io::Result<()> {
        let (kind, source) = match link {
            Link::Network(name) => ("network", name),
            Link::Bridge(name) => ("bridge", name),
        };
        let told = self.spec.boot.interfaces.get(number).cloned().unwrap_or_default();
        let name = told.name.clone().unwrap_or_else(|| format!("eth{number}"));
        let address = address(&told).map_err(io::Error::other)?;
        let hardware = hardware_address(&self.spec.labels.id, number);
        writer.create_element("interface").with_attribute(("type", kind)).write_inner_content(|w| {
            empty(w, "mac", &[("address", &hardware)])?;
            empty(w, "source", &[(kind, source)])?;
            if let Some((address, prefix)) = address {
                let family = if address.is_ipv4() { "ipv4" } else { "ipv6" };
                let (address, prefix) = (address.to_string(), prefix.to_string());
                empty(w, "ip", &[("family", family), ("address", &address), ("prefix", &prefix)])?;
            }
            empty(w, "guest", &[("dev", &name)])
        })?;
        Ok(())
    }
}

/// Judges what is asked of an interface.
pub(super) fn judge(interface: &Interface) -> Result<()> {
    let sound = |name: &String| {
        (1..=15).contains(&name.len())
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_'))
    };
    match &interface.name {
        Some(name) if !sound(name) => Err(NfioError::configuration(format!(
            "boot.conf: [[interface]] name = {name:?} is no name of an interface: use up to 15 letters and digits"
        ))),
        _ => address(interface).map(drop),
    }
}

/// An interface's address with its prefix length.
fn address(interface: &Interface) -> Result<Option<(IpAddr, u8)>> {
    let Some(text) = &interface.address else { return Ok(None) };
    let parsed = text.split_once('/').and_then(|(address, prefix)| {
        let (address, prefix) = (address.parse::<IpAddr>().ok()?, prefix.parse::<u8>().ok()?);
        (prefix <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, prefix))
    });
    parsed.map(Some).ok_or_else(|| {
        NfioError::configuration(format!(
            "boot.conf: [[interface]] address = {text:?} is no address with its prefix length, as 192.0.2.7/24"
        ))
    })
}

/// Refuses a variable that would not stay text: libvirt 9 reads it as it should, but writes it for its own container
/// process without escaping it, and so takes what stands in it for XML.
pub(super) fn variable(key: &str, value: &str) -> Result<()> {
    let sound =
        |text: &str| !text.contains(['<', '>', '&', '\'', '"']) && !text.chars().any(char::is_control);
    if sound(key) && sound(value) {
        return Ok(());
    }
    Err(NfioError::configuration(format!(
        "env: {key:?} cannot be set: libvirt's driver LXC takes no variable with one of < > & ' \" or a control character"
    )))
}

/// The terminal that is a running container's console, from its XML.
pub(super) fn console(xml: &str) -> io::Result<Option<PathBuf>> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Empty(element) | Event::Start(element) if element.name().as_ref() == b"console" => {
                let tty = element.try_get_attribute("tty").map_err(io::Error::other)?;
                let tty = tty.map(|tty| tty.unescape_value().map_err(io::Error::other));
                return Ok(tty.transpose()?.map(|tty| PathBuf::from(tty.into_owned())));
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::boot_conf::BootConf;

    #[test]
    fn whatever_a_word_holds_it_stays_a_word() {
        let conf = "[[interface]]\nname = \"wan\"\naddress = \"192.0.2.7/24\"";
        let spec = GuestSpec { boot: BootConf::parse(conf).unwrap(), ..GuestSpec::example() };
        let (arguments, environment) = (["/a\"<&'>".to_owned()], ["A=\"<&'>".to_owned()]);
        let links = [Link::Network("n".into())];
        let container = Container {
            spec: &spec,
            links: &links,
            layer: Path::new("/l"),
            arguments: &arguments,
            environment: &environment,
            capabilities: &Set::from(["NET_ADMIN"]),
        };
        let xml = container.to_xml().unwrap();
        assert!(!xml.contains("\"<") && xml.contains("192.0.2.7") && xml.contains("wan"), "{xml}");
        let mut reader = Reader::from_str(&xml);
        while !matches!(reader.read_event().expect("sound XML"), Event::Eof) {}
    }

    #[test]
    fn a_variable_that_libvirt_takes_for_xml_is_refused() {
        assert!(variable("A", "b c=d").is_ok());
        for (key, value) in [("A'", "b"), ("A", "</initenv><init>x"), ("A", "a & b"), ("A", "a\nb")] {
            assert_eq!(variable(key, value).unwrap_err().code(), 720, "{key} {value}");
        }
    }

    #[test]
    fn the_console_of_a_running_container_is_found() {
        let xml = "<domain><devices><console type='pty' tty='/dev/pts/3'><source path='/dev/pts/3'/></console>\
                   </devices></domain>";
        assert_eq!(console(xml).unwrap().unwrap(), Path::new("/dev/pts/3"));
        assert_eq!(console("<domain><console type='pty'/></domain>").unwrap(), None);
    }

    #[test]
    fn an_address_has_a_prefix_length() {
        let told = |text: &str| address(&Interface { address: Some(text.into()), ..Interface::default() });
        assert_eq!(told("192.0.2.7/24").unwrap(), Some(("192.0.2.7".parse().unwrap(), 24)));
        for text in ["192.0.2.7", "192.0.2.7/33", "x/24", ""] {
            assert_eq!(told(text).unwrap_err().code(), 720, "{text}");
        }
        let named = |name: &str| judge(&Interface { name: Some(name.into()), ..Interface::default() });
        assert!(named("wan0.7").is_ok() && named("a'/>").is_err() && named("").is_err());
    }
}
