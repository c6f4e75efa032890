//! `config/boot.conf`: how a guest boots. One schema for every driver; a driver refuses by name what it cannot
//! serve ([`super::Hypervisor::check`]). For people: `nfio-host/BOOT_CONF.md`, with an example of each key; a test here
//! holds it to this schema.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::error::{NfioError, Result, one_line};

/// Longest `stop_timeout`, in seconds: as long as a stop waits, no other verb gets its turn.
const LONGEST_STOP: u32 = 3600;

/// The whole of boot.conf. An empty file is the default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BootConf {
    /// Command and arguments in place of the image's.
    pub command: Option<Vec<String>>,
    /// Program that gets the command as its arguments.
    pub entrypoint: Option<Vec<String>>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// `uid` or `uid:gid` (numbers) that the command runs as; empty: 0:0.
    pub user: Option<String>,
    /// Host name; the instance's name where it is not set.
    pub hostname: Option<String>,
    /// Name servers.
    pub dns: Vec<String>,
    /// Kernel parameters of the guest's own namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// All capabilities and devices. By policy.
    pub privileged: bool,
    /// Fetch a missing image from its registry. By policy.
    pub pull: bool,
    /// When nfio starts the guest again by itself.
    pub restart: Restart,
    /// Seconds from the polite request to the kill; None: the driver's default (10 s).
    pub stop_timeout: Option<u32>,
    /// Changes to the default set of capabilities.
    pub capabilities: Capabilities,
    /// Files for the guest.
    #[serde(rename = "file")]
    pub files: Vec<BootFile>,
    /// Network interfaces in place of the driver's default one.
    #[serde(rename = "interface")]
    pub interfaces: Vec<Interface>,
    /// Ports of the host that lead to the guest.
    #[serde(rename = "port")]
    pub ports: Vec<Port>,
    /// How a virtual machine boots.
    pub vm: Option<Vm>,
}

/// When nfio starts a guest again by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Restart {
    /// Never.
    No,
    /// At mount, where it was wanted running.
    #[default]
    Mount,
    /// Also when it ends by itself, with back-off.
    Always,
}

/// `[capabilities]`: names without `CAP_`, or `ALL`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Capabilities {
    /// Beside the default set. By policy.
    pub add: Vec<String>,
    /// Taken from the default set.
    pub drop: Vec<String>,
}

/// `[[file]]`: a file below `config/` that is put into the guest before it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFile {
    /// Path below `config/`.
    pub source: String,
    /// Absolute path in the guest.
    pub target: String,
    /// Permission bits, for example 0o644.
    #[serde(default = "default_mode")]
    pub mode: u32,
}

fn default_mode() -> u32 {
    0o644
}

/// `[[interface]]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Interface {
    /// Name in the guest.
    pub name: Option<String>,
    /// Network of the engine.
    pub network: Option<String>,
    /// Bridge of the host.
    pub bridge: Option<String>,
    /// Address with prefix length.
    pub address: Option<String>,
}

/// `[[port]]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// Port of the host.
    pub host: u16,
    /// Port of the guest.
    pub guest: u16,
    /// `tcp` or `udp`.
    #[serde(default = "default_protocol")]
    pub protocol: String,
}

fn default_protocol() -> String {
    "tcp".into()
}

/// `[vm]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Vm {
    /// Kernel image.
    pub kernel: Option<String>,
    /// Initial RAM disk.
    pub initrd: Option<String>,
    /// Kernel command line.
    pub cmdline: Option<String>,
    /// Format of the disk image.
    pub format: Option<String>,
}

