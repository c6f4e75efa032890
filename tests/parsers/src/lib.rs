//! What must hold of every parser of text that a tenant, an operator or a plugin writes, whatever the text is: no panic,
//! a refusal is one plain sentence, what is accepted means what it says. [`TARGETS`] are run over their seeds and over
//! what once broke them by the tests here, on any toolchain, and over random input by the fuzzer in `tests/fuzz`.

mod configuration;
mod plain;
mod rulesets;
mod sizes;
mod types;
mod verbs;

/// A parser, and what must hold of it.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name: that of the fuzzer's program and of the directory of kept inputs.
    pub name: &'static str,
    /// Panics where something does not hold for this input.
    pub check: fn(&[u8]),
    /// Inputs to begin with: the repository's own examples.
    pub seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub const TARGETS: [Target; 7] = [
    Target { name: "verbs", check: verbs::check, seeds: verbs::seeds },
    Target { name: "sizes", check: sizes::check, seeds: sizes::seeds },
    Target { name: "boot_conf", check: configuration::boot_conf, seeds: configuration::boot_conf_seeds },
    Target { name: "nfio_toml", check: configuration::nfio_toml, seeds: configuration::nfio_toml_seeds },
    Target { name: "describe", check: types::check, seeds: types::seeds },
    Target { name: "nat", check: rulesets::nat, seeds: rulesets::nat_seeds },
    Target { name: "nft", check: rulesets::nft, seeds: rulesets::nft_seeds },
];

/// The target of this name.
///
/// # Panics
/// Where there is none.
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).unwrap_or_else(|| panic!("{name} is no target"))
}

/// The examples in a text: what stands between a line that is `begin` and the next that is `end`.
fn examples(text: &str, begin: &str, end: &str) -> Vec<Vec<u8>> {
    let mut rest = text;
    let mut found = Vec::new();
    while let Some((_, behind)) = rest.split_once(begin) {
        let Some((example, after)) = behind.split_once(end) else { break };
        found.push(example.as_bytes().to_vec());
        rest = after;
    }
    assert!(!found.is_empty(), "no example between {begin:?} and {end:?}");
    found
}
