//! The type `squid`: `config/nf_conf` is a squid.conf.
//!
//! ```text
//! http_port 3128
//! acl mine src 10.203.0.0/16
//! http_access allow mine
//! http_access deny all
//! cache_mem 64 MB
//! ```
//!
//! - **nf_conf** is checked by the guest's own `squid -k parse` and then takes the place of `/etc/squid/squid.conf`. A
//!   refused one leaves the running one as it was; squid's words name the lines of nf_conf. What only shows when squid
//!   takes it (a port that cannot be had) is refused too, but squid starts anew for that, with the old one. When `reload`
//!   returns, squid serves by the new one. Empty, it is the image's own.
//! - Squid keeps up to 256 MB of cache in memory unless `cache_mem` says otherwise: with a limit in `machine/vm.memory`
//!   it should. Directories of a `cache_dir` are made.
//! - **access_log** is what squid writes to its default, `/var/log/squid/access.log`, in the guest a pipe. Its lines also
//!   stand in `log`, marked `access: `, between those of `cache.log`: nothing grows in the guest. Like `log` it begins
//!   anew at `activate`, is there while the guest does not run, and keeps the newest. There is nothing to rotate.
//!
//! The guest needs `sh` and the usual tools beside squid: `examples/images/squid.sh` makes an image.

#![forbid(unsafe_code)]

use daemon::Daemon;
use middlebox_sdk::error::ENOENT;
use middlebox_sdk::{Attributes, File, Middlebox, NfioError, Result, Type, Vnf};

const ACCESS_LOG: &str = "access_log";

const DAEMON: Daemon = Daemon::new("/etc/squid", include_str!("squid.sh"));

/// The type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Squid;

impl Middlebox for Squid {
    fn describe(&self) -> Type {
        Type::new("squid", env!("CARGO_PKG_VERSION")).image("squid").file(File::log(ACCESS_LOG))
    }

    fn getattr(&self, vnf: &Vnf<'_>, _file: &str) -> Result<Attributes> {
        Ok(Attributes::new().length(daemon::access_log(vnf)?.len() as u64))
    }

    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        match file {
            ACCESS_LOG => daemon::access_log(vnf),
            _ => Err(NfioError::posix(ENOENT, format!("squid has no file {file}"))),
        }
    }

    fn prepare(&self, vnf: &Vnf<'_>, _nf_conf: &[u8]) -> Result<()> {
        DAEMON.prepare(vnf)
    }

    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        DAEMON.configure(vnf, nf_conf)
    }
}

middlebox_sdk::export_middlebox!(Squid);