impl BootConf {
    /// Reads boot.conf.
    ///
    /// # Errors
    /// VNFConfigurationError that names the line and the key.
    pub fn parse(text: &str) -> Result<Self> {
        let conf: Self = toml::from_str(text).map_err(|e| {
            let line = e.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
            NfioError::configuration(format!("config/boot.conf line {line}: {}", one_line(e.message())))
        })?;
        match conf.stop_timeout {
            Some(seconds) if seconds > LONGEST_STOP => Err(NfioError::configuration(format!(
                "config/boot.conf: stop_timeout is {seconds}; a guest has at most {LONGEST_STOP} seconds to end"
            ))),
            _ => Ok(conf),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn an_empty_boot_conf_is_the_default() {
        assert_eq!(BootConf::parse("").unwrap(), BootConf::default());
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = BootConf::parse("hostname = \"a\"\nfrobnicate = 1\n").unwrap_err();
        assert_eq!(error.code(), 720);
        assert!(error.to_string().contains("line 2") && error.to_string().contains("frobnicate"), "{error}");
    }

    #[test]
    fn a_guest_cannot_take_for_ever_to_end() {
        assert_eq!(BootConf::parse("stop_timeout = 3600\n").unwrap().stop_timeout, Some(3600));
        let error = BootConf::parse("stop_timeout = 4000000000\n").unwrap_err();
        assert!(error.code() == 720 && error.to_string().contains("stop_timeout"), "{error}");
    }

    #[test]
    fn every_table_of_the_schema_is_read() {
        let conf = BootConf::parse(
            "command = [\"sh\"]\nrestart = \"always\"\n[env]\nA = \"1\"\n[capabilities]\nadd = [\"SYS_NICE\"]\n\
             [[file]]\nsource = \"a\"\ntarget = \"/a\"\n[[interface]]\nname = \"eth1\"\n[[port]]\nhost = 1\nguest = 2\n\
             [vm]\nkernel = \"k\"\n",
        )
        .unwrap();
        assert_eq!(conf.restart, Restart::Always);
        assert_eq!(conf.files[0].mode, 0o644);
        assert_eq!(conf.ports[0].protocol, "tcp");
    }

    /// Words that the parser would have taken in place of `nothing_of_the_kind`, as its own message lists them.
    fn expected(conf: &str) -> BTreeSet<String> {
        let error = toml::from_str::<BootConf>(conf).unwrap_err().to_string();
        let (_, list) = error.split_once("expected").expect("a list of what is expected");
        list.split('`').skip(1).step_by(2).map(str::to_owned).collect()
    }

    #[test]
    fn boot_conf_md_has_an_example_of_each_key_and_the_parser_takes_them_all() {
        let text = include_str!("../../BOOT_CONF.md");
        let examples: Vec<&str> = text
            .split("```toml\n")
            .skip(1)
            .map(|rest| rest.split_once("```").expect("the end of the example").0)
            .collect();
        let mut shown: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for example in &examples {
            BootConf::parse(example).unwrap_or_else(|e| panic!("{e}:\n{example}"));
            for (key, value) in example.parse::<toml::Table>().unwrap() {
                let tables = match &value {
                    toml::Value::Table(table) => vec![table],
                    toml::Value::Array(list) => list.iter().filter_map(toml::Value::as_table).collect(),
                    _ => Vec::new(),
                };
                shown.entry(key).or_default().extend(tables.into_iter().flat_map(toml::Table::keys).cloned());
            }
        }
        let known = expected("nothing_of_the_kind = 1");
        assert_eq!(known, shown.keys().cloned().collect(), "keys of boot.conf");
        let mut tables = 0;
        for (key, probe) in [("capabilities", "[capabilities]"), ("vm", "[vm]")].into_iter().chain([
            ("file", "[[file]]"),
            ("interface", "[[interface]]"),
            ("port", "[[port]]"),
        ]) {
            let known = expected(&format!("{probe}\nnothing_of_the_kind = 1"));
            assert_eq!(known, shown[key], "keys of {probe}");
            tables += 1;
        }
        // `env` and `sysctls` have keys of the user's own; any other table is judged above.
        assert_eq!(shown.values().filter(|keys| !keys.is_empty()).count(), tables + 2);
        for word in expected("restart = \"nothing_of_the_kind\"") {
            assert!(text.contains(&format!("| `\"{word}\"` |")), "restart = {word:?} is not explained");
        }
        for key in known {
            assert!(text.contains(&format!("`{key}`")) || text.contains(&format!("[{key}]")), "{key}");
        }
    }
}
