//! Guests of libvirt's in a chain. With virtual machines traffic passes through two kernels of their own, and what was
//! plugged into them goes again.

use super::restarts::{FORBIDDEN, Flood, arrived, count, until_answered};
use super::{SERVER, ends, leases, without};
use nfio_tests::{Instance, Libvirtd, Mounted, Space, errno, eventually, state_of};
use std::thread;

/// The end before the server: an interface of the network where nfio and libvirt are.
const EGRESS: &str = "wan9";

/// Connects the server to it.
fn connect(libvirtd: &Libvirtd, server: &Space) {
    libvirtd.network().sh(&format!(
        "ip link add {EGRESS} type veth peer name up9 netns {}
         ip address add 198.51.100.1/24 dev {EGRESS} && ip link set {EGRESS} up",
        server.end().trim_start_matches("netns:")
    ));
    server.sh(
        "ip address add 198.51.100.2/24 dev up9; ip link set up9 up; ip route add default via 198.51.100.1",
    );
}

/// What a chain could have changed outside of its guests: in both ends, and where the bridges are.
fn outside(libvirtd: &Libvirtd, client: &Space, server: &Space) -> [String; 3] {
    let names = libvirtd.network().sh("ls /proc/sys/net/ipv4/conf; ip -4 rule show");
    // Those that libvirt makes for the machines' usual network come and go with them.
    let names: Vec<&str> = names.lines().filter(|name| !name.starts_with("vnet")).collect();
    [client.state(), server.state(), names.join(" ")]
}

/// What it could have changed within.
fn inside(machines: [&Instance; 2]) -> [String; 2] {
    machines.map(|machine| machine.run(&state_of()))
}

/// What keeps a chain with machines from being wired is told, and nothing of it stays.
fn refusals(libvirtd: &Libvirtd, chain: &Instance) {
    let refused = |words: &str| {
        assert_eq!(errno(chain.try_act("activate")), libc::EINVAL, "{}", chain.get("last_error"));
        assert!(chain.get("last_error").contains(words), "{words} in {}", chain.get("last_error"));
        assert_eq!(chain.status(), "undeployed");
    };
    // Where the kernel has that, as with Docker on the machine.
    const JUDGED: &str = "/proc/sys/net/bridge/bridge-nf-call-iptables";
    let network = libvirtd.network();
    if network.sh(&format!("if [ -e {JUDGED} ]; then echo 1 > {JUDGED}; echo there; fi")) == "there\n" {
        refused("sysctl -w net.bridge.bridge-nf-call-iptables=0");
        network.sh(&format!("echo 0 > {JUDGED}"));
    }
    // A machine has room for eight links, and seven are taken.
    let plug = |word: &str, number: u8| {
        let hardware = format!("02:44:00:00:00:{number:02x}");
        let (domain, live) = ("root-firewall-last", "--live");
        let attached = ["virbr-nfio", "--model", "virtio"];
        let place: &[&str] = if word == "attach-interface" { &attached } else { &[] };
        let words = [&[word, domain, "bridge"], place, &["--mac", &hardware, live]].concat();
        libvirtd.virsh(&words);
    };
    (0..7).for_each(|number| plug("attach-interface", number));
    refused("has no slot free for another link: a virtual machine has room for 8 links");
    (0..7).for_each(|number| plug("detach-interface", number));
    let plugged = || libvirtd.virsh(&["domiflist", "root-firewall-last"]).matches("02:44:00").count();
    eventually("they are gone", || plugged() == 0);
}

