//! The type `firewall`: `config/nf_conf` is an nft ruleset.
//!
//! - **nf_conf** is checked by the guest's own nft and applied in one transaction that replaces the tables that the
//!   last nf_conf made, and no others. A refused one leaves the running one as it was; nft's words name the lines of
//!   nf_conf. Empty, it leaves the image's own rules alone. The crate `nft` does this, and tells the rest of it.
//! - **stats/pkt_drops** is what rules and policies dropped and what interfaces dropped; rules of the image count
//!   where they have counters. Counters start anew at every configure.
//! - **stats/rules** is the live ruleset with its counters.

#![forbid(unsafe_code)]

use middlebox_sdk::error::ENOENT;
use middlebox_sdk::{File, Middlebox, NfioError, Result, Type, Vnf};
use nft::Count;

const DROPS: &str = "stats/pkt_drops";

/// The type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Firewall;

impl Middlebox for Firewall {
    fn describe(&self) -> Type {
        nft::forwarding("firewall", env!("CARGO_PKG_VERSION")).file(File::value(DROPS))
    }

    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        match file {
            DROPS => {
                let by_rules = nft::dropped(vnf)?;
                let by_interfaces = vnf.counters()?.pkt_drops;
                Ok(format!("{}\n", by_rules.saturating_add(by_interfaces)).into_bytes())
            }
            nft::RULES => nft::rules(vnf).map(String::into_bytes),
            _ => Err(NfioError::posix(ENOENT, format!("a firewall has no file {file}"))),
        }
    }

    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        nft::configure(vnf, nf_conf, Count::Drops)
    }
}

middlebox_sdk::export_middlebox!(Firewall);
