//! What cannot be a chain is refused in a sentence, and nothing is half wired.

use super::{ends, leases, running};
use nfio_tests::{Instance, Mounted, Options, Space, errno, image, ok, state_of};
use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

/// Activates what must be refused, with these words in last_error and nothing wired.
#[track_caller]
fn refused(chain: &Instance, expected: i32, words: &str) {
    assert_eq!(errno(chain.try_act("activate")), expected, "{}", chain.get("last_error"));
    let told = chain.get("last_error");
    assert!(told.contains("operation: activate\n") && told.contains(words), "{words} in {told}");
    assert_eq!(chain.status(), "undeployed");
}

#[test]
fn every_mistake_is_told_and_nothing_is_half_wired() {
    let mounted = Mounted::new();
    let (client, server) = ends();
    let ends = [client.end(), server.end()];
    let ends = [ends[0].as_str(), ends[1].as_str()];
    let (a, b) = (running(&mounted, "a"), running(&mounted, "b"));
    let never = mounted.firewall("never");
    let stopped = running(&mounted, "stopped");
    stopped.act("stop");
    // A type without the skeleton: no guest, no action.
    let web = mounted.instance("random", "web");
    ok("mkdir", fs::create_dir(web.path()));
    let before = (client.state(), server.state(), a.run(&state_of()));
    let mut number = 0;
    let mut chain = |ends: [&str; 2], nodes: &[(&str, &[&Instance], &[&str])]| {
        number += 1;
        mounted.chain(&format!("c{number}"), ends, nodes)
    };

    refused(&chain(ends, &[]), libc::EINVAL, "has no start");
    refused(&chain(ends, &[("x", &[&a], &["y"]), ("y", &[&b], &["x"])]), libc::EINVAL, "loop (x -> y -> x)");
    refused(&chain(ends, &[("x", &[&a], &["gone"])]), libc::EINVAL, "x/next points to \"../gone\"");
    refused(&chain(ends, &[("x", &[], &[])]), libc::EINVAL, "the node x has no instance");
    refused(
        &chain(ends, &[("x", &[&never], &[])]),
        libc::ENXIO,
        "firewall/never at the node x is not deployed",
    );
    refused(
        &chain(ends, &[("x", &[&stopped], &[])]),
        libc::EHOSTDOWN,
        "firewall/stopped at the node x is exited",
    );
    refused(
        &chain(ends, &[("x", &[&a], &["y"]), ("y", &[&a], &[])]),
        libc::EINVAL,
        "stands at two places (x and y)",
    );
    refused(&chain(ends, &[("x", &[&a], &[]), ("lost", &[&b], &[])]), libc::EINVAL, "lost is not reached");
    refused(&chain(["none9", ends[1]], &[("x", &[&a], &[])]), libc::EINVAL, "ingress names none9");
    refused(&chain([ends[0], "netns:none9"], &[("x", &[&a], &[])]), libc::EINVAL, "ip netns add none9");
    refused(&chain([ends[0], ends[0]], &[("x", &[&a], &[])]), libc::EINVAL, "are both netns:");
    refused(&chain(["", ends[1]], &[("x", &[&a], &[])]), libc::EINVAL, "ingress is empty");
    refused(&chain(["netns:../x", ends[1]], &[("x", &[&a], &[])]), libc::EINVAL, "which is no name");
    refused(&chain(ends, &[("x", &[&web], &[])]), libc::EINVAL, "random/web");

    // Links that lead elsewhere, by their text or by what is at their end.
    for (text, words) in [
        ("../../../nf-types/firewall/none", "there is no nf-types/firewall/none/action"),
        ("/srv/nf-types/firewall/a", "which is no instance below nf-types/"),
        ("../../../../etc", "which is no instance below nf-types/"),
    ] {
        let odd = chain(ends, &[("x", &[], &[])]);
        ok("symlink", symlink(text, odd.file("x/a")));
        refused(&odd, libc::EINVAL, words);
    }
    // A guest that does not forward would be the end of the chain.
    let deaf = mounted.firewall("deaf");
    deaf.put("config/boot.conf", "sysctls = { \"net.ipv4.ip_forward\" = \"0\" }\n");
    deaf.act("activate");
    refused(&chain(ends, &[("x", &[&deaf], &[])]), libc::EINVAL, "firewall/deaf does not forward packets");
    // Addresses that links would get are others': an end's, and a guest's.
    let crowded = Space::new(&["10.204.7.1/24"]);
    let words = format!("{} has the network 10.204.7.1/32 (lo), which overlaps 10.204.0.0/16", crowded.end());
    refused(&chain([&crowded.end(), ends[1]], &[("x", &[&a], &[])]), libc::EINVAL, &words);
    stopped.act("start");
    stopped.run("ip address add 10.204.9.1/24 dev eth0");
    let words = "firewall/stopped has the network 10.204.9.0/24 (eth0), which overlaps 10.204.0.0/16";
    refused(&chain(ends, &[("x", &[&stopped], &[])]), libc::EINVAL, words);
    // Something of the guest's own stands where a link would be: what was made before it is taken away again.
    b.run("ip link add in0 type veth peer name other9");
    let clash = chain(ends, &[("x", &[&a], &["y"]), ("y", &[&b], &[])]);
    refused(&clash, libc::EINVAL, "firewall/b has an interface called in0 already");
    let word = chain(ends, &[("x", &[&a], &[])]);
    assert_eq!(errno(word.try_act("pause")), libc::EINVAL);
    assert!(word.get("last_error").contains("is no verb of a chain"), "{}", word.get("last_error"));

    assert_eq!((client.state(), server.state(), a.run(&state_of())), before);
    assert_eq!(leases(&mounted), [""; 0]);
    // An absolute link into the mount is as good as a relative one.
    let absolute = chain(ends, &[("x", &[], &[])]);
    ok("symlink", symlink(a.path(), absolute.file("x/a")));
    absolute.act("activate");
    assert_eq!(absolute.status(), "running");
}

