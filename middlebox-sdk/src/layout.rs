//! What a type tells about itself: its name, its files, its needs. It crosses the ABI as TOML text, so that
//! it can grow without a change of the ABI: a reader ignores keys that it does not know.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use crate::error::{NfioError, Result};

/// How a file behaves.
///
/// A kind that is added later crosses as the nearest of these, beside a key of its own that older hosts ignore: they
/// refuse a word that they do not know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Kind {
    /// Bytes in the backing directory; no module and no driver is asked.
    Ordinary,
    /// A text that ends in one newline; one open file reads one snapshot.
    Value,
    /// A text that grows; it has a true size and is read at any offset (`tail -f`).
    Log,
    /// Each write is one complete request.
    Verb,
}

/// Who answers a special file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Handler {
    /// The host, as for its own file of this name (`status`, `stats/rx_bytes` …).
    Standard(String),
    /// The module: its `getattr`, `read` and `write` are called.
    Own,
}

/// One file of a type's table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct File {
    /// Path below the instance, for example `stats/rules`.
    pub path: String,
    /// Permission bits that a new instance's file gets.
    pub mode: u32,
    /// How it behaves.
    pub kind: Kind,
    /// Who answers; of no meaning for an ordinary file.
    pub handler: Handler,
    /// Whether the module's `getattr` is asked for the length. Otherwise a special file shows the constant
    /// size 1000 of the manual.
    #[serde(default)]
    pub sized: bool,
}

impl File {
    /// An ordinary file, rw 0644.
    pub fn ordinary(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o644, kind: Kind::Ordinary, handler: Handler::Own, sized: false }
    }

    /// A value that the module answers, r 0444.
    pub fn value(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o444, kind: Kind::Value, handler: Handler::Own, sized: false }
    }

    /// A log that the module answers, r 0440; its `getattr` tells length and time.
    pub fn log(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o440, kind: Kind::Log, handler: Handler::Own, sized: true }
    }

    /// A verb that the module answers, rw 0644.
    pub fn verb(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: 0o644, kind: Kind::Verb, handler: Handler::Own, sized: false }
    }

    /// A file that the host answers as it does its own of the name `standard`.
    pub fn standard(path: impl Into<String>, kind: Kind, mode: u32, standard: &str) -> Self {
        Self { path: path.into(), mode, kind, handler: Handler::Standard(standard.into()), sized: false }
    }

    /// The same file with other permission bits.
    #[must_use]
    pub fn mode(mut self, mode: u32) -> Self {
        self.mode = mode & 0o777;
        self
    }

    /// The same file, its length told by the module's `getattr`.
    #[must_use]
    pub fn sized(mut self) -> Self {
        self.sized = true;
        self
    }
}

/// What a type's guests need beyond the default confinement; granted only as policy allows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Needs {
    /// Linux capabilities by name without `CAP_` (capabilities(7)).
    pub capabilities: Vec<String>,
    /// Kernel parameters of the guest's own namespaces (sysctl(8)), for example `net.ipv4.ip_forward`.
    /// Forwarding is switched on only once `configure` has succeeded.
    pub sysctls: BTreeMap<String, String>,
    /// Device nodes, for example `/dev/net/tun`.
    pub devices: Vec<String>,
    /// The image that a new instance's `machine/vm.image` names.
    pub image: Option<String>,
}

/// Which files an instance has beside the type's own.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Layout {
    /// The host's skeleton (`action`, `status`, `config/`, `machine/`, `stats/` …) and the type's own files.
    #[default]
    Standard,
    /// The type's own files alone.
    Bare,
}

/// What a type tells about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Type {
    /// The type's name, `[a-z][a-z0-9_]{0,30}`: the directory below `nf-types/`.
    pub name: String,
    /// The module's own version.
    pub version: String,
    /// Which files an instance has beside [`files`](Self::files).
    #[serde(default)]
    pub layout: Layout,
    /// The type's own files; one with the path of a skeleton file takes its place.
    #[serde(default, rename = "file")]
    pub files: Vec<File>,
    /// What its guests need.
    #[serde(default)]
    pub needs: Needs,
}

