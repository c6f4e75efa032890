//! The type `nginx`: `config/nf_conf` is an nginx.conf.
//!
//! ```text
//! events {}
//! http {
//!     server { listen 80; location / { proxy_pass http://192.0.2.7:8080; } }
//! }
//! ```
//!
//! - **nf_conf** is checked by the guest's own `nginx -t` and then takes the place of `/etc/nginx/nginx.conf`; relative
//!   paths in it begin at `/etc/nginx`. A refused one leaves the running one as it was; nginx's words name the lines of
//!   nf_conf. When `reload` returns, no worker with the old one takes connections any more. Empty, it is the image's own.
//! - `daemon` and `master_process` are not for nf_conf: nfio sets them, and nginx refuses to hear them twice.
//! - **command** takes nginx's own words: `start stop quit reload reopen`. Here `reload` has nginx read its files in the
//!   guest anew; nf_conf comes there by the verb `reload`. After `stop` or `quit` the guest goes on without nginx until
//!   `start`, or its own next start.
//! - **shell** is what `command` is elsewhere: a script for the guest's shell; its output is in `output`.
//! - **access_log** is what nginx writes to its default, `/var/log/nginx/access.log`, in the guest a pipe. Its lines also
//!   stand in `log`, marked `access: `, between nginx's errors: nothing grows in the guest. Like `log` it begins anew at
//!   `activate`, is there while the guest does not run, and keeps the newest. Logs at other places are nf_conf's to bound.
//!
//! The guest needs `sh` and the usual tools beside nginx: `examples/images/nginx.sh` makes an image.

#![forbid(unsafe_code)]

use daemon::Daemon;
use middlebox_sdk::error::{ENOENT, HostError};
use middlebox_sdk::{Attributes, File, Kind, Middlebox, NfioError, Result, Type, Vnf};

const ACCESS_LOG: &str = "access_log";
const COMMAND: &str = "command";
const WORDS: [&str; 5] = ["start", "stop", "quit", "reload", "reopen"];

const DAEMON: Daemon = Daemon::new("/etc/nginx", include_str!("nginx.sh"));

/// The type.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nginx;

impl Middlebox for Nginx {
    fn describe(&self) -> Type {
        Type::new("nginx", env!("CARGO_PKG_VERSION"))
            .image("nginx")
            .file(File::verb(COMMAND).mode(0o600))
            .file(File::standard("shell", Kind::Verb, 0o600, "command"))
            .file(File::log(ACCESS_LOG))
    }

    fn getattr(&self, vnf: &Vnf<'_>, _file: &str) -> Result<Attributes> {
        Ok(Attributes::new().length(daemon::access_log(vnf)?.len() as u64))
    }

    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        match file {
            ACCESS_LOG => daemon::access_log(vnf),
            COMMAND => Ok(format!("# takes one of: {}\n", WORDS.join(" ")).into_bytes()),
            _ => Err(NfioError::posix(ENOENT, format!("nginx has no file {file}"))),
        }
    }

    fn write(&self, vnf: &Vnf<'_>, _file: &str, data: &[u8]) -> Result<()> {
        let text = String::from_utf8_lossy(data);
        let word = text.trim();
        if !WORDS.contains(&word) {
            let message = format!("command: {word:?} is none of nginx's words: {}", WORDS.join(" "));
            return Err(HostError::UnknownVerb(message).into());
        }
        DAEMON.command(vnf, word)
    }

    fn prepare(&self, vnf: &Vnf<'_>, _nf_conf: &[u8]) -> Result<()> {
        DAEMON.prepare(vnf)
    }

    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        DAEMON.configure(vnf, nf_conf)
    }
}

middlebox_sdk::export_middlebox!(Nginx);

#[cfg(test)]
mod tests {
    use super::*;
    use middlebox_sdk::testing::{Call, Guest};

    #[test]
    fn command_takes_five_words_and_nothing_else_reaches_the_guest() {
        let guest = Guest::new("nginx", "a");
        for word in WORDS {
            Nginx.write(&guest.during(Call::Verb), COMMAND, format!("{word}\n").as_bytes()).unwrap();
        }
        let words: Vec<_> =
            guest.commands().iter().filter_map(|command| command.argv.last().cloned()).collect();
        assert_eq!(words, WORDS);
        for wrong in ["", "restart", "stop start", "$(reboot)", "\u{fffd}"] {
            let error = Nginx.write(&guest.during(Call::Verb), COMMAND, wrong.as_bytes()).unwrap_err();
            assert_eq!((error.code(), error.errno()), (721, middlebox_sdk::error::EINVAL), "{wrong}");
        }
        assert_eq!(guest.commands().len(), WORDS.len());
    }

    #[test]
    fn the_length_of_the_log_is_told_without_asking_a_driver() {
        let guest = Guest::new("nginx", "a").with_log("access: 12345\nelse\n").with_status("exited");
        let told = Nginx.getattr(&guest.during(Call::Getattr), ACCESS_LOG).unwrap();
        assert_eq!(told.length, Some(6));
        assert_eq!(Nginx.read(&guest.during(Call::Read), ACCESS_LOG).unwrap(), b"12345\n");
    }
}
