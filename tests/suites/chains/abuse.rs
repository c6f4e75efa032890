//! Tenants and guests that mean harm to a chain: it stays whole or says what it lacks, and others do not notice.

use super::{SERVER, ends, leases, running};
use nfio_tests::{Instance, Mounted, Options, Space, errno, eventually, first_process, image, ok};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::Command;

/// What a script prints that runs as root in a guest's network namespace: more than its own root may.
#[track_caller]
fn within(mounted: &Mounted, guest: &Instance, script: &str) -> String {
    let process = first_process(&mounted.guest(guest)).to_string();
    let done = Command::new("nsenter").args(["--net", "--target", &process, "sh", "-ec", script]).output();
    let done = done.expect("nsenter");
    assert!(done.status.success(), "{script}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).expect("UTF-8")
}

/// A chain of one node `x`, active.
#[track_caller]
fn active(mounted: &Mounted, name: &str, ends: &(Space, Space), member: &Instance) -> Instance {
    let chain = mounted.chain(name, [&ends.0.end(), &ends.1.end()], &[("x", &[member], &[])]);
    chain.act("activate");
    chain
}

#[track_caller]
fn is_plain(text: &str) {
    assert!(text.chars().all(|c| !c.is_control() || c == '\n'), "{text:?}");
}

#[test]
fn texts_of_links_and_names_of_nodes_lead_nowhere_and_are_shown_plain() {
    let mounted = Mounted::new();
    let ends = ends();
    let a = running(&mounted, "a");
    let chain = mounted.chain("edge", [&ends.0.end(), &ends.1.end()], &[("x", &[], &[])]);
    let long = format!("../../../nf-types/firewall/{}", "a".repeat(4000));
    let texts: [&[u8]; 8] = [
        b"\x1b[2J\x1b]0;title\x07../../../nf-types/firewall/a",
        b"../../../nf-types/firewall/a\nrunning",
        b"../../../nf-types/firewall/a/../../../../../etc",
        b"../../../../../../../../run",
        b"/etc/passwd",
        b"../../../nf-types/firewall/\xff\xfe",
        b"$(touch /run/touched)",
        long.as_bytes(),
    ];
    for text in texts {
        ok("symlink", symlink(OsStr::from_bytes(text), chain.file("x/m")));
        assert_eq!(errno(chain.try_act("activate")), libc::EINVAL, "{}", chain.get("last_error"));
        is_plain(&chain.get("last_error"));
        assert_eq!(chain.status(), "undeployed");
        ok("rm", fs::remove_file(chain.file("x/m")));
    }
    // A link on the way is not followed: neither to an instance, nor to a node, nor for an end.
    ok("symlink", symlink("../../nf-types/firewall/a", chain.file("alias")));
    ok("symlink", symlink("../alias", chain.file("x/m")));
    assert_eq!(errno(chain.try_act("activate")), libc::EINVAL);
    ok("rm", fs::remove_file(chain.file("x/m")));
    chain.link(&a, "x/m");
    ok("symlink", symlink("x", chain.file("y")));
    ok("symlink", symlink("../y", chain.file("x/next")));
    assert_eq!(errno(chain.try_act("activate")), libc::EINVAL);
    assert!(
        chain.get("last_error").contains("the chain edge has no such node"),
        "{}",
        chain.get("last_error")
    );
    ok("rm", fs::remove_file(chain.file("x/next")));
    ok("rm", fs::remove_file(chain.file("y")));

    // A name that steers a terminal stands in the status and in the pictures.
    let odd = "\u{1b}[2J\nrunning\"];evil<b>&";
    ok("mkdir", fs::create_dir(chain.file(odd)));
    let b = running(&mounted, "b");
    ok("symlink", symlink("../../../nf-types/firewall/b", chain.file(odd).join("b")));
    ok("symlink", symlink(format!("../{odd}"), chain.file("x/next")));
    chain.act("activate");
    assert!(ends.0.reaches(SERVER));
    b.act("stop");
    let status = chain.status();
    assert!(status.starts_with("degraded: ") && status.lines().count() == 1, "{status:?}");
    is_plain(&status);
    for picture in ["topology.dot", "topology.svg"] {
        is_plain(&chain.get(picture));
    }
    assert!(!chain.get("topology.svg").contains("evil<b>"), "{}", chain.get("topology.svg"));
    assert!(!chain.get("topology.dot").contains("running\"];evil"), "{}", chain.get("topology.dot"));
    assert!(!Path::new("/run/touched").exists());
}

#[test]
fn while_a_chain_is_active_nothing_that_it_is_made_of_changes() {
    let mounted = Mounted::new();
    let ends = ends();
    let (a, b) = (running(&mounted, "a"), running(&mounted, "b"));
    let chain = active(&mounted, "edge", &ends, &a);
    for (what, outcome) in [
        ("a link goes", fs::remove_file(chain.file("x/a"))),
        ("a link is renamed", fs::rename(chain.file("x/a"), chain.file("x/c"))),
        ("the start goes", fs::remove_file(chain.file("start"))),
        ("the start is another", fs::rename(chain.file("start"), chain.file("begin"))),
    ] {
        assert_eq!(errno(outcome), libc::EBUSY, "{what}");
    }
    // Another's link over one of the chain's.
    ok("symlink", symlink("../../../nf-types/firewall/b", chain.file("note")));
    assert_eq!(errno(fs::rename(chain.file("note"), chain.file("x/a"))), libc::EBUSY);
    // What comes in addition, is written anew or gets another name counts from the next activate on, and is judged then.
    chain.put("egress", "netns:elsewhere\n");
    chain.link(&b, "x/b");
    ok("symlink", symlink("../x", chain.file("x/next")));
    ok("rename", fs::rename(chain.file("x"), chain.file("y")));
    mounted.kill();
    mounted.mount();
    eventually("it is as it was", || chain.status() == "running" && ends.0.reaches(SERVER));
    assert_eq!(b.run("ip -o link | grep -c in0 || true").trim(), "0");
    chain.act("destroy");
    assert_eq!(errno(chain.try_act("activate")), libc::EINVAL);
    assert_eq!(leases(&mounted), [""; 0]);
}

#[test]
fn whoever_can_change_any_part_of_a_chain_is_who_it_is_judged_by() {
    let (client, server) = ends();
    let images = image().parent().expect("the images").display();
    let granted = format!("chain_ends = [\"{}\", \"{}\"]", client.end(), server.end());
    let config = format!("[policy]\n{granted}\n[oci]\nimages = \"{images}\"\n");
    let arguments = vec!["-o".to_owned(), "allow_other".to_owned()];
    let mounted = Mounted::with(Options { arguments, config, ..Options::default() });
    let [a, b, c] = ["a", "b", "c"].map(|name| running(&mounted, name));
    let nodes: [(&str, &[&Instance], &[&str]); 3] =
        [("x", &[&a], &["y", "z"]), ("y", &[&b], &[]), ("z", &[&c], &[])];
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &nodes);
    for place in ["", "x", "x/next", "y", "ingress", "egress"] {
        let path = chain.file(place);
        let mode = ok("stat", fs::metadata(&path)).permissions().mode();
        for (uid, gid, bits, who) in [
            (4711, 0, mode, "user id 4711"),
            (0, 4711, mode | 0o020, "group id 4711"),
            (0, 0, mode | 0o002, "everybody"),
        ] {
            ok("chown", chown(&path, Some(uid), Some(gid)));
            ok("chmod", fs::set_permissions(&path, fs::Permissions::from_mode(bits)));
            assert_eq!(errno(chain.try_act("activate")), libc::EPERM, "{place} of {who}");
            let told = chain.get("last_error");
            assert!(told.contains(&format!("{who}, who can change ")), "{told}");
            assert!(told.contains("may not write action of firewall/"), "{told}");
        }
        ok("chown", chown(&path, Some(0), Some(0)));
        ok("chmod", fs::set_permissions(&path, fs::Permissions::from_mode(mode)));
    }
    // The right to most of its members is not the right to all.
    ok("chown", chown(chain.path(), Some(4711), Some(4711)));
    for member in [&a, &b] {
        ok("chown", chown(member.file("action"), Some(4711), Some(4711)));
    }
    assert_eq!(errno(chain.try_act("activate")), libc::EPERM);
    assert!(chain.get("last_error").contains("action of firewall/c"), "{}", chain.get("last_error"));
    ok("chown", chown(c.file("action"), Some(4711), Some(4711)));
    chain.act("activate");
    assert!(client.reaches(SERVER));
}