#[test]
fn a_subnet_of_chains_that_guests_have_too_is_refused_at_the_mount_with_both_keys() {
    let config = "[chains]\nsubnet = \"10.203.128.0/17\"\n".to_owned();
    let mounted = Mounted::unmounted(Options { config, ..Options::default() });
    let refused = mounted.try_mount();
    let told = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success(), "{told}");
    let both = "[oci] subnet \"10.203.0.0/16\" and [chains] subnet \"10.203.128.0/17\" overlap";
    assert!(told.contains(both), "{told}");
}

#[test]
fn a_tenants_chain_needs_the_ends_granted_and_the_members_handed_over() {
    let (client, server) = ends();
    let images = image().parent().expect("the images").display();
    let config = |ends: &str| format!("[policy]\nchain_ends = [{ends}]\n[oci]\nimages = \"{images}\"\n");
    let arguments = vec!["-o".to_owned(), "allow_other".to_owned()];
    let mounted = Mounted::with(Options { arguments, config: config(""), ..Options::default() });
    let fw = running(&mounted, "fw");
    let chain = mounted.chain("edge", [&client.end(), &server.end()], &[("x", &[&fw], &[])]);
    // Whoever may write the node decides where the traffic goes.
    ok("chown", chown(chain.file("x"), Some(4711), Some(4711)));
    refused(&chain, libc::EPERM, "is not granted to user id 4711, who can change x");
    mounted.umount();
    mounted.configure(&config(&format!("\"{}\", \"{}\"", client.end(), server.end())));
    mounted.mount();
    refused(&chain, libc::EPERM, "may not write action of firewall/fw");
    ok("chown", chown(fw.file("action"), Some(0), Some(4711)));
    refused(&chain, libc::EPERM, "may not write action of firewall/fw");
    ok("chmod", fs::set_permissions(fw.file("action"), fs::Permissions::from_mode(0o646)));
    chain.act("activate");
    assert_eq!(chain.status(), "running");
}
