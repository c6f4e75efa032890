//! nfio killed at each step of each verb of a chain, and of a guest that gets its links back: what it had made is found
//! again, and `destroy` takes away exactly that.

use nfio_tests::{Instance, Mounted, Place, Space, eventually, state_of};
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use super::points::{Points, step};
use super::table::Table;
use crate::chains::leases;

/// Links of the chain: two ways to two instances, two ways on, and one to the end.
const HOPS: usize = 5;

/// A chain of its own mount: from a namespace to two instances that share the load, to one more, to an interface of this
/// machine.
struct Bed {
    /// Goes first: its end reaches points too.
    mounted: Mounted,
    points: Points,
    client: Space,
    server: Space,
    guests: [Instance; 3],
    chain: Instance,
    interface: String,
    address: String,
}

impl Bed {
    /// `number` tells its interface and its networks from those of others.
    fn new(number: u8) -> Self {
        let points = Points::new();
        let mounted = points.mounted(Place::default(), &["firewall"]);
        let guests = ["b", "c", "d"].map(|name| {
            let firewall = mounted.firewall(name);
            firewall.act("activate");
            firewall
        });
        let client = Space::new(&[&format!("198.18.{}.10/32", 100 + number)]);
        let server = Space::new(&[]);
        let (interface, net) = (format!("blow{number}"), format!("198.18.{number}"));
        here(&format!(
            "echo 1 > /proc/sys/net/ipv4/ip_forward
             ip link add {interface} type veth peer name up0 netns {}
             ip address add {net}.1/24 dev {interface} && ip link set {interface} up",
            server.end().trim_start_matches("netns:"),
        ));
        let address = format!("{net}.10");
        server.sh(&format!(
            "ip address add {address}/24 dev up0; ip link set up0 up; ip route add default via {net}.1"
        ));
        let [b, c, d] = &guests;
        let nodes: [(&str, &[&Instance], &[&str]); 2] = [("one", &[b, c], &["two"]), ("two", &[d], &[])];
        let chain = mounted.chain("edge", [&client.end(), &interface], &nodes);
        Self { mounted, points, client, server, guests, chain, interface, address }
    }

    fn private(&self) -> PathBuf {
        self.mounted.root().join(".nfio/chains/edge")
    }

    fn record(&self) -> Option<String> {
        fs::read_to_string(self.private().join("record.toml")).ok()
    }

    /// Everything that the chain could have changed, outside its private directory.
    fn state(&self) -> Vec<String> {
        let script = format!("{}; grep . /proc/sys/net/ipv4/conf/*/rp_filter", state_of());
        let mut state = vec![self.client.sh(&script), self.server.sh(&script), self.of_machine()];
        state.extend(self.guests.iter().map(|guest| guest.run(&script)));
        state.extend(leases(&self.mounted));
        state
    }

    /// What there is of the chain in this machine's own namespace, where other tests have theirs.
    fn of_machine(&self) -> String {
        let id = fs::read_to_string(self.private().join("id")).unwrap_or_default();
        let mut words = vec![self.interface.clone()];
        if let Some(short) = id.get(..8) {
            words.push(format!("nfc{short}"));
            let number = u32::from_str_radix(short, 16).expect("a UUID");
            let table = 0x6e00_0000 | (number & 0x007f_ffff) << 1;
            words.extend([table, table + 1].map(|table| table.to_string()));
        }
        let all = here(
            "ip -o link show | cut -d' ' -f2; ip -4 -o address show; ip -4 route show table all; ip -4 rule show; \
             grep . /proc/sys/net/ipv4/conf/*/rp_filter 2>/dev/null || true",
        );
        let ours = all.lines().filter(|line| words.iter().any(|word| line.contains(word.as_str())));
        ours.collect::<Vec<_>>().join("\n")
    }

    /// Brings the chain to where a verb begins.
    fn bring(&self, active: bool) {
        self.chain.act(if active { "running" } else { "undeployed" });
    }

    /// The points that a verb reaches, undisturbed, on the chain or on a member.
    fn walk(&self, on: &Instance, verb: &str, active: bool) -> Vec<String> {
        self.bring(active);
        self.points.reached(on);
        on.act(verb);
        self.points.reached(on)
    }

    /// Kills nfio while a verb is at a point, and mounts again.
    fn strike(&self, on: &Instance, verb: &str, point: &str, active: bool) {
        self.bring(active);
        self.points.hold(on, point);
        thread::scope(|scope| {
            scope.spawn(|| on.try_act(verb));
            self.points.await_held(on, point);
            self.mounted.kill();
        });
        self.points.release(on);
        self.mounted.mount();
    }