#[test]
fn a_guest_that_spoils_its_links_gets_them_again_or_is_told_and_harms_no_other_chain() {
    let mounted = Mounted::new();
    let (ours, theirs) = (ends(), ends());
    let (a, b) = (running(&mounted, "a"), running(&mounted, "b"));
    let before = (ours.0.state(), ours.1.state());
    let others = active(&mounted, "theirs", &theirs, &b);
    let untouched = (theirs.0.state(), theirs.1.state());
    let chain = active(&mounted, "ours", &ours, &a);
    let whole = || chain.status() == "running" && ours.0.reaches(SERVER);
    for script in [
        "ip link delete in0",
        "ip link delete out0; ip link delete in0",
        "ip link set in0 down; ip link set in0 name x0",
    ] {
        a.run(script);
        eventually(script, whole);
        assert!(!a.run("ip link").contains("x0@"), "{script}");
    }
    let foreign =
        |name: &str| format!("firewall/a has an interface called {name} already that is not the chain's");
    a.run("ip link set out0 down; ip link set out0 address 02:00:00:00:00:01");
    eventually("another hardware address is told", || chain.status().contains(&foreign("out0")));
    a.run("ip link delete out0");
    eventually("it is whole again", whole);
    // Under one another's names: nfio takes away no link that it does not know.
    a.run("ip link set in0 down; ip link set out0 down; ip link set in0 name x0; ip link set out0 name in0; ip link set x0 name out0");
    eventually("the clash is told", || {
        chain.status().contains("firewall/a has an interface called in0 already that is not the chain's")
            || chain
                .status()
                .contains("firewall/a has an interface called out0 already that is not the chain's")
    });
    assert_eq!(others.status(), "running");
    assert!(theirs.0.reaches(SERVER));
    assert_eq!((theirs.0.state(), theirs.1.state()), untouched);
    // Whatever it has made of its side, it cannot keep what is at the others'.
    chain.act("destroy");
    assert_eq!((ours.0.state(), ours.1.state()), before);
    a.act("restart");
    chain.act("activate");
    assert!(whole());
    // Links of its own with names and hardware addresses of the chain's are taken for them: the loss is its own.
    let script = "hw=$(cat /sys/class/net/in0/address); ip link set in0 down; ip link set in0 name x0; \
                  ip link add in0 address $hw type veth peer name y0";
    a.run(script);
    assert!(theirs.0.reaches(SERVER) && others.status() == "running");
    chain.act("destroy");
    assert_eq!((ours.0.state(), ours.1.state()), before);
    assert_eq!((theirs.0.state(), theirs.1.state()), untouched);
}

