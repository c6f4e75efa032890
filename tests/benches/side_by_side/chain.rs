//! How much goes through a service chain of three firewalls, side by side with the same three namespaces wired by hand with
//! plain routes.

use nfio_tests::{Instance, Mounted, Space, eventually, first_process};
use std::process::{Child, Command};

use crate::table::{Table, Work};

/// The servers' addresses: behind the chain, and behind what is wired by hand.
const SERVER: &str = "198.51.100.10";
const BY_HAND: &str = "203.0.113.10";
/// How often each side is measured, and for how many seconds.
const ROUNDS: usize = 12;
const SECONDS: &str = "1";

/// A firewall's usual first lines.
const RULES: &str = "\
table inet filter {
    chain forward {
        type filter hook forward priority 0; policy accept;
        ct state established,related accept
        tcp dport 81 drop
    }
}
";

/// An iperf3 that serves, ended by drop.
struct Server(Child);

impl Server {
    fn new(space: &Space) -> Self {
        let server = Self(
            space.command("iperf3").arg("-s").stdout(std::process::Stdio::null()).spawn().expect("iperf3"),
        );
        eventually("iperf3 listens", || !space.sh("ss -Hltn 'sport = :5201'").is_empty());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// TCP through three firewalls.
pub(crate) fn measure(table: &mut Table) {
    let mounted = Mounted::new();
    let guests = ["one", "two", "three"].map(|name| {
        let firewall = mounted.firewall(name);
        firewall.put("config/nf_conf", RULES);
        firewall.act("activate");
        firewall
    });
    let (client, server) = (Space::new(&["192.0.2.10/32"]), Space::new(&[&format!("{SERVER}/32")]));
    let [one, two, three] = &guests;
    let chain = mounted.chain(
        "bench",
        [&client.end(), &server.end()],
        &[("a", &[one], &["b"]), ("b", &[two], &["c"]), ("c", &[three], &[])],
    );
    chain.act("activate");
    let (near, far) = (Space::new(&[]), Space::new(&[&format!("{BY_HAND}/32")]));
    wire_by_hand(&mounted, &guests, &near, &far);
    let _servers = (Server::new(&server), Server::new(&far));

    table.compare(
        Work::new("TCP through three firewalls", "Gb/s", ROUNDS),
        ("a chain", || throughput(&client, SERVER)),
        ("wired by hand", || throughput(&near, BY_HAND)),
    );
    chain.act("destroy");
}

/// Gbit/s from `client` to the server at `address`.
fn throughput(client: &Space, address: &str) -> f64 {
    let done = client.command("iperf3").args(["-J", "-t", SECONDS, "-c", address]).output().expect("iperf3");
    let told: serde_json::Value = serde_json::from_slice(&done.stdout).expect("JSON");
    let bits = told["end"]["sum_received"]["bits_per_second"].as_f64();
    bits.unwrap_or_else(|| panic!("iperf3 measured nothing: {told}")) / 1e9
}

/// Connects the same guests as a person would: a veth pair a hop, an address on each side, a route each way.
fn wire_by_hand(mounted: &Mounted, guests: &[Instance; 3], near: &Space, far: &Space) {
    let guest = |instance| format!("/proc/{}/ns/net", first_process(&mounted.guest(instance)));
    let space = |space: &Space| format!("/run/netns/{}", space.end().trim_start_matches("netns:"));
    let places = [space(near), guest(&guests[0]), guest(&guests[1]), guest(&guests[2]), space(far)];
    let sh = |place: &str, script: String| {
        let done =
            Command::new("nsenter").args([&format!("--net={place}"), "--", "sh", "-ec", &script]).output();
        let done = done.expect("nsenter");
        assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    };
    for (hop, pair) in places.windows(2).enumerate() {
        // A namespace is named by a process for ip: one that waits in it.
        let holder =
            Command::new("nsenter").args([&format!("--net={}", pair[1]), "--", "sleep", "60"]).spawn();
        let mut holder = holder.expect("nsenter");
        let comm = format!("/proc/{}/comm", holder.id());
        eventually("it is inside", || {
            std::fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep")
        });
        sh(&pair[0], format!("ip link add right{hop} type veth peer name left{hop} netns {}", holder.id()));
        let _ = holder.kill();
        let _ = holder.wait();
        sh(
            &pair[0],
            format!(
                "ip address add 10.99.{hop}.1/30 dev right{hop}; ip link set right{hop} up; ip route add {BY_HAND}/32 via 10.99.{hop}.2"
            ),
        );
        sh(
            &pair[1],
            format!(
                "ip address add 10.99.{hop}.2/30 dev left{hop}; ip link set left{hop} up; [ {hop} = 0 ] || ip route add 10.99.0.0/30 via 10.99.{hop}.1"
            ),
        );
    }
}
