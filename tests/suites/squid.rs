//! The type `squid`: pages fetched by its proxy.

use nfio_tests::{Instance, Mounted, Server, errno, eventually, get, ok};
use std::io::Read;
use std::net::SocketAddr;

const OPEN: &str = "http_port 3128\nhttp_access allow all\n";

fn proxy(of: &Instance) -> SocketAddr {
    SocketAddr::new(of.address(), 3128)
}

#[test]
fn it_fetches_pages_and_refuses_what_nf_conf_refuses() {
    let mounted = Mounted::new();
    let cache = mounted.of_debian("squid", "cache-a");
    cache.act("activate");
    let origin = Server::start();
    let url = |path| origin.url(cache.address(), path);
    let page = ok("a page, by the image's own configuration", get(proxy(&cache), &url("/a")));
    assert_eq!((page.status, page.body.as_str()), (200, "page 1 of /a"));

    cache.put(
        "config/nf_conf",
        &format!("acl secret urlpath_regex ^/secret\nhttp_access deny secret\n{OPEN}"),
    );
    cache.act("reload");
    assert_eq!(ok("a page", get(proxy(&cache), &url("/b"))).body, "page 2 of /b");
    assert_eq!(ok("an answer", get(proxy(&cache), &url("/secret/c"))).status, 403);
    assert_eq!(origin.requests(), 2, "the refused one was never asked for");

    cache.act("stop");
    cache.act("start");
    assert_eq!(ok("an answer", get(proxy(&cache), &url("/secret/d"))).status, 403, "also after a start");
    assert_eq!(ok("a page", get(proxy(&cache), &url("/e"))).body, "page 3 of /e");
}

#[test]
fn a_refused_nf_conf_leaves_the_running_one_and_its_error_is_squids() {
    let mounted = Mounted::new();
    let cache = mounted.of_debian("squid", "cache-a");
    cache.put("config/nf_conf", "http_port 3128\nacl a srrc 10.0.0.0/8\n");
    assert_eq!(errno(cache.try_act("activate")), libc::EINVAL);
    let error = cache.get("last_error");
    assert!(error.contains("720") && error.contains("Invalid ACL type 'srrc'"), "{error}");
    assert!(error.contains("nf_conf line 2"), "it names the line: {error}");
    assert_eq!(cache.status(), "undeployed", "all is rolled back");

    cache.put("config/nf_conf", OPEN);
    cache.act("activate");
    let origin = Server::start();
    let refused = [
        ("http_port 3128\nhttp_acess allow all\n", "unrecognized: 'http_acess'"),
        // Squid itself ends over these.
        ("http_port 192.0.2.1:3128\n", "squid did not survive"),
        ("http_access allow all\n", "squid did not survive"),
    ];
    for (text, words) in refused {
        cache.put("config/nf_conf", text);
        assert_eq!(errno(cache.try_act("reload")), libc::EINVAL, "{text}");
        let error = cache.get("last_error");
        assert!(error.contains("720") && error.contains(words), "{error}");
        let page = ok("a page", get(proxy(&cache), &origin.url(cache.address(), "/x")));
        assert_eq!(page.status, 200, "after {text}");
    }
    assert_eq!(cache.status(), "running");
}

#[test]
fn the_access_log_has_every_request() {
    let mounted = Mounted::new();
    let cache = mounted.of_debian("squid", "cache-a");
    cache.put("config/nf_conf", &format!("{OPEN}cache_dir ufs /var/spool/squid 10 4 4\n"));
    cache.act("activate");
    let origin = Server::start();
    ok("a page", get(proxy(&cache), &origin.url(cache.address(), "/first")));
    eventually("the request in the log", || cache.get("access_log").contains("/first"));
    let mut open = std::fs::File::open(cache.file("access_log")).expect("open");
    let mut text = String::new();
    open.read_to_string(&mut text).expect("read");
    ok("a page", get(proxy(&cache), &origin.url(cache.address(), "/second")));
    let mut rest = String::new();
    eventually("what comes later, from the same descriptor", || {
        open.read_to_string(&mut rest).expect("read");
        rest.contains("/second")
    });
    assert!(!rest.contains("/first"), "{rest}");

    let kept = cache.run("ls /var/spool/squid/swap.state; find /var/log -type f\n");
    assert_eq!(
        kept, "/var/spool/squid/swap.state",
        "the cache has its directories, and no log grows in the guest"
    );
}
