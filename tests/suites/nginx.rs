//! The type `nginx`: pages fetched through real guests.

use nfio_tests::{Instance, Mounted, Server, errno, eventually, get, ok};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

/// A configuration whose every page is `page`.
fn says(page: &str) -> String {
    format!("events {{}}\nhttp {{\n  server {{\n    listen 80;\n    return 200 \"{page}\";\n  }}\n}}\n")
}

fn server(of: &Instance) -> SocketAddr {
    SocketAddr::new(of.address(), 80)
}

/// The page at `/`, or why there is none.
fn page(of: &Instance) -> String {
    get(server(of), "/").map_or_else(|e| e.to_string(), |page| page.body)
}

#[test]
fn it_serves_what_nf_conf_says_and_a_reload_is_in_force_when_it_returns() {
    let mounted = Mounted::new();
    let web = mounted.of_debian("nginx", "web-a");
    assert_eq!(web.get("machine/vm.image"), nfio_tests::debian("nginx").display().to_string());
    web.act("activate");
    assert!(page(&web).contains("without a configuration of its own"), "the image's own: {}", page(&web));

    for word in ["one", "two", "three"] {
        web.put("config/nf_conf", &says(word));
        web.act("reload");
        assert_eq!(page(&web), word);
    }
    web.act("stop");
    web.put("config/nf_conf", &says("edited"));
    web.act("start");
    assert_eq!(page(&web), "edited", "nf_conf is in force after a start");
    web.act("restart");
    assert_eq!(page(&web), "edited");

    web.put("config/nf_conf", "");
    web.act("reload");
    assert!(
        page(&web).contains("without a configuration of its own"),
        "the image's own again: {}",
        page(&web)
    );
}

#[test]
fn it_stands_before_another_server() {
    let mounted = Mounted::new();
    let web = mounted.of_debian("nginx", "web-a");
    web.act("activate");
    let behind = Server::start();
    let url = behind.url(web.address(), "");
    let location = format!("location / {{ proxy_pass {url}; }}");
    web.put("config/nf_conf", &format!("events {{}} http {{ server {{ listen 80; {location} }} }}"));
    web.act("reload");
    assert_eq!(ok("a page", get(server(&web), "/far")).body, "page 1 of /far");
}

#[test]
fn a_refused_nf_conf_leaves_the_running_one_and_its_error_is_nginxs() {
    let mounted = Mounted::new();
    let web = mounted.of_debian("nginx", "web-a");
    web.put("config/nf_conf", "events {}\nhttp {\n  sevrer { }\n}\n");
    assert_eq!(errno(web.try_act("activate")), libc::EINVAL);
    let error = web.get("last_error");
    assert!(error.contains("720") && error.contains("unknown directive \"sevrer\""), "{error}");
    assert!(error.contains("nf_conf:3"), "it names the line: {error}");
    assert_eq!(web.status(), "undeployed", "all is rolled back");

    web.put("config/nf_conf", &says("good"));
    web.act("activate");
    let refused = [
        ("http {", "unexpected end of file"),
        ("daemon off;\nevents {}", "\"daemon\" directive is duplicate"),
        ("events {}\nhttp { server { listen 192.0.2.1:80; } }", "192.0.2.1:80"),
    ];
    for (text, words) in refused {
        web.put("config/nf_conf", text);
        assert_eq!(errno(web.try_act("reload")), libc::EINVAL, "{text}");
        let error = web.get("last_error");
        assert!(error.contains("720") && error.contains(words), "{error}");
        assert_eq!(page(&web), "good", "after {text}");
    }
    // Nor does one that is refused survive in the guest: nginx reads its files again.
    web.put("command", "reload\n");
    assert_eq!(page(&web), "good");
    web.act("stop");
    assert_eq!(errno(web.try_act("start")), libc::EINVAL);
    assert_eq!(web.status(), "exited");
}

