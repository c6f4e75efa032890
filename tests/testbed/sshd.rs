//! An SSH server on another host of the test bed, with keys of its own. Neither it nor the client that `nfio` starts reads
//! or writes anything of the machine's own SSH.

use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::eventually;
use crate::network::does;

/// The host that is to have a server.
pub(crate) struct Host<'a> {
    /// Where it listens.
    pub(crate) address: String,
    /// Lines of its configuration.
    pub(crate) config: String,
    /// A program, to be run in the namespaces of the host.
    pub(crate) command: &'a dyn Fn(&str) -> Command,
}

/// Starts the server with its files in `directory`, which is made, and answers the environment in which `ssh` reaches it.
/// It ends with the test bed.
pub(crate) fn start(host: &Host<'_>, directory: &Path) -> Vec<(&'static str, String)> {
    let state = directory.join("state");
    let bin = directory.join("bin");
    for path in [directory, &state, &bin] {
        fs::create_dir(path).expect("a directory of the SSH server");
    }
    for name in ["host", "client"] {
        let mut keygen = Command::new("ssh-keygen");
        does(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(directory.join(name)));
    }
    serve(host, directory);
    client(&host.address, directory, &bin.join("ssh"));
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
    vec![("PATH", path), ("XDG_STATE_HOME", state.display().to_string())]
}

fn serve(host: &Host<'_>, directory: &Path) {
    // Where Debian's sshd puts those who have not logged in yet.
    fs::create_dir_all("/run/sshd").expect("/run/sshd");
    let at = directory.display();
    let config = format!(
        "ListenAddress {}:22\nHostKey {at}/host\nAuthorizedKeysFile {at}/client.pub\nPidFile none\nUsePAM no\n\
         StrictModes no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n{}",
        host.address, host.config
    );
    fs::write(directory.join("sshd_config"), config).expect("sshd_config");
    // sshd lets nobody in whose account is locked, as root's is on many machines.
    let shadow = fs::read_to_string("/etc/shadow").expect("/etc/shadow");
    let open = shadow.lines().map(|line| match line.strip_prefix("root:") {
        Some(rest) => format!("root:*:{}\n", rest.split_once(':').map_or("", |(_, rest)| rest)),
        None => format!("{line}\n"),
    });
    let shadow = directory.join("shadow");
    fs::write(&shadow, open.collect::<String>()).expect("an account that is not locked");
    fs::set_permissions(&shadow, fs::Permissions::from_mode(0o600)).expect("chmod");
    let log = fs::File::create(directory.join("log")).expect("a log");
    // In mounts that are there already: a namespace of the server's own would hold the mounts of other tests for ever.
    does((host.command)("mount").arg("--bind").arg(&shadow).arg("/etc/shadow"));
    let mut server = (host.command)("/usr/sbin/sshd");
    let server = server.args(["-D", "-e", "-f"]).arg(directory.join("sshd_config"));
    let mut server = server.stdin(Stdio::null()).stderr(log).spawn().expect("sshd");
    eventually("an SSH server answers", || {
        if let Some(code) = server.try_wait().expect("a child") {
            panic!("sshd ended: {code}\n{}", fs::read_to_string(directory.join("log")).unwrap_or_default());
        }
        TcpStream::connect((host.address.as_str(), 22)).is_ok()
    });
}

/// An `ssh` that reads this configuration and no other.
fn client(address: &str, directory: &Path, program: &Path) {
    let at = directory.display();
    let key = fs::read_to_string(directory.join("host.pub")).expect("the host's key");
    fs::write(directory.join("known_hosts"), format!("{address} {key}")).expect("known_hosts");
    let config = format!(
        "IdentityFile {at}/client\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile {at}/known_hosts\n\
         GlobalKnownHostsFile none\n"
    );
    fs::write(directory.join("ssh_config"), config).expect("ssh_config");
    let script = format!("#!/bin/sh\nexec /usr/bin/ssh -F {at}/ssh_config \"$@\"\n");
    fs::write(program, script).expect("ssh");
    fs::set_permissions(program, fs::Permissions::from_mode(0o755)).expect("chmod");
}