impl Type {
    /// A type with the host's skeleton, no files of its own and no needs.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            version: version.into(),
            layout: Layout::Standard,
            files: Vec::new(),
            needs: Needs::default(),
        }
    }

    /// Leaves the host's skeleton away: an instance has the type's own files alone.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.layout = Layout::Bare;
        self
    }

    /// Adds a file; one with the path of a skeleton file takes its place.
    #[must_use]
    pub fn file(mut self, file: File) -> Self {
        self.files.push(file);
        self
    }

    /// Asks for a Linux capability, by name without `CAP_`.
    #[must_use]
    pub fn capability(mut self, name: impl Into<String>) -> Self {
        self.needs.capabilities.push(name.into());
        self
    }

    /// Asks for a kernel parameter of the guest's own namespaces.
    #[must_use]
    pub fn sysctl(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.needs.sysctls.insert(name.into(), value.into());
        self
    }

    /// Asks for a device node.
    #[must_use]
    pub fn device(mut self, path: impl Into<String>) -> Self {
        self.needs.devices.push(path.into());
        self
    }

    /// Names the image that new instances start out with.
    #[must_use]
    pub fn image(mut self, name: impl Into<String>) -> Self {
        self.needs.image = Some(name.into());
        self
    }

    /// The text that crosses the ABI.
    ///
    /// # Errors
    /// EINVAL where the type cannot be written as TOML.
    pub fn to_text(&self) -> Result<String> {
        toml::to_string(self).map_err(|e| NfioError::configuration(format!("the type's table: {e}")))
    }

    /// Reads what [`to_text`](Self::to_text) wrote, by this or any other 1.x SDK, and judges it.
    ///
    /// # Errors
    /// EINVAL with a sentence where the text is no TOML, a key is missing, the name is not
    /// `[a-z][a-z0-9_]{0,30}`, a file's path is not plain, relative and below the instance, or its mode holds more than
    /// permission bits.
    pub fn from_text(text: &str) -> Result<Self> {
        let ty: Self = toml::from_str(text)
            .map_err(|e| NfioError::configuration(format!("the type's table: {}", plain(e.message()))))?;
        ty.check()?;
        Ok(ty)
    }

    fn check(&self) -> Result<()> {
        if !is_type_name(&self.name) {
            return Err(NfioError::configuration(format!(
                "type name {:?} does not match [a-z][a-z0-9_]{{0,30}}",
                self.name
            )));
        }
        for (at, file) in self.files.iter().enumerate() {
            if !is_plain_path(&file.path) {
                return Err(NfioError::configuration(format!(
                    "file {:?} of type {}: a path is relative, of names matching [A-Za-z0-9][A-Za-z0-9_.-]{{0,62}}",
                    file.path, self.name
                )));
            }
            if file.mode > 0o777 {
                return Err(NfioError::configuration(format!(
                    "file {:?} of type {} has the mode {:o}: only permission bits can be given, up to 777",
                    file.path, self.name, file.mode
                )));
            }
            let clash = self.files[..at].iter().find(|earlier| {
                let (a, b) = (earlier.path.as_str(), file.path.as_str());
                a == b
                    || a.strip_prefix(b).is_some_and(|rest| rest.starts_with('/'))
                    || b.strip_prefix(a).is_some_and(|rest| rest.starts_with('/'))
            });
            if let Some(earlier) = clash {
                return Err(NfioError::configuration(format!(
                    "files {:?} and {:?} of type {} cannot both exist",
                    earlier.path, file.path, self.name
                )));
            }
        }
        Ok(())
    }
}

/// Whether `name` may name a type: `[a-z][a-z0-9_]{0,30}`.
pub fn is_type_name(name: &str) -> bool {
    let tail = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
    name.len() <= 31 && name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().skip(1).all(tail)
}

/// Whether `name` may name an instance: `[A-Za-z0-9][A-Za-z0-9_.-]{0,62}`.
pub fn is_instance_name(name: &str) -> bool {
    let tail = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().skip(1).all(tail)
}

/// A message of the parser on one line, without what a terminal would act on: it quotes the plugin's own text.
fn plain(message: &str) -> String {
    let shown = |c: char| -> Vec<char> {
        match c {
            '\n' => vec![',', ' '],
            '"' | '\'' | '\\' => vec![c],
            c => c.escape_debug().collect(),
        }
    };
    message.trim().chars().flat_map(shown).collect()
}

fn is_plain_path(path: &str) -> bool {
    path.split('/').all(is_instance_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_survives_the_crossing() {
        let ty = Type::new("firewall", "0.1.0")
            .file(File::value("stats/rules"))
            .file(File::verb("command").mode(0o600))
            .file(File::standard("state", Kind::Value, 0o444, "status"))
            .capability("NET_ADMIN")
            .sysctl("net.ipv4.ip_forward", "1")
            .image("firewall");
        assert_eq!(Type::from_text(&ty.to_text().unwrap()).unwrap(), ty);
    }

    #[test]
    fn keys_of_a_newer_sdk_are_ignored() {
        let text = "name = \"x\"\nversion = \"1\"\nlater = 7\n[needs]\nmoons = 2\n";
        assert_eq!(Type::from_text(text).unwrap().name, "x");
    }

    #[test]
    fn names_and_paths_that_could_leave_the_instance_are_refused() {
        for name in ["", "Firewall", "a-b", "../x", &"a".repeat(32)] {
            assert!(Type::from_text(&Type::new(name, "1").to_text().unwrap()).is_err(), "{name}");
        }
        for path in ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", ".hidden"] {
            let ty = Type::new("x", "1").file(File::value(path));
            assert!(Type::from_text(&ty.to_text().unwrap()).is_err(), "{path}");
        }
    }

    #[test]
    fn a_file_cannot_be_a_directory_too() {
        for (a, b) in [("a", "a"), ("a", "a/b"), ("a/b", "a")] {
            let ty = Type::new("x", "1").file(File::value(a)).file(File::value(b));
            assert!(Type::from_text(&ty.to_text().unwrap()).is_err(), "{a} {b}");
        }
    }

    #[test]
    fn a_file_cannot_be_made_setuid() {
        for mode in [0o1777, 0o2755, 0o4755, u32::MAX] {
            let mut file = File::ordinary("a");
            file.mode = mode;
            let error = Type::from_text(&Type::new("x", "1").file(file).to_text().unwrap()).unwrap_err();
            assert!(error.to_string().contains(&format!("{mode:o}")), "{error}");
        }
    }

    #[test]
    fn instance_names_are_those_of_the_contract() {
        assert!(is_instance_name("fw-a") && is_instance_name("9.x_Y") && is_instance_name(&"a".repeat(63)));
        for bad in ["", ".", "..", "-a", "a b", "a/b", "ä", &"a".repeat(64)] {
            assert!(!is_instance_name(bad), "{bad}");
        }
    }
}