#[test]
fn a_member_that_forwards_no_more_is_told() {
    let mounted = Mounted::new();
    let ends = ends();
    let a = running(&mounted, "a");
    let chain = active(&mounted, "edge", &ends, &a);
    within(&mounted, &a, "echo 0 > /proc/sys/net/ipv4/ip_forward");
    eventually("it is told", || chain.status() == "degraded: firewall/a does not forward packets");
    assert!(!ends.0.reaches(SERVER));
    within(&mounted, &a, "echo 1 > /proc/sys/net/ipv4/ip_forward");
    eventually("it is well again", || chain.status() == "running" && ends.0.reaches(SERVER));
    // As it is by its own configuration, from its next start on.
    a.put("config/boot.conf", "sysctls = { \"net.ipv4.ip_forward\" = \"0\" }\n");
    a.act("destroy");
    a.act("activate");
    eventually("it is told", || chain.status() == "degraded: firewall/a does not forward packets");
}

#[test]
fn a_guest_that_claims_anothers_address_or_speaks_ipv6_reaches_no_further_than_its_own_links() {
    let mounted = Mounted::new();
    let ends = ends();
    let a = running(&mounted, "a");
    let chain = active(&mounted, "edge", &ends, &a);
    let link = ends.0.sh("ip -o link | sed -n 's/^[0-9]*: \\(nfc[^@]*\\)@.*/\\1/p'").trim().to_owned();
    let neighbours = || ends.0.sh(&format!("ip neigh show dev {link}"));
    let known = neighbours();
    assert!(known.contains("PERMANENT"), "{known}");
    // Answers that nobody has asked for: another hardware address for the guest's own side, and for the server.
    let gateway = known.split_whitespace().next().expect("an address").to_owned();
    let script = format!(
        "python3 - <<'END'\nimport socket\ns = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)\ns.bind(('in0', 0))\n\
         for who in ['{gateway}', '{SERVER}']:\n  liar = b'\\x02\\x66\\x66\\x66\\x66\\x66'\n  \
         arp = b'\\x00\\x01\\x08\\x00\\x06\\x04\\x00\\x02' + liar + socket.inet_aton(who) + b'\\xff' * 6 + socket.inet_aton(who)\n  \
         for n in range(3): s.send(b'\\xff' * 6 + liar + b'\\x08\\x06' + arp)\nEND"
    );
    within(&mounted, &a, &script);
    assert!(ends.0.reaches(SERVER));
    assert_eq!(neighbours(), known);

    // It may speak IPv6, nobody at the other side of its links does.
    let asks = || {
        let script = "echo 0 > /proc/sys/net/ipv6/conf/in0/disable_ipv6; ip -6 address replace fd00::1/64 dev in0 nodad; \
                      ping -6 -c 1 -W 1 fd00::2 >/dev/null 2>&1 && echo answered || echo silence";
        within(&mounted, &a, script).trim().to_owned()
    };
    let address = format!("ip -6 address add fd00::2/64 dev {link} nodad");
    assert!(!ends.0.command("sh").args(["-ec", &address]).output().expect("ip").status.success());
    assert_eq!(asks(), "silence");
    assert_eq!(chain.status(), "running");
    // It is the chain that sees to it.
    ends.0.sh(&format!("echo 0 > /proc/sys/net/ipv6/conf/{link}/disable_ipv6; {address}"));
    eventually("with IPv6 there it is answered", || asks() == "answered");
}
