//! Where the engine of a host is, and how it is reached: this machine's by its socket, another's as nfio.toml says.

use bollard::{API_DEFAULT_VERSION, Docker};
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::failure::Failure;
use crate::config::{Host, Tls};
use crate::error::{HypervisorError, NfioError, Result, VnfConfigurationError};

/// The socket of this machine's engine, where neither nfio.toml nor `DOCKER_HOST` names another.
const SOCKET: &str = "/var/run/docker.sock";
/// Ports of an engine with TLS and of one without (IANA: docker-s, docker).
const TLS_PORT: u16 = 2376;
const PLAIN_PORT: u16 = 2375;
/// The key of `[hosts]` that speaks of every host without an entry of its own.
const ANY: &str = "*";
/// Longest wait for an answer on an open connection, in seconds; each call has a shorter limit of its own.
const TIMEOUT: u64 = 3600;

/// A host's engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    host: String,
    way: Way,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    Unix(PathBuf),
    Tls { url: String, files: Tls },
    Ssh(String),
    Plain(String),
}

impl Address {
    /// The engine of `host`, as `machine/ip` names it. `socket`: that of this machine's, where nfio.toml names it.
    pub(super) fn of(host: &str, socket: Option<&Path>, hosts: &BTreeMap<String, Host>) -> Result<Self> {
        let way = match host {
            "" => {
                let message = "machine/ip is empty: write 127.0.0.1 into it, or another host's address";
                return Err(VnfConfigurationError::HostNameIsEmpty(message.into()).into());
            }
            "127.0.0.1" | "::1" | "localhost" => Way::Unix(match socket {
                Some(socket) => socket.to_owned(),
                None => local_socket(std::env::var("DOCKER_HOST").ok().as_deref())?,
            }),
            other => remote(other, hosts.get(other).or_else(|| hosts.get(ANY)))?,
        };
        Ok(Self { host: host.to_owned(), way })
    }

    /// Whether it is this machine's.
    pub(super) fn is_local(&self) -> bool {
        matches!(self.way, Way::Unix(_))
    }

    /// A client. Nothing is sent yet.
    pub(super) fn connect(&self) -> std::result::Result<Docker, Failure> {
        let version = API_DEFAULT_VERSION;
        let client = match &self.way {
            Way::Unix(socket) => Docker::connect_with_unix(&socket.to_string_lossy(), TIMEOUT, version),
            Way::Tls { url, files } => {
                readable(files)?;
                Docker::connect_with_ssl(url, &files.key, &files.cert, &files.ca, TIMEOUT, version)
            }
            Way::Ssh(url) => Docker::connect_with_ssh(url, TIMEOUT, version, None),
            Way::Plain(url) => Docker::connect_with_http(url, TIMEOUT, version),
        };
        client.map_err(Failure::from)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.way {
            Way::Unix(socket) => write!(f, "the Docker Engine of this machine ({})", socket.display()),
            Way::Tls { url, .. } | Way::Ssh(url) | Way::Plain(url) => {
                write!(f, "the Docker Engine of {} ({url})", self.host)
            }
        }
    }
}

/// The library reads key and certificate only when a server asks for them, and panics over a bad one: they are looked at
/// here.
fn readable(files: &Tls) -> std::result::Result<(), Failure> {
    for (key, path) in [("ca", &files.ca), ("cert", &files.cert), ("key", &files.key)] {
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::Unreachable(format!("{key} = {}: {e}", path.display())))?;
        if !text.contains("-----BEGIN ") {
            return Err(Failure::Unreachable(format!("{key} = {} is no PEM file", path.display())));
        }
    }
    Ok(())
}

/// `DOCKER_HOST` as docker(1) reads it, as far as it names a socket of this machine.
fn local_socket(docker_host: Option<&str>) -> Result<PathBuf> {
    match docker_host.filter(|text| !text.is_empty()) {
        None => Ok(SOCKET.into()),
        Some(text) => text.strip_prefix("unix://").map(PathBuf::from).ok_or_else(|| {
            let message = format!(
                "DOCKER_HOST is {text:?}, but machine/ip names this machine: set it to unix://…, unset it, or write \
                 that host's address into machine/ip"
            );
            HypervisorError::Connection(message).into()
        }),
    }
}

