//! What libvirt's XML tells.

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, Writer};
use std::io;
use std::path::Path;

use super::xml::{AGENT, display, empty};

/// A domain's XML with its serial console written to `log`; None: it is already.
pub(super) fn with_log(xml: &str, log: &Path) -> io::Result<Option<String>> {
    let log = display(log);
    let (mut reader, mut writer) = (Reader::from_str(xml), Writer::new(Vec::new()));
    let (mut within, mut changed) = (false, false);
    loop {
        let event = reader.read_event().map_err(io::Error::other)?;
        match &event {
            // libvirt tells the console twice.
            Event::Start(element) if is_console(element.name().as_ref()) => within = true,
            Event::End(element) if is_console(element.name().as_ref()) => within = false,
            Event::Empty(element)
                if within
                    && element.name().as_ref() == b"source"
                    && attribute(element, "path")?.as_deref() != Some(&log) =>
            {
                empty(&mut writer, "source", &[("path", &log), ("append", "on")])?;
                changed = true;
                continue;
            }
            Event::Eof if changed => {
                return String::from_utf8(writer.into_inner()).map(Some).map_err(io::Error::other);
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
        writer.write_event(event)?;
    }
}

fn is_console(name: &[u8]) -> bool {
    name == b"serial" || name == b"console"
}

/// The network of libvirt's that a domain's first interface is in; None: it has no interface, or another kind.
pub(super) fn first_network(xml: &str) -> io::Result<Option<String>> {
    let (mut reader, mut within) = (Reader::from_str(xml), false);
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Start(element) if element.name().as_ref() == b"interface" => within = true,
            Event::Empty(element) if within && element.name().as_ref() == b"source" => {
                return attribute(&element, "network");
            }
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}

/// Whether an element of this name is in it.
pub(super) fn has_element(xml: &str, name: &[u8]) -> io::Result<bool> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Start(element) | Event::Empty(element) if element.name().as_ref() == name => {
                return Ok(true);
            }
            Event::Eof => return Ok(false),
            _ => {}
        }
    }
}

/// The attribute `id` of the first element.
pub(super) fn first_id(xml: &str) -> io::Result<Option<String>> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Start(element) | Event::Empty(element) => return attribute(&element, "id"),
            Event::Eof => return Ok(None),
            _ => {}
        }
    }
}

fn attribute(element: &BytesStart<'_>, name: &str) -> io::Result<Option<String>> {
    let Some(attribute) = element.try_get_attribute(name).map_err(io::Error::other)? else { return Ok(None) };
    Ok(Some(attribute.unescape_value().map_err(io::Error::other)?.into_owned()))
}

/// The host's ends of a running domain's interfaces, from its XML.
pub(super) fn host_devices(xml: &str) -> io::Result<Vec<String>> {
    let mut reader = Reader::from_str(xml);
    let (mut devices, mut within) = (Vec::new(), false);
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Start(element) if element.name().as_ref() == b"interface" => within = true,
            Event::End(element) if element.name().as_ref() == b"interface" => within = false,
            Event::Empty(element) | Event::Start(element)
                if within && element.name().as_ref() == b"target" =>
            {
                devices.extend(attribute(&element, "dev")?);
            }
            Event::Eof => return Ok(devices),
            _ => {}
        }
    }
}

/// Whether a running domain's guest agent has opened its channel, from the domain's XML.
pub(super) fn agent_is_there(xml: &str) -> io::Result<bool> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Empty(element) | Event::Start(element)
                if element.name().as_ref() == b"target"
                    && attribute(&element, "name")?.as_deref() == Some(AGENT) =>
            {
                return Ok(attribute(&element, "state")?.as_deref() == Some("connected"));
            }
            Event::Eof => return Ok(false),
            _ => {}
        }
    }
}

/// Whether a running domain has an interface of this hardware address, from its XML.
pub(super) fn has_interface(xml: &str, hardware: &str) -> io::Result<bool> {
    let mut reader = Reader::from_str(xml);
    loop {
        match reader.read_event().map_err(io::Error::other)? {
            Event::Empty(element) | Event::Start(element)
                if element.name().as_ref() == b"mac"
                    && attribute(&element, "address")?.as_deref() == Some(hardware) =>
            {
                return Ok(true);
            }
            Event::Eof => return Ok(false),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_and_interfaces_are_told_by_name_and_address() {
        let xml = |state| {
            format!(
                "<devices><interface type='bridge'><mac address='02:43:0a:cc:00:01'/></interface><channel type='unix'>\
                 <target type='virtio' name='org.qemu.guest_agent.0' state='{state}'/></channel></devices>"
            )
        };
        assert!(agent_is_there(&xml("connected")).unwrap() && !agent_is_there(&xml("disconnected")).unwrap());
        assert!(has_interface(&xml(""), "02:43:0a:cc:00:01").unwrap());
        assert!(!has_interface(&xml(""), "02:43:0a:cc:00:02").unwrap());
    }

    #[test]
    fn the_hosts_ends_of_interfaces_are_found() {
        let xml = "<domain><devices><disk><target dev='vda'/></disk><interface type='network'><target dev='vnet0'/>\
                   </interface></devices></domain>";
        assert_eq!(host_devices(xml).unwrap(), ["vnet0"]);
    }

    #[test]
    fn the_console_alone_is_written_elsewhere() {
        let xml = |log| {
            format!(
                "<domain><disk><source path=\"/d\"/></disk><serial type=\"file\"><source path=\"{log}\" append=\"on\"/>\
                 </serial><console><source path=\"{log}\" append=\"on\"/></console></domain>"
            )
        };
        assert_eq!(with_log(&xml("/a"), Path::new("/a")).unwrap(), None);
        assert_eq!(with_log(&xml("/a"), Path::new("/b&c")).unwrap(), Some(xml("/b&amp;c")));
    }

    #[test]
    fn the_first_interface_tells_its_network() {
        let xml = |source| {
            format!("<domain><disk><source file='/d'/></disk><interface>{source}</interface></domain>")
        };
        let network = first_network(&xml("<mac/><source network='a&amp;b' bridge='v'/>")).unwrap();
        assert_eq!(network.as_deref(), Some("a&b"));
        assert_eq!(first_network(&xml("<source bridge='br0'/>")).unwrap(), None);
        assert_eq!(first_id("<a:run xmlns:a='u' id='7'/>").unwrap().as_deref(), Some("7"));
        assert!(has_element("<network><ip><dhcp><range/></dhcp></ip></network>", b"dhcp").unwrap());
        assert!(!has_element("<network><name>dhcp</name></network>", b"dhcp").unwrap());
    }
}
