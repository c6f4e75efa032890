//! A chain as a directory: what mkdir makes of it, what may be done with it, and the original's own commands on it.

use super::{SERVER, ends, running};
use nfio_tests::{Mounted, errno, ok};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

/// What a script prints, run in the mount.
#[track_caller]
fn sh(mounted: &Mounted, script: &str) -> String {
    let done = Command::new("sh").args(["-ec", script]).current_dir(mounted.path()).output().expect("sh");
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[test]
fn mkdir_makes_a_chain_whole_and_rmdir_takes_it_away() {
    let mounted = Mounted::new();
    let chain = mounted.chain_at("edge");
    ok("mkdir", fs::create_dir(chain.path()));
    let all = sh(&mounted, "cd chns/edge; find . ! -name . | sort");
    let expected = [
        "./action",
        "./egress",
        "./ingress",
        "./last_error",
        "./status",
        "./topology.dot",
        "./topology.svg",
        "./totals",
        "./totals/drops",
        "./totals/egress_bytes",
        "./totals/ingress_bytes",
    ];
    assert_eq!(all.lines().collect::<Vec<_>>(), expected);
    let mode = |name: &str| ok("stat", fs::metadata(chain.file(name))).permissions().mode() & 0o777;
    assert_eq!(["action", "status", "last_error", "ingress"].map(mode), [0o644, 0o444, 0o440, 0o644]);
    assert_eq!(chain.get("action"), "# last: none\n# verbs: activate destroy running undeployed");
    assert_eq!((chain.status().as_str(), chain.get("last_error").as_str()), ("undeployed", ""));
    assert_eq!(errno(chain.try_get("totals/drops")), libc::ENXIO);
    assert_eq!(errno(chain.try_write("status", "running")), libc::EACCES);
    assert_eq!(errno(fs::create_dir(mounted.path().join("chns/-x"))), libc::EINVAL);
    assert_eq!(errno(fs::create_dir(chain.path())), libc::EEXIST);

    // Links keep their text; what a user adds keeps the chain from going.
    ok("mkdir", fs::create_dir(chain.file("fw")));
    let text = Path::new("../../../nf-types/firewall/./fw-a");
    ok("symlink", symlink(text, chain.file("fw/fw-a")));
    assert_eq!(ok("readlink", fs::read_link(chain.file("fw/fw-a"))), text);
    assert_eq!(errno(fs::remove_dir(chain.path())), libc::ENOTEMPTY);
    assert_eq!(errno(fs::rename(chain.file("action"), chain.file("x"))), libc::EPERM);
    ok("rename", fs::rename(chain.path(), mounted.path().join("chns/core")));
    mounted.umount();
    mounted.mount();
    assert_eq!(ok("readlink", fs::read_link(mounted.path().join("chns/core/fw/fw-a"))), text);
    sh(&mounted, "rm -r chns/core");
    ok("mkdir", fs::create_dir(chain.path()));
    ok("rmdir", fs::remove_dir(chain.path()));
    assert_eq!(sh(&mounted, "ls -A chns"), "");
    assert!(!mounted.root().join(".nfio/chains/edge").exists());
}

#[test]
fn the_originals_commands_give_the_right_sum_and_the_right_chains() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let [a, b, c] = ["fw-a", "fw-b", "fw-c"].map(|name| running(&mounted, name));
    for (firewall, ttl) in [(&a, 41), (&b, 42), (&c, 43)] {
        let rules = format!(
            "table ip t {{\n  chain f {{\n    type filter hook forward priority 0;\n    udp dport {ttl} drop\n  }}\n}}\n"
        );
        firewall.put("config/nf_conf", &rules);
        firewall.act("reload");
    }
    let nodes: [(&str, &[&nfio_tests::Instance], &[&str]); 3] =
        [("first", &[&a], &["second"]), ("second", &[&b], &["third"]), ("third", &[&c], &[])];
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &nodes);
    let other = mounted.chain("other", ["lan", "wan"], &[("only", &[&a], &[])]);
    chain.act("activate");
    // Two packets for the first to drop, three for the second, five for the third.
    for (port, count) in [(41, 2), (42, 3), (43, 5)] {
        let send = format!("s.sendto(b'x', ('{SERVER}', {port}))");
        client.sh(&format!("python3 -c \"import socket\ns = socket.socket(type=socket.SOCK_DGRAM)\nfor n in range({count}): {send}\""));
    }
    let by_hand: u64 = [&a, &b, &c].map(|fw| fw.counter("pkt_drops")).iter().sum();
    assert!(by_hand >= 10, "{by_hand}");
    let command = "find -L chns/edge -name pkt_drops ! -path \"*/next/*\" ! -path \"*/start/*\" | xargs cat | \
                   awk '{t+=$1} END {print t}'";
    assert_eq!(sh(&mounted, command).trim(), by_hand.to_string());
    assert_eq!(chain.get("totals/drops"), by_hand.to_string());
    let found = |name: &str| {
        let mut found: Vec<String> = sh(&mounted, &format!("find chns -lname '*/firewall/{name}'"))
            .lines()
            .map(str::to_owned)
            .collect();
        found.sort();
        found
    };
    assert_eq!(found("fw-a"), ["chns/edge/first/fw-a", "chns/other/only/fw-a"]);
    assert_eq!(found("fw-b"), ["chns/edge/second/fw-b"]);

    // While it is active its links stay, and so does the chain.
    assert_eq!(errno(fs::remove_file(chain.file("first/fw-a"))), libc::EBUSY);
    assert_eq!(errno(fs::remove_file(chain.file("start"))), libc::EBUSY);
    assert_eq!(errno(fs::remove_dir(chain.path())), libc::EBUSY);
    assert_eq!(errno(fs::rename(chain.path(), mounted.path().join("chns/x"))), libc::EBUSY);
    assert_eq!(errno(chain.try_act("activate")), libc::EEXIST);
    // An instance is in one active chain at a time, and so is an end.
    let (lan, wan) = ends();
    other.put("ingress", &lan.end());
    other.put("egress", &wan.end());
    assert_eq!(errno(other.try_act("activate")), libc::EINVAL);
    let told = other.get("last_error");
    assert!(told.contains("firewall/fw-a is in the active chain chns/edge already"), "{told}");
    other.put("egress", &server.end());
    assert_eq!(errno(other.try_act("activate")), libc::EINVAL);
    let told = other.get("last_error");
    assert!(told.contains("is an end of the active chain chns/edge already"), "{told}");

    // The pictures name what is there, in their own languages, and tell their true length.
    let (dot, svg) = (chain.get("topology.dot"), chain.get("topology.svg"));
    assert!(dot.contains("ingress -> n0;") && dot.contains("fw-b (firewall) running"), "{dot}");
    for text in ["<svg ", ">fw-c</text>", ">firewall, running</text>", &client.end(), ">running</text>"] {
        assert!(svg.contains(text), "{text} in {svg}");
    }
    let told = ok("stat", fs::metadata(chain.file("topology.svg"))).len();
    assert!(told.abs_diff(svg.len() as u64) < 64, "{told}, {}", svg.len());
    chain.act("destroy");
    assert_eq!(errno(chain.try_act("destroy")), libc::ENXIO);
    assert!(chain.get("topology.svg").contains(">undeployed</text>"));
    ok("rm", fs::remove_file(chain.file("first/fw-a")));
}
