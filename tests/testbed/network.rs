//! Networks of other hosts: a network namespace each, connected to the test bed's own by a pair of interfaces.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;

/// The network of a host.
#[derive(Debug)]
pub struct Network(u8);

impl Network {
    /// Makes a network, of the first number that is free in the test bed; other test programs have theirs here too.
    pub(crate) fn new() -> Self {
        let free = |number: &u8| {
            let name = Self(*number).name();
            let added = Command::new("ip").args(["netns", "add", &name]).output().expect("ip");
            let taken = Self(*number).path().exists();
            assert!(taken, "ip netns add {name}: {}", String::from_utf8_lossy(&added.stderr));
            added.status.success()
        };
        let number = (1..=250).find(free).expect("fewer than 250 networks of hosts");
        let network = Self(number);
        let (name, outside, inside) = (network.name(), format!("host{number}"), format!("up{number}"));
        let ip = |arguments: &[&str]| does(Command::new("ip").args(arguments));
        ip(&["link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", &name]);
        ip(&["address", "add", &format!("10.99.{number}.1/24"), "dev", &outside]);
        ip(&["link", "set", &outside, "up"]);
        for arguments in [
            ["link", "set", "lo", "up"].as_slice(),
            &["address", "add", &format!("{}/24", network.address()), "dev", &inside],
            &["link", "set", &inside, "up"],
            // Where an engine has no way out it finds no name servers for its guests, and says so at length.
            &["route", "add", "default", "via", &format!("10.99.{number}.1")],
        ] {
            does(network.command("ip").args(arguments));
        }
        // An engine asks for it; the file is per namespace.
        does(network.command("sh").args(["-c", "echo 1 > /proc/sys/net/ipv4/ip_forward"]));
        network
    }

    /// Its number, which no other network here has.
    pub(crate) fn number(&self) -> u8 {
        self.0
    }

    fn name(&self) -> String {
        format!("host{}", self.0)
    }

    /// The address of the host.
    pub fn address(&self) -> String {
        format!("10.99.{}.2", self.0)
    }

    /// The namespace.
    pub fn path(&self) -> PathBuf {
        PathBuf::from("/run/netns").join(self.name())
    }

    /// What a script prints that runs in this network and must succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        does(self.command("sh").args(["-ec", script]))
    }

    /// A command that runs in this network and in the test bed's mounts.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", self.path().display())).arg("--").arg(program);
        command
    }
}

/// Runs a command that must succeed, and answers what it prints.
#[track_caller]
pub(crate) fn does(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let words = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {words}");
    String::from_utf8(output.stdout).expect("UTF-8")
}