fn remote(host: &str, how: Option<&Host>) -> Result<Way> {
    // It becomes part of a URL and of the command line of ssh.
    let sound = host.len() <= 253
        && host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == ':')
        && host.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b':'));
    if !sound {
        return Err(NfioError::configuration(format!(
            "machine/ip: {host:?} is neither an address nor a name"
        )));
    }
    let at = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let unknown = || {
        let message = format!(
            "nfio.toml does not say how the engine of {host} is reached: write [hosts.\"{host}\"] with tls, ssh or \
             insecure = true into it"
        );
        NfioError::from(HypervisorError::Connection(message))
    };
    let how = how.ok_or_else(unknown)?;
    let port = |default: u16| how.port.unwrap_or(default);
    match how {
        Host { tls: Some(files), .. } => {
            Ok(Way::Tls { url: format!("tcp://{at}:{}", port(TLS_PORT)), files: files.clone() })
        }
        Host { ssh: Some(user), .. } => {
            // `user`, or `user@name:port` where ssh knows the host by another name.
            let target = if user.contains('@') { user.clone() } else { format!("{user}@{at}") };
            let port = how.port.map_or(String::new(), |port| format!(":{port}"));
            Ok(Way::Ssh(format!("ssh://{target}{port}")))
        }
        Host { insecure: true, .. } => Ok(Way::Plain(format!("tcp://{at}:{}", port(PLAIN_PORT)))),
        _ => Err(unknown()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts() -> BTreeMap<String, Host> {
        let files = Tls { ca: "/ca".into(), cert: "/cert".into(), key: "/key".into() };
        BTreeMap::from([
            ("10.0.0.2".into(), Host { tls: Some(files), ..Host::default() }),
            ("fd00::3".into(), Host { ssh: Some("nfio".into()), port: Some(2222), ..Host::default() }),
            ("10.0.0.4".into(), Host { insecure: true, ..Host::default() }),
            ("10.0.0.5".into(), Host::default()),
        ])
    }

    #[test]
    fn each_host_is_reached_as_nfio_toml_says() {
        let told = |host: &str| Address::of(host, Some(Path::new("/s")), &hosts()).unwrap().to_string();
        assert_eq!(told("127.0.0.1"), "the Docker Engine of this machine (/s)");
        assert_eq!(told("10.0.0.2"), "the Docker Engine of 10.0.0.2 (tcp://10.0.0.2:2376)");
        assert_eq!(told("fd00::3"), "the Docker Engine of fd00::3 (ssh://nfio@[fd00::3]:2222)");
        assert_eq!(told("10.0.0.4"), "the Docker Engine of 10.0.0.4 (tcp://10.0.0.4:2375)");
    }

    #[test]
    fn plain_tcp_needs_so_many_words_and_nonsense_reaches_no_url() {
        for (host, code) in
            [("", 714), ("10.0.0.5", 701), ("10.0.0.6", 701), ("a/b", 720), ("-oProxy=x", 720)]
        {
            let error = Address::of(host, None, &hosts()).unwrap_err();
            assert_eq!(error.code(), code, "{host}: {error}");
        }
        let any = BTreeMap::from([("*".to_owned(), Host { insecure: true, ..Host::default() })]);
        assert!(Address::of("10.0.0.6", None, &any).is_ok());
    }

    #[test]
    fn docker_host_names_a_socket_or_is_refused() {
        assert_eq!(local_socket(None).unwrap(), Path::new(SOCKET));
        assert_eq!(local_socket(Some("unix:///run/d.sock")).unwrap(), Path::new("/run/d.sock"));
        assert_eq!(local_socket(Some("tcp://10.0.0.1:2375")).unwrap_err().code(), 701);
    }
}
