//! The type `ids`: `config/nf_conf` holds rules of Suricata, which watches the guest's interfaces.
//!
//! ```sh
//! echo 'alert icmp any any -> any any (msg:"ping seen"; itype:8; sid:1000001; rev:1;)' > config/nf_conf
//! echo activate > action && ping -c 1 "$(cat machine/vm.ip)"
//! tail -f alerts
//! ```
//!
//! - **nf_conf** takes the place of the image's rules. At `reload` it is first judged by a Suricata of its own
//!   (`suricata -T`), then swapped in while packets go on being watched; a refused one leaves the running one as it was,
//!   and the error names lines of nf_conf. A rule that drops does no more than alert: Suricata listens here, it
//!   does not stand in the way. Empty, nf_conf leaves the image's own rules in force. A start succeeds once Suricata
//!   captures with every rule of nf_conf.
//! - **alerts** holds the alerts as Suricata's EVE writes them, one JSON object a line. They come through the guest's
//!   stdout, so they also stand in `log` between Suricata's own lines, and nothing grows in the guest. Like `log` it
//!   begins anew at `activate`, is there while the guest does not run, and keeps the newest: `log` has a cap.
//! - **stats/alerts** counts the alerts since Suricata's last start, as Suricata itself does, and so goes on when `log`
//!   drops old lines. It lags up to four seconds behind: Suricata's threads hand in their counters every three.
//! - **The image** has Suricata 7 with `suricatasc`, `sh`, `cmp` and `grep`, and an `/etc/suricata/suricata.yaml`: all of
//!   it holds but `outputs`, `logging`, `stats`, `unix-command` and, with an nf_conf, the rule files (`config` says what
//!   stands there instead). `examples/images/suricata.sh` makes one.
//! - Suricata watches all interfaces that are up, but lo and, in a service chain, the links that lead on (`out0` …): what
//!   passes comes by `in0` first. At configure it is started again where they are others than before. The guest forwards
//!   packets, so that it can be a node of a chain. A `command` in boot.conf has to start
//!   `suricata -c /etc/suricata/nfio/suricata.yaml`, or the guest does not come up.

#![forbid(unsafe_code)]

mod alerts;
mod config;
mod configure;
mod engine;

use middlebox_sdk::error::ENOENT;
use middlebox_sdk::{Attributes, File, Middlebox, NfioError, Result, Type, Vnf};

const ALERTS: &str = "alerts";
const COUNT: &str = "stats/alerts";

/// The type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Ids;

impl Middlebox for Ids {
    fn describe(&self) -> Type {
        Type::new("ids", env!("CARGO_PKG_VERSION"))
            .file(File::log(ALERTS))
            .file(File::value(COUNT))
            // Capturing, and switching off what the interface would merge or split before Suricata sees it.
            .capability("NET_RAW")
            .capability("NET_ADMIN")
            .sysctl("net.ipv4.ip_forward", "1")
            .image("suricata")
    }

    fn getattr(&self, vnf: &Vnf<'_>, file: &str) -> Result<Attributes> {
        match file {
            ALERTS => Ok(alerts::attributes(&alerts::of(&vnf.guest_log()?))),
            _ => Ok(Attributes::new()),
        }
    }

    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        match file {
            ALERTS => Ok(alerts::of(&vnf.guest_log()?)),
            COUNT => Ok(format!("{}\n", engine::alerts(vnf)?).into_bytes()),
            _ => Err(NfioError::posix(ENOENT, format!("an ids has no file {file}"))),
        }
    }

    fn prepare(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        vnf.put_file(config::YAML, 0o644, config::yaml(nf_conf).as_bytes())?;
        vnf.put_file(config::RULES, 0o644, nf_conf)?;
        vnf.set_command(&["sh", "-c", config::LAUNCHER])
    }

    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        configure::configure(vnf, nf_conf)
    }
}

middlebox_sdk::export_middlebox!(Ids);
