//! A guest that comes back has its links and its rules before it forwards: traffic goes on by itself, and not one packet
//! passes that the rules forbid.

use super::{SERVER, ends, running, without};
use nfio_tests::{Instance, Mounted, Space, eventually, first_process};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// The port that a guest's rules forbid.
pub(super) const FORBIDDEN: u16 = 9999;

/// Sends forbidden datagrams without end.
pub(super) struct Flood(Child);

impl Flood {
    pub(super) fn from(client: &Space) -> Self {
        let script = format!(
            "import socket, time\ns = socket.socket(type=socket.SOCK_DGRAM)\nwhile True:\n  try: s.sendto(b'x', ('{SERVER}', {FORBIDDEN}))\n  \
             except OSError: pass\n  time.sleep(0.0005)\n"
        );
        let child = client.command("python3").args(["-c", &script]).stdout(Stdio::null()).spawn();
        Self(child.expect("python3"))
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Begins to count what comes to the server that is forbidden.
pub(super) fn count(server: &Space) {
    server.sh(&format!(
        "nft add table inet count; nft add chain inet count in '{{ type filter hook prerouting priority -300; }}'; \
         nft add rule inet count in udp dport {FORBIDDEN} counter"
    ));
}

/// How many forbidden packets have come to the server.
pub(super) fn arrived(server: &Space) -> u64 {
    let text = server.sh("nft list chain inet count in");
    let words: Vec<&str> = text.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "packets").expect("a counter");
    words[at + 1].parse().expect("a number")
}

/// How long it takes until a request is answered.
fn until_answered(client: &Space) -> Duration {
    let start = Instant::now();
    // A first packet that is lost is sent again after a second: better ask anew.
    eventually("traffic resumes", || client.asks_within(SERVER, 80, 0.2).is_some());
    start.elapsed()
}

#[test]
fn traffic_resumes_within_two_seconds_and_no_forbidden_packet_passes() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let (first, last) = (running(&mounted, "first"), running(&mounted, "last"));
    let middle = mounted.firewall("middle");
    middle.put("config/nf_conf", &without(FORBIDDEN).replace("tcp", "udp"));
    middle.put("config/boot.conf", "restart = \"always\"\n");
    middle.act("activate");
    let nodes: [(&str, &[&Instance], &[&str]); 3] =
        [("a", &[&first], &["b"]), ("b", &[&middle], &["c"]), ("c", &[&last], &[])];
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &nodes);
    chain.act("activate");
    count(&server);
    let _server = server.serve(80);
    assert!(client.asks(SERVER, 80).is_some());
    let _flood = Flood::from(&client);
    eventually("the flood is dropped", || middle.counter("pkt_drops") > 100);

    middle.act("restart");
    let by_verb = until_answered(&client);
    assert_eq!(chain.status(), "running");
    eventually("the flood is dropped again", || middle.counter("pkt_drops") > 100);

    // A stop is no way around it, for as long as it lasts.
    middle.act("stop");
    assert_eq!(chain.status(), "degraded: b (firewall/middle is exited)");
    eventually("packets wait no more for a guest that is gone", || {
        !first.run("ip link").contains("out0") && client.asks(SERVER, 80).is_none()
    });
    middle.act("start");
    let by_start = until_answered(&client);

    // Its first process ends by itself: nobody writes a verb.
    let guest = mounted.guest(&middle);
    let run = || std::fs::read_to_string(guest.join("run.json")).unwrap_or_default();
    let before = run();
    nix::sys::signal::kill(first_process(&guest), nix::sys::signal::Signal::SIGKILL).expect("kill");
    eventually("it is started again", || {
        let now = run();
        !now.is_empty() && now != before && middle.status() == "running" && chain.status() == "running"
    });
    let by_itself = until_answered(&client);
    eventually("the flood is dropped once more", || middle.counter("pkt_drops") > 100);

    // Nor when nfio is not there to see it.
    mounted.kill();
    nix::sys::signal::kill(first_process(&guest), nix::sys::signal::Signal::SIGKILL).expect("kill");
    eventually("nothing passes any more", || client.asks(SERVER, 80).is_none());
    mounted.mount();
    eventually("it is started at the mount", || middle.status() == "running" && chain.status() == "running");
    until_answered(&client);

    for (what, took) in [("restart", by_verb), ("start", by_start), ("a start by itself", by_itself)] {
        println!("after {what} traffic resumed in {took:?}");
        assert!(took < Duration::from_secs(2), "after {what} it took {took:?}");
    }
    assert_eq!(arrived(&server), 0, "forbidden packets that passed");
    // The counter does count.
    middle.put("config/nf_conf", "table inet filter {\n}\n");
    middle.act("reload");
    eventually("without the rule they arrive", || arrived(&server) > 0);
}
