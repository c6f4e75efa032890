//! The special files of a chain and what they show.

use middlebox_sdk::{File, Kind, Type};

use super::totals::Total;
use super::verbs::Verb;
use super::{Chain, Chains};
use crate::error::{NfioError, Result};
use crate::modules::Table;
use crate::vnf::last_error;

/// Path, permission bits, kind. None of them is called pkt_drops: `find -L` over a chain finds its members' alone.
const SKELETON: [(&str, u32, Kind); 10] = [
    ("action", 0o644, Kind::Verb),
    ("status", 0o444, Kind::Value),
    ("last_error", 0o440, Kind::Value),
    ("ingress", 0o644, Kind::Ordinary),
    ("egress", 0o644, Kind::Ordinary),
    ("totals/ingress_bytes", 0o444, Kind::Value),
    ("totals/egress_bytes", 0o444, Kind::Value),
    ("totals/drops", 0o444, Kind::Value),
    ("topology.dot", 0o444, Kind::Value),
    ("topology.svg", 0o444, Kind::Value),
];

/// The table of a chain's files.
pub(super) fn table() -> Table {
    let mut ty = Type::new("chain", env!("CARGO_PKG_VERSION")).bare();
    for (path, mode, kind) in SKELETON {
        ty = ty.file(match kind {
            Kind::Ordinary => File::ordinary(path).mode(mode),
            // Viewers of pictures believe the length that they are told.
            Kind::Value if path.starts_with("topology") => File::standard(path, kind, mode, path).sized(),
            special => File::standard(path, special, mode, path),
        });
    }
    Table::of(&ty)
}

/// Whether a file is answered in moments, without asking a driver to wait.
pub(super) fn is_quick(path: &str) -> bool {
    matches!(path, "action" | "status" | "last_error")
}

impl Chains {
    /// The text of a special file.
    pub(super) fn show(&self, chain: &Chain, path: &str) -> Result<Vec<u8>> {
        let text = match path {
            "action" => {
                let last = chain.now().last_verb.map_or("none", Verb::word);
                format!("# last: {last}\n# verbs: {}", Verb::words())
            }
            "status" => {
                let status = self.status(chain);
                self.notice(chain, &status);
                status
            }
            "last_error" => return last_error::read(chain),
            "totals/ingress_bytes" => self.bytes(chain, Total::Ingress)?.to_string(),
            "totals/egress_bytes" => self.bytes(chain, Total::Egress)?.to_string(),
            "totals/drops" => self.drops(chain)?.to_string(),
            "topology.dot" => return Ok(self.picture(chain)?.dot().into_bytes()),
            "topology.svg" => return Ok(self.picture(chain)?.svg().into_bytes()),
            _ => return Err(NfioError::posix(libc::EOPNOTSUPP, format!("a chain has no file {path}"))),
        };
        Ok((text + "\n").into_bytes())
    }
}
