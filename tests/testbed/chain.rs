//! Service chains and what stands at their ends: network namespaces with names, as a user makes them.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::network::does;
use crate::{Instance, Mounted, eventually};

/// A named network namespace, removed by drop.
#[derive(Debug)]
pub struct Space {
    name: String,
}

impl Space {
    /// Makes a namespace with these addresses (with prefix lengths) on its loopback interface.
    #[track_caller]
    pub fn new(addresses: &[&str]) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("space{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        does(Command::new("ip").args(["netns", "add", &name]));
        let space = Self { name };
        space.sh("ip link set lo up");
        for address in addresses {
            space.sh(&format!("ip address add {address} dev lo"));
        }
        space
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// As it is written to `ingress` or `egress`.
    pub fn end(&self) -> String {
        format!("netns:{}", self.name)
    }

    /// A command that runs in it.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.name)).arg("--").arg(program);
        command
    }

    /// What a script prints that runs in it and must succeed.
    #[track_caller]
    pub fn sh(&self, script: &str) -> String {
        does(self.command("sh").args(["-ec", script]))
    }

    /// Links, addresses, routes, rules and parameters: what a chain could have changed.
    #[track_caller]
    pub fn state(&self) -> String {
        self.sh(&state_of())
    }

    /// Whether an address answers a ping from here.
    pub fn reaches(&self, address: &str) -> bool {
        let done = self.command("ping").args(["-c", "1", "-W", "1", address]).output().expect("ping");
        done.status.success()
    }

    /// Begins to answer each TCP connection on `port` with the address of who has connected.
    #[track_caller]
    pub fn serve(&self, port: u16) -> Serving {
        let script = format!(
            "import socket\ns = socket.socket()\ns.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
             s.bind(('0.0.0.0', {port}))\ns.listen(64)\nwhile True:\n  c, peer = s.accept()\n  c.sendall(peer[0].encode())\n  c.close()\n"
        );
        let child = self.command("python3").args(["-c", &script]).spawn().expect("python3");
        let serving = Serving(child);
        eventually("the server listens", || self.asks("127.0.0.1", port).is_some());
        serving
    }

    /// Whom a server sees that is asked from here; None: it does not answer.
    pub fn asks(&self, server: &str, port: u16) -> Option<String> {
        self.asks_within(server, port, 2.0)
    }

    /// As [`asks`](Self::asks), with less patience, in seconds.
    pub fn asks_within(&self, server: &str, port: u16, patience: f32) -> Option<String> {
        let script = format!(
            "import socket\ns = socket.create_connection(('{server}', {port}), timeout={patience})\n\
             print(s.recv(64).decode())"
        );
        let done = self.command("python3").args(["-c", &script]).output().expect("python3");
        let text = String::from_utf8_lossy(&done.stdout).trim().to_owned();
        (done.status.success() && !text.is_empty()).then_some(text)
    }
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.name]).output();
    }
}

/// A server, ended by drop.
#[derive(Debug)]
pub struct Serving(std::process::Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A script that prints what a chain could change in a network namespace.
pub fn state_of() -> String {
    "ip -o link show | sed 's/^[0-9]*: //; s/@[^:]*//' | cut -d' ' -f1 | sort; ip -4 -o address show | awk '{print $2,$4}'; \
     ip -4 route show table all | grep -v '^broadcast' | sort; ip -4 rule show; \
     cat /proc/sys/net/ipv4/fib_multipath_hash_policy /proc/sys/net/ipv4/fib_multipath_hash_fields \
     /proc/sys/net/ipv4/conf/all/rp_filter"
        .into()
}

impl Mounted {
    /// Makes a chain of nodes, each given as (name, instances, next nodes); the first one is the start.
    #[track_caller]
    pub fn chain(&self, name: &str, ends: [&str; 2], nodes: &[(&str, &[&Instance], &[&str])]) -> Instance {
        let chain = self.chain_at(name);
        fs::create_dir(chain.path()).expect("mkdir of a chain");
        if let Some((first, ..)) = nodes.first() {
            symlink(first, chain.file("start")).expect("a link");
        }
        for (node, members, next) in nodes {
            fs::create_dir(chain.file(node)).expect("mkdir of a node");
            for member in *members {
                chain.link(member, &format!("{node}/{}", member.name()));
            }
            match *next {
                [] => {}
                [one] => symlink(format!("../{one}"), chain.file(&format!("{node}/next"))).expect("a link"),
                several => {
                    fs::create_dir(chain.file(&format!("{node}/next"))).expect("mkdir of next");
                    for one in several {
                        let at = chain.file(&format!("{node}/next/{one}"));
                        symlink(format!("../../{one}"), at).expect("a link");
                    }
                }
            }
        }
        chain.put("ingress", &format!("{}\n", ends[0]));
        chain.put("egress", &format!("{}\n", ends[1]));
        chain
    }

    /// A place for a chain, made or not.
    pub fn chain_at(&self, name: &str) -> Instance {
        Instance::at(self.path().join("chns").join(name))
    }
}

impl Instance {
    /// Its name.
    pub fn name(&self) -> String {
        self.path().file_name().unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Makes a link of a chain's node to an instance, as a person types it.
    #[track_caller]
    pub fn link(&self, member: &Instance, place: &str) {
        let ty = member.path().parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy();
        let text = format!("../../../nf-types/{ty}/{}", member.name());
        symlink(text, self.file(place)).expect("a link");
    }
}