#[test]
fn traffic_passes_two_machines_and_one_that_restarts_lets_no_forbidden_packet_pass() {
    let libvirtd = Libvirtd::machines(2);
    let mounted = Mounted::on(libvirtd.beside());
    let (client, server) = ends();
    connect(&libvirtd, &server);
    let (first, last) = (mounted.firewall("first"), mounted.firewall("last"));
    first.put("config/nf_conf", &without(FORBIDDEN).replace("tcp", "udp"));
    thread::scope(|scope| {
        for machine in [&first, &last] {
            machine.put("machine/vm.memory", "192M\n");
            scope.spawn(|| machine.act("activate"));
        }
    });
    let before = (outside(&libvirtd, &client, &server), inside([&first, &last]));
    let chain =
        mounted.chain("edge", [&client.end(), EGRESS], &[("a", &[&first], &["b"]), ("b", &[&last], &[])]);
    refusals(&libvirtd, &chain);
    assert_eq!((outside(&libvirtd, &client, &server), inside([&first, &last])), before);
    chain.act("activate");
    assert_eq!(chain.status(), "running");
    count(&server);
    let serving = server.serve(80);
    assert!(client.asks(SERVER, 80).is_some());
    assert!(first.run("ip -o link").contains("in0:") && first.run("ip -o link").contains("out0:"));

    let flood = Flood::from(&client);
    eventually("the flood is dropped", || first.counter("pkt_drops") > 100);
    let total = |name: &str| chain.get(&format!("totals/{name}")).trim().parse::<u64>().expect("a number");
    assert!(total("drops") > 100);
    let (came, went) = (total("ingress_bytes"), total("egress_bytes"));
    assert!(came > went && went > 0, "{came} bytes came in, {went} went out");

    first.act("restart");
    println!("after restart traffic resumed in {:?}", until_answered(&client));
    eventually("the chain is whole", || chain.status() == "running");
    eventually("the flood is dropped again", || first.counter("pkt_drops") > 100);
    assert!(total("ingress_bytes") > came, "what was counted before is kept");

    // Nor by a boot that nobody but the guest knows of, which leaves nothing in it of what was set.
    libvirtd.virsh(&["reboot", "root-firewall-first", "--mode", "agent"]);
    eventually("nothing passes while it boots", || client.asks_within(SERVER, 80, 0.2).is_none());
    until_answered(&client);
    eventually("the flood is dropped once more", || first.counter("pkt_drops") > 100);
    assert_eq!(arrived(&server), 0, "forbidden packets that passed");
    // The counter does count.
    first.put("config/nf_conf", "table inet filter {\n}\n");
    first.act("reload");
    eventually("without the rule they arrive", || arrived(&server) > 0);
    drop((flood, serving));
    server.sh("nft delete table inet count");

    last.act("pause");
    assert_eq!(errno(chain.try_act("destroy")), libc::EIO);
    assert!(chain.get("last_error").contains("is paused"), "{}", chain.get("last_error"));
    last.act("unpause");
    // What was made is found again by an nfio that did not make it.
    mounted.kill();
    mounted.mount();
    assert!(client.reaches(SERVER));
    chain.act("destroy");
    assert_eq!((outside(&libvirtd, &client, &server), inside([&first, &last])), before);
    assert_eq!(leases(&mounted), [""; 0]);

    // One that is cut off in the middle, with an interface plugged in already, is taken away by the next.
    thread::scope(|scope| {
        scope.spawn(|| chain.try_act("activate"));
        eventually("a machine has a link", || {
            libvirtd.virsh(&["domiflist", "root-firewall-first"]).contains("02:43:")
        });
        mounted.kill();
    });
    mounted.mount();
    let status = chain.status();
    assert!(status.starts_with("degraded: activate did not come to its end"), "{status}");
    chain.act("activate");
    assert!(client.reaches(SERVER));
    // A machine that does not run has taken its links along.
    last.act("stop");
    assert_eq!(chain.status(), "degraded: b (firewall/last is exited)");
    eventually("the first one has lost its way on", || !first.run("ip -o link").contains("out0:"));
    chain.act("destroy");
    assert_eq!(outside(&libvirtd, &client, &server), before.0);
    assert_eq!(inside([&first, &first])[0], before.1[0]);
}

#[test]
fn a_container_of_libvirts_is_a_member_like_any_other() {
    let libvirtd = Libvirtd::containers();
    let mounted = Mounted::on(libvirtd.place());
    let (client, server) = ends();
    let fw = mounted.firewall("fw");
    fw.put("config/nf_conf", &without(81));
    fw.act("activate");
    let before = (client.state(), server.state(), fw.run(&state_of()));
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &[("x", &[&fw], &[])]);
    chain.act("activate");
    let _serving = [server.serve(80), server.serve(81)];
    assert!(client.asks(SERVER, 80).is_some());
    assert!(client.asks(SERVER, 81).is_none(), "its rules hold");
    fw.act("restart");
    eventually("traffic resumes", || client.asks_within(SERVER, 80, 0.2).is_some());
    chain.act("destroy");
    assert_eq!((client.state(), server.state(), fw.run(&state_of())), before);
}