    /// Whether the chain says what it is, can be had (`again`) or taken away, and nothing of it is left then.
    fn recovered(&self, before: &[String], again: bool) -> Result<(), String> {
        let status = || self.chain.try_get("status").map_err(|e| format!("status: {e}"));
        let (record, told) = (self.record(), status()?);
        let unfinished =
            |verb: &str| format!("degraded: {verb} did not come to its end; write destroy or activate");
        let complete = record.as_ref().is_some_and(|record| record.contains("complete = true"));
        if complete {
            eventually("a chain that is complete is mended", || self.chain.status().trim() == "running");
            // Were they not, another chain could have its addresses while it is mended.
            let held = leases(&self.mounted).len();
            if held != HOPS {
                return Err(format!("it is active, and of its {HOPS} addresses {held} are held"));
            }
        } else {
            let truth = match &record {
                None => "undeployed".to_owned(),
                Some(record) if record.contains("leaving = true") => unfinished("destroy"),
                Some(_) => unfinished("activate"),
            };
            if told.trim() != truth {
                return Err(format!("it says {told:?}, and it is {truth}"));
            }
        }
        let act = |verb: &str| {
            let why = || self.chain.try_get("last_error").unwrap_or_default();
            self.chain.try_act(verb).map_err(|e| format!("it was {told}; {verb} then: {e}; {}", why()))
        };
        if again && !complete {
            act("activate")?;
        }
        if complete || again {
            eventually("packets pass", || self.client.reaches(&self.address));
        }
        if complete || again || record.is_some() {
            act("destroy")?;
        }
        let after = self.state();
        if after != before {
            return Err(format!("before:\n{}\nafter:\n{}", before.join("\n"), after.join("\n")));
        }
        let half =
            fs::read_dir(self.private()).into_iter().flatten().flatten().map(|entry| entry.file_name());
        let half: Vec<_> = half.filter(|name| name != "id").collect();
        if half.is_empty() { Ok(()) } else { Err(format!("{half:?} are left")) }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["link", "delete", &self.interface]).output();
    }
}

/// What a script prints that runs in this machine's own namespace.
#[track_caller]
fn here(script: &str) -> String {
    let done = Command::new("sh").args(["-ec", script]).output().expect("sh");
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// The first of each step: a goal takes the same way as its verb.
fn firsts(mut points: Vec<String>) -> Vec<String> {
    let mut seen = BTreeSet::new();
    points.retain(|point| seen.insert(step(point).to_owned()));
    points
}

#[test]
fn killed_at_each_step_of_a_chain_nfio_leaves_nothing_that_destroy_does_not_take_away() {
    let (table, names) = (Mutex::new(Table::default()), Mutex::new(BTreeSet::new()));
    // A mount each: what a chain makes is made one chain at a time.
    let work: [&[(&str, bool)]; 3] = [
        &[("activate", false)],
        &[("destroy", true)],
        &[("running", false), ("undeployed", true), ("restart", true)],
    ];
    thread::scope(|scope| {
        for (number, verbs) in (1..).zip(work) {
            let (table, names) = (&table, &names);
            scope.spawn(move || {
                let bed = Bed::new(number);
                *names.lock().expect("no panic") = bed.points.all();
                let before = bed.state();
                for (verb, active) in verbs {
                    let on = if *verb == "restart" { &bed.guests[0] } else { &bed.chain };
                    let mut points = bed.walk(on, verb, *active);
                    match *verb {
                        "restart" => points.retain(|point| step(point).starts_with("Chain:")),
                        "running" | "undeployed" => points = firsts(points),
                        _ => {}
                    }
                    for (count, point) in points.iter().enumerate() {
                        bed.strike(on, verb, point, *active);
                        let outcome = bed.recovered(&before, count % 2 == 1);
                        table.lock().expect("no panic").note(verb, point, outcome);
                    }
                }
            });
        }
    });
    let table = table.into_inner().expect("no panic");
    table.judge("nfio killed, chains");
    let all = names.into_inner().expect("no panic");
    let missed: Vec<_> =
        all.iter().filter(|step| step.starts_with("Chain:") && !table.steps().contains(*step)).collect();
    assert!(missed.is_empty(), "no blow fell at these points: {missed:?}");
}
