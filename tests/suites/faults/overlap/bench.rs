//! A chain with everything that it changes in network namespaces of its own, the one that nfio runs in among them: so all
//! of them can be compared with what they were.

use nfio_tests::{Instance, Mounted, Options, Place, Space, built, eventually, first_process, state_of};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use super::super::points::{Points, only};

/// The server's address.
const SERVER: &str = "198.51.100.10";

/// A chain of a node of two members. Its ingress is a namespace, its egress an interface.
pub(super) struct Bench {
    /// Goes first: its end reaches points too.
    pub(super) mounted: Mounted,
    pub(super) points: Points,
    pub(super) chain: Instance,
    pub(super) members: [Instance; 2],
    /// nfio's own namespace, the chain's client and its server.
    spaces: [Space; 3],
    /// What there was before any chain.
    before: String,
    /// Keeps the way into nfio's namespace.
    _directory: tempfile::TempDir,
}

impl Bench {
    pub(super) fn new() -> Self {
        let points = Points::new();
        let spaces = [Space::new(&[]), Space::new(&["192.0.2.10/32"]), Space::new(&[])];
        let [machine, client, server] = &spaces;
        machine.sh(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
             ip link add wan0 type veth peer name up0 netns {}
             ip address add 198.51.100.1/24 dev wan0; ip link set wan0 up",
            server.name()
        ));
        server.sh(&format!(
            "ip address add {SERVER}/24 dev up0; ip link set up0 up; ip route add default via 198.51.100.1"
        ));
        let directory = tempfile::tempdir_in("/run").expect("a directory below /run");
        let nfio = directory.path().join("nfio");
        let text = format!(
            "#!/bin/sh\nexec nsenter --net=/run/netns/{} -- {} \"$@\"\n",
            machine.name(),
            built("nfio").display()
        );
        fs::write(&nfio, text).expect("a script");
        fs::set_permissions(&nfio, fs::Permissions::from_mode(0o755)).expect("chmod");
        let mounted = Mounted::unmounted(Options {
            place: points.at(Place::default()),
            nfio: Some(nfio),
            ..Options::default()
        });
        only(&mounted, &["firewall"]);
        mounted.mount();
        let members = members(&mounted, ["a", "b"]);
        let chain =
            mounted.chain("edge", [&client.end(), "wan0"], &[("x", &[&members[0], &members[1]], &[])]);
        let mut bench =
            Self { mounted, points, chain, members, spaces, before: String::new(), _directory: directory };
        bench.before = bench.state();
        bench
    }

    /// nfio's own namespace.
    pub(super) fn machine(&self) -> &Space {
        &self.spaces[0]
    }

    /// The chain's ingress.
    pub(super) fn client(&self) -> &Space {
        &self.spaces[1]
    }

    /// Links, addresses, routes, rules and kernel parameters of every namespace, and all leases of this mount.
    pub(super) fn state(&self) -> String {
        let script = format!(
            "{}; grep . /proc/sys/net/ipv4/conf/*/rp_filter /proc/sys/net/ipv6/conf/*/disable_ipv6; ip neigh show nud permanent",
            state_of()
        );
        // Links that are made again stand behind others.
        let script = format!("({script}) | sort");
        let mut state: Vec<String> =
            self.spaces.iter().map(|space| format!("{}: {}", space.name(), space.sh(&script))).collect();
        for member in &self.members {
            let process = first_process(&self.mounted.guest(member)).to_string();
            let shown = Command::new("nsenter").args(["-t", &process, "-n", "sh", "-ec", &script]).output();
            let shown = String::from_utf8(shown.expect("nsenter").stdout).expect("UTF-8");
            state.push(format!("{}: {shown}", member.name()));
        }
        state.extend(self.leases(""));
        state.join("\n")
    }

    /// The addresses that are held below this directory of `.nfio`.
    pub(super) fn leases(&self, below: &str) -> Vec<String> {
        let ours = self.mounted.root().join(".nfio").join(below);
        let all = fs::read_dir("/run/nfio/leases").into_iter().flatten().flatten();
        let mut held: Vec<String> = all
            .filter_map(|lease| Some((lease.file_name(), fs::read_to_string(lease.path()).ok()?)))
            .filter(|(_, holder)| std::path::Path::new(holder).starts_with(&ours))
            .map(|(address, holder)| format!("{} is held by {holder}", address.display()))
            .collect();
        held.sort();
        held
    }

    /// Writes to the chain's `action`.
    pub(super) fn act(&self, verb: &str) -> Result<(), String> {
        let told = |e| format!("{verb}: {e}; {}", self.chain.try_get("last_error").unwrap_or_default());
        self.chain.try_act(verb).map_err(told)
    }

    /// Whether status, record, and all namespaces agree; answers the status.
    pub(super) fn truth(&self) -> Result<String, String> {
        let private = self.mounted.root().join(".nfio/chains/edge");
        let status = self.chain.try_get("status").map_err(|e| format!("status: {e}"))?.trim().to_owned();
        let record = fs::read_to_string(private.join("record.toml")).ok();
        let complete = record.as_ref().map(|record| record.contains("complete = true"));
        let odd = |what: &str| Err(format!("{status:?}, and {what}"));
        match (complete, status.as_str()) {
            (None, "undeployed") => {
                let state = self.state();
                if state != self.before {
                    return odd(&format!("it is not as it was: {}", differences(&self.before, &state)));
                }
                if !self.leases("chains").is_empty() {
                    return odd("addresses are held");
                }
                let kept = fs::read_dir(&private).into_iter().flatten().flatten();
                let odd_one =
                    kept.map(|entry| entry.file_name()).find(|name| name != "id" && name != "last_error");
                match odd_one {
                    Some(name) => odd(&format!("{} is kept", name.display())),
                    None => Ok(status),
                }
            }
            (Some(true), "running") if self.client().reaches(SERVER) => Ok(status),
            (Some(true), "running") => odd("nothing passes"),
            _ => odd(&format!("the record is {record:?}")),
        }
    }

    /// Waits until the chain says that it runs, and sees whether it does.
    pub(super) fn await_running(&self) -> Result<(), String> {
        let runs = || self.chain.try_get("status").is_ok_and(|status| status == "running\n");
        eventually("the chain runs", runs);
        self.truth().map(drop)
    }
}

/// Two firewalls that run, in which a chain has something to change and to restore.
pub(super) fn members(mounted: &Mounted, names: [&str; 2]) -> [Instance; 2] {
    names.map(|name| {
        let member = mounted.firewall(name);
        member.put("config/boot.conf", "sysctls = { \"net.ipv4.conf.all.rp_filter\" = \"1\" }\n");
        member.act("activate");
        member
    })
}

/// The lines that are in one text alone.
fn differences(before: &str, after: &str) -> String {
    let lacks = |text: &str, line: &str| !text.lines().any(|other| other == line);
    let gone = before.lines().filter(|line| lacks(after, line)).map(|line| format!("- {line}"));
    let new = after.lines().filter(|line| lacks(before, line)).map(|line| format!("+ {line}"));
    let all: Vec<String> = gone.chain(new).collect();
    if all.is_empty() { "lines stand elsewhere, or once more".into() } else { all.join("; ") }
}
