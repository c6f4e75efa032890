//! The type `ids`: a real Suricata sees real packets, and its rules are in force whenever a verb says so.

use nfio_tests::{Instance, Mounted, debian, errno, eventually, ok};
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::time::{Duration, SystemTime};

const PING: &str = "alert icmp any any -> any any (msg:\"ping seen\"; itype:8; sid:1000001; rev:1;)\n";
const HTTP: &str = "alert http any any -> any any (msg:\"secret asked for\"; http.uri; content:\"/secret\"; sid:1000002; rev:1;)\n";
const UDP: &str = "alert udp any any -> any 5000 (msg:\"knock\"; content:\"knock\"; sid:1000003; rev:1;)\n";
const WRONG: &str = "alert tcp any any -> any any (nonsense:1; sid:1000004;)\n";

fn new_ids(mounted: &Mounted) -> Instance {
    let ids = mounted.instance("ids", "ids-a");
    ok("mkdir", fs::create_dir(ids.path()));
    ids.put("machine/ip", "127.0.0.1\n");
    ids.put("machine/vm.image", &format!("{}\n", debian("suricata").display()));
    ids
}

/// How many alerts of a rule there are.
fn alerts_of(ids: &Instance, sid: u32) -> usize {
    ids.try_get("alerts").expect("alerts").matches(&format!("\"signature_id\":{sid},")).count()
}

/// Asks the guest's web server for a page and waits for its answer.
fn ask_for(ids: &Instance, page: &str) {
    let mut stream = ok("connect", TcpStream::connect((ids.address(), 80)));
    ok("timeout", stream.set_read_timeout(Some(Duration::from_secs(20))));
    ok("request", write!(stream, "GET {page} HTTP/1.0\r\nHost: guest\r\n\r\n"));
    let mut answer = String::new();
    ok("answer", stream.read_to_string(&mut answer));
    assert!(answer.starts_with("HTTP/1"), "{answer}");
}

fn knock(ids: &Instance) {
    let socket = ok("bind", UdpSocket::bind("0.0.0.0:0"));
    ok("send", socket.send_to(b"knock knock", (ids.address(), 5000)));
}

#[test]
fn rules_alert_while_they_are_in_force_and_refused_ones_change_nothing() {
    let begin = SystemTime::now() - Duration::from_secs(1);
    let mounted = Mounted::new();
    let ids = new_ids(&mounted);

    // A wrong rule: no guest, and Suricata's words with the line.
    ids.put("config/nf_conf", &format!("{PING}{WRONG}"));
    assert_eq!(errno(ids.try_act("activate")), libc::EINVAL, "{}", ids.get("last_error"));
    let told = ids.get("last_error");
    assert!(told.contains("code: 720") && told.contains("nonsense") && told.contains("nf_conf:2"), "{told}");
    assert_eq!(ids.status(), "undeployed");

    // What matches alerts, from the first packet after the verb; what does not, does not.
    let mut follower = ok("open alerts", File::open(ids.file("alerts")));
    assert_eq!(ok("stat", fs::metadata(ids.file("alerts"))).len(), 0);
    ids.put("config/nf_conf", &format!("{PING}{HTTP}"));
    ids.act("activate");
    assert!(ids.answers_ping());
    eventually("the ping alerts", || alerts_of(&ids, 1_000_001) == 1);
    assert!(ids.get("log").contains("Engine started."), "{}", ids.get("log"));
    ids.run("busybox httpd -h /etc -p 80");
    ask_for(&ids, "/hostname");
    ask_for(&ids, "/secret");
    eventually("the request alerts", || alerts_of(&ids, 1_000_002) == 1);
    assert_eq!(alerts_of(&ids, 1_000_001), 1);
    eventually("both are counted", || ids.counter("alerts") == 2);

    // `alerts` is a log: one object a line, its true length and time, later bytes to a descriptor opened before.
    let text = ids.try_get("alerts").expect("alerts");
    assert!(text.lines().all(|line| line.starts_with('{') && line.ends_with('}')), "{text}");
    let stat = ok("stat", fs::metadata(ids.file("alerts")));
    let changed = stat.modified().expect("mtime");
    assert_eq!(stat.len(), text.len() as u64);
    assert!(changed >= begin && changed <= SystemTime::now(), "{changed:?}");
    let mut followed = String::new();
    ok("follow", follower.read_to_string(&mut followed));
    assert_eq!(followed, text);

    // Refused rules leave the old ones in force.
    ids.put("config/nf_conf", &format!("{UDP}\n{WRONG}"));
    assert_eq!(errno(ids.try_act("reload")), libc::EINVAL);
    let told = ids.get("last_error");
    assert!(told.contains("nonsense") && told.contains("nf_conf:3"), "{told}");
    knock(&ids);
    assert!(ids.answers_ping());
    eventually("the old rules alert", || alerts_of(&ids, 1_000_001) == 2);
    assert_eq!(alerts_of(&ids, 1_000_003), 0);

    // Other rules, and the old ones no more.
    ids.put("config/nf_conf", UDP);
    ids.act("reload");
    assert!(ids.answers_ping());
    knock(&ids);
    eventually("the new rules alert", || alerts_of(&ids, 1_000_003) == 1);
    assert_eq!(alerts_of(&ids, 1_000_001), 2);
    followed.clear();
    ok("follow", follower.read_to_string(&mut followed));
    assert_eq!(followed.lines().count(), 2, "{followed}");

    // They outlive a stop, and so do the alerts; the count begins anew with the engine.
    ids.act("stop");
    assert_eq!(alerts_of(&ids, 1_000_003), 1);
    assert_eq!(errno(ids.try_get("stats/alerts")), libc::EHOSTDOWN);
    ids.act("start");
    knock(&ids);
    eventually("the rules alert after a start", || alerts_of(&ids, 1_000_003) == 2);
    eventually("it is counted", || ids.counter("alerts") == 1);

    // An empty nf_conf: the image's own rules, of which this image has none.
    ids.put("config/nf_conf", "");
    ids.act("reload");
    let loaded = ids.run("suricatasc -c ruleset-stats /run/suricata/nfio.socket");
    assert!(loaded.contains("\"rules_loaded\": 0"), "{loaded}");
}