#[test]
fn command_takes_nginxs_own_words() {
    let mounted = Mounted::new();
    let web = mounted.of_debian("nginx", "web-a");
    assert_eq!(errno(web.try_write("command", "start\n")), libc::ENXIO);
    web.put("config/nf_conf", &says("here"));
    web.act("activate");
    assert_eq!(web.get("command"), "# takes one of: start stop quit reload reopen");
    for stop in ["stop", "quit"] {
        ok(stop, web.try_write("command", &format!("{stop}\n")));
        assert_eq!(errno(get(server(&web), "/")), libc::ECONNREFUSED, "after {stop}");
        assert_eq!(web.status(), "running", "the guest goes on");
        assert_eq!(errno(web.try_write("command", "reload\n")), libc::EREMOTEIO);
        assert!(web.get("last_error").contains("nginx does not run"), "{}", web.get("last_error"));
        ok("start", web.try_write("command", "start"));
        assert_eq!(page(&web), "here", "start after {stop}");
    }
    ok("start of one that runs", web.try_write("command", "start\n"));

    // What stands in the guest, reload has nginx read.
    ok("shell", web.try_write("shell", "sed -i s/here/there/ /etc/nginx/nginx.conf; echo done\n"));
    assert_eq!(web.get("output"), "done");
    assert_eq!(page(&web), "here");
    ok("reload", web.try_write("command", "reload\n"));
    assert_eq!(page(&web), "there");

    for wrong in ["bogus", "start stop", "restart; reboot"] {
        assert_eq!(errno(web.try_write("command", wrong)), libc::EINVAL, "{wrong}");
        let error = web.get("last_error");
        assert!(error.contains("start stop quit reload reopen"), "{error}");
    }
    // Its next configuration counts from its next start: somebody wanted it stopped.
    ok("stop", web.try_write("command", "stop\n"));
    web.put("config/nf_conf", &says("later"));
    web.act("reload");
    assert_eq!(errno(get(server(&web), "/")), libc::ECONNREFUSED);
    ok("start", web.try_write("command", "start\n"));
    assert_eq!(page(&web), "later");
}

#[test]
fn the_access_log_has_every_request_and_can_be_followed() {
    let mounted = Mounted::new();
    let web = mounted.of_debian("nginx", "web-a");
    web.put("config/nf_conf", &says("hello"));
    web.act("activate");
    assert_eq!(web.get("access_log"), "");
    ok("a page", get(server(&web), "/first"));
    let path = web.file("access_log");
    let mut open = File::open(&path).expect("open");
    let mut text = String::new();
    eventually("the request in the log", || {
        open.read_to_string(&mut text).expect("read");
        text.contains("GET /first")
    });
    let wc = Command::new("wc").arg("-c").arg(&path).output().expect("wc");
    assert!(String::from_utf8_lossy(&wc.stdout).starts_with(&format!("{} ", text.len())), "{wc:?}");
    assert_eq!(fs::metadata(&path).expect("stat").len(), text.len() as u64);

    ok("a page", get(server(&web), "/second"));
    let mut rest = String::new();
    eventually("what comes later, from the same descriptor", || {
        open.read_to_string(&mut rest).expect("read");
        rest.contains("GET /second")
    });
    assert!(!rest.contains("/first"), "{rest}");

    let mut tail =
        Command::new("tail").args(["-n", "1", "-f"]).arg(&path).stdout(Stdio::piped()).spawn().expect("tail");
    let mut lines = BufReader::new(tail.stdout.take().expect("its output")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    assert!(next().contains("/second"));
    ok("a page", get(server(&web), "/third"));
    assert!(next().contains("/third"));

    ok("reopen", web.try_write("command", "reopen\n"));
    ok("a page", get(server(&web), "/fourth"));
    assert!(next().contains("/fourth"), "logs go on after reopen");
    tail.kill().expect("kill");
    tail.wait().expect("wait");
    let log = web.get("log");
    assert!(!log.contains("Permission denied"), "{log}");

    web.act("stop");
    assert!(web.get("access_log").contains("GET /fourth"), "it is there while the guest does not run");
}

#[test]
fn an_nginx_that_fails_ends_its_guest_and_the_next_start_serves_again() {
    let mounted = Mounted::new();
    let web = mounted.of_debian("nginx", "web-a");
    web.put("config/nf_conf", &says("here"));
    web.act("activate");
    // The shell that says so ends with its guest, or just before.
    let _ = web.try_write("shell", "kill -9 $(cat /dev/shm/nfio/pid)\n");
    eventually("the guest ends", || web.status() == "exited");
    web.act("start");
    assert_eq!(page(&web), "here");
}
