//! `config/boot.conf` of a tenant, `nfio.toml` of an operator.

use nfio_host::config::{Config, OPTIONS};
use nfio_host::hypervisor::boot_conf::BootConf;
use std::time::Duration;

use crate::{examples, plain};

/// A key that no schema has.
const UNKNOWN: &str = "nothing_of_the_kind";

/// The text with an unknown key on its first line.
fn with_an_unknown_key(text: &str) -> String {
    format!("{UNKNOWN} = 1\n{}", text.strip_prefix('\u{feff}').unwrap_or(text))
}

pub(crate) fn boot_conf(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match BootConf::parse(text) {
        Ok(conf) => {
            assert!(conf.stop_timeout.unwrap_or(0) <= 3600, "{conf:?}");
            let written = toml::to_string(&conf).expect("what was read can be written");
            assert_eq!(BootConf::parse(&written).ok(), Some(conf), "{written}");
            let error = BootConf::parse(&with_an_unknown_key(text)).expect_err("an unknown key");
            assert!(error.to_string().contains(UNKNOWN), "{error}");
        }
        Err(error) => {
            plain::refused(&error, 720);
            assert!(error.to_string().starts_with("config/boot.conf"), "{error}");
        }
    }
}

pub(crate) fn boot_conf_seeds() -> Vec<Vec<u8>> {
    examples(include_str!("../../../nfio-host/BOOT_CONF.md"), "```toml\n", "```")
}

pub(crate) fn nfio_toml(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    match Config::parse(text, "nfio.toml") {
        Ok(mut config) => {
            let deadlines = config.deadlines;
            for deadline in [deadlines.read, deadlines.verb, deadlines.activate] {
                assert!(deadline >= Duration::from_secs(1), "{deadlines:?}");
            }
            assert!(config.options.iter().all(|option| OPTIONS.contains(&option.as_str())));
            for digest in config.modules.sha256.iter().flatten() {
                assert!(digest.len() == 64 && !digest.contains(|c: char| c.is_ascii_uppercase()), "{digest}");
            }
            match config.make_absolute() {
                Ok(()) => assert!(config.module_root.is_absolute() && config.oci.images.is_absolute()),
                Err(error) => plain::sentence(&error),
            }
            let error = Config::parse(&with_an_unknown_key(text), "nfio.toml").expect_err("an unknown key");
            let error = error.to_string();
            assert!(error.starts_with("nfio.toml line 1: ") && error.contains(UNKNOWN), "{error}");
        }
        Err(error) => {
            plain::sentence(&error);
            assert!(error.to_string().starts_with("nfio.toml"), "{error}");
        }
    }
}

pub(crate) fn nfio_toml_seeds() -> Vec<Vec<u8>> {
    let text = include_str!("../../../examples/nfio.toml");
    // With what the example shows behind `#: `.
    let all: String =
        text.lines().map(|line| line.strip_prefix("#: ").unwrap_or(line).to_owned() + "\n").collect();
    // By table, so that each is reached soon.
    let tables = all.split("\n[").skip(1).map(|table| format!("[{table}").into_bytes());
    let readme = examples(include_str!("../../../README.md"), "```toml\n", "```");
    [text.as_bytes().to_vec(), all.as_bytes().to_vec()].into_iter().chain(tables).chain(readme).collect()
}
