//! Bad input and bad engines: the right class of error, and a sentence that helps.

use nfio_tests::{Engine, Instance, Mounted, NOBODY, Options, Place, errno, eventually};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::chown;
use std::thread;
use std::time::{Duration, Instant};

/// A verb that must fail with this errno, and leave this code and all these words in `last_error`.
#[track_caller]
fn fails(fw: &Instance, verb: &str, number: i32, code: &str, words: &[&str]) {
    let outcome = fw.try_act(verb);
    let error = fw.get("last_error");
    assert_eq!(errno(outcome), number, "{verb}: {error}");
    assert!(error.contains(&format!("code: {code}")), "{error}");
    for word in words {
        assert!(error.contains(word), "{word:?} is not in {error}");
    }
}

fn insecure(port: u16) -> Place {
    Place {
        hypervisor: "Docker",
        host: "127.0.0.2".into(),
        config: format!("[hosts.\"127.0.0.2\"]\ninsecure = true\nport = {port}\n"),
        ..Place::default()
    }
}

/// A server on 127.0.0.2 that does this with each connection.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.2:0").expect("bind");
    let port = listener.local_addr().expect("an address").port();
    thread::spawn(move || listener.incoming().flatten().for_each(serve));
    port
}

#[test]
fn an_unreachable_host() {
    // A port that nobody listens on, and a host that no entry speaks of.
    let mounted = Mounted::on(insecure(9));
    let fw = mounted.firewall("unreachable");
    fails(&fw, "activate", libc::ECONNREFUSED, "701", &["127.0.0.2", "refused"]);
    assert_eq!(fw.status(), "undeployed");
    fw.put("machine/ip", "192.0.2.7\n");
    fails(&fw, "activate", libc::ECONNREFUSED, "701", &["192.0.2.7", "[hosts.\"192.0.2.7\"]"]);
}

#[test]
fn a_missing_a_wrong_and_an_unknown_certificate() {
    let engine = Engine::remote();
    let tls = engine.tls();
    let tls = tls.display();
    let words = |ca: &str, cert: &str, key: &str, words: &[&str]| {
        let files = format!("{{ ca = \"{tls}/{ca}\", cert = \"{tls}/{cert}\", key = \"{tls}/{key}\" }}");
        let config = format!("[hosts.\"{}\"]\ntls = {files}\n", engine.address());
        let mounted = Mounted::on(Place { config, ..engine.by_tls() });
        let fw = mounted.firewall("certificate");
        fails(&fw, "activate", libc::ECONNREFUSED, "701", words);
        assert_eq!(fw.status(), "undeployed");
    };
    words("ca.pem", "nosuch.pem", "key.pem", &["nosuch.pem", "No such file"]);
    words("ca.pem", "other-cert.pem", "other-key.pem", &["ertificate"]);
    words("other-ca.pem", "cert.pem", "key.pem", &["ertificate"]);
    // A key that is none.
    words("ca.pem", "cert.pem", "server.ext", &["server.ext"]);
    // One of another certificate, and files of the wrong kind.
    words("ca.pem", "cert.pem", "other-key.pem", &["alert"]);
    words("ca.pem", "cert.pem", "cert.pem", &["alert"]);
    words("ca.pem", "key.pem", "key.pem", &["alert"]);
    words("key.pem", "cert.pem", "key.pem", &["ertificate"]);
}

#[test]
fn an_engine_that_accepts_and_never_answers() {
    let port = server(|connection| {
        // Kept open for as long as anybody may ask.
        std::mem::forget(connection);
    });
    let mounted = Mounted::on(insecure(port));
    let fw = mounted.firewall("mute");
    let start = Instant::now();
    fails(&fw, "activate", libc::ECONNREFUSED, "701", &["127.0.0.2", "no answer"]);
    assert!(start.elapsed() < Duration::from_secs(20), "{:?}", start.elapsed());
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn an_engine_of_another_age() {
    let refusal = "client version 1.99 is too new. Maximum supported API version is 1.10";
    let port = server(move |connection| {
        let mut lines = BufReader::new(&connection).lines();
        while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
        let body = format!("{{\"message\":\"{refusal}\"}}");
        // Whoever hangs up first needs no answer.
        let _ = write!(
            &connection,
            "HTTP/1.1 400 Bad Request\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        );
    });
    let mounted = Mounted::on(insecure(port));
    let fw = mounted.firewall("old");
    fails(&fw, "activate", libc::ECONNREFUSED, "701", &["127.0.0.2", "too new", "upgrade"]);
}

#[test]
fn no_engine_at_all_behind_the_port() {
    let port = server(|mut connection| {
        let _ = connection.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
    });
    let mounted = Mounted::on(insecure(port));
    let fw = mounted.firewall("other");
    fails(&fw, "activate", libc::ECONNREFUSED, "701", &["127.0.0.2"]);
}

#[test]
fn images_that_cannot_be() {
    let engine = Engine::local();
    let nothing = tempfile::tempdir_in("/run").expect("a directory");
    fs::write(nothing.path().join("file"), "x").expect("a file");
    engine.import("commandless", nothing.path(), "");
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("images");
    for (image, number, code, words) in [
        ("commandless", libc::EIO, "705", "command"),
        ("127.0.0.1:9/nosuch:1", libc::EIO, "705", "pull"),
        ("/srv/images/box", libc::EINVAL, "720", "docker image ls"),
        ("", libc::EINVAL, "713", "vm.image"),
    ] {
        fw.put("machine/vm.image", &format!("{image}\n"));
        fails(&fw, "activate", number, code, &[words]);
        assert_eq!(fw.status(), "undeployed", "{image}");
    }
    // A command that the image does not have: told at the start, and nothing is left.
    fw.put("machine/vm.image", "firewall\n");
    fw.put("config/boot.conf", "command = [\"/nosuch\"]\n");
    fails(&fw, "activate", libc::EIO, "705", &["/nosuch"]);
    assert!(super::listed(engine, &mounted).is_empty());
}

#[test]
fn a_pull_from_nowhere_tells_the_engines_words() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("pull");
    fw.put("machine/vm.image", "127.0.0.1:9/nosuch:1\n");
    fw.put("config/boot.conf", "pull = true\n");
    fails(&fw, "activate", libc::EIO, "705", &["127.0.0.1:9"]);
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn a_name_that_is_taken() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("taken");
    let id = engine.docker(&["run", "-d", "--name", "root-firewall-taken", "firewall"]);
    fails(&fw, "activate", libc::EIO, "705", &["root-firewall-taken", &id[..12], "by hand"]);
    assert_eq!(fw.status(), "undeployed");
    assert_eq!(engine.docker(&["inspect", "-f", "{{.Id}} {{.State.Status}}", &id]), format!("{id} running"));
    engine.docker(&["rm", "-f", &id]);
    fw.act("activate");
    // Another ROOT's guest is as safe.
    let other = Mounted::on(engine.by_socket());
    let same = other.firewall("taken");
    fails(&same, "activate", libc::EIO, "705", &["another ROOT", &mounted.uuid()]);
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
}

#[test]
fn a_full_disk() {
    let engine = Engine::with_disk("size=120m");
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("full");
    fw.act("activate");
    let fill = engine.fill_disk();
    let next = mounted.firewall("full-2");
    fails(&next, "activate", libc::EIO, "705", &["no space left on device"]);
    assert_eq!((next.status(), fw.status()), ("undeployed".into(), "running".into()));
    fs::remove_file(fill).expect("room");
    next.act("activate");
    next.act("destroy");
    fw.act("destroy");
}

#[test]
fn a_host_that_policy_does_not_grant() {
    let engine = Engine::local();
    let mounted = Mounted::with(Options {
        config: "[policy]\nhosts = [\"192.0.2.7\"]\n".into(),
        place: engine.by_socket(),
        ..Options::default()
    });
    let fw = mounted.firewall("policy");
    for file in ["", "config/boot.conf", "machine/ip", "machine/vm.image"] {
        chown(fw.file(file), Some(NOBODY), Some(NOBODY)).expect("chown");
    }
    fails(&fw, "activate", libc::EPERM, "727", &["machine/ip", "hosts"]);
    assert!(super::listed(engine, &mounted).is_empty());
}

#[test]
fn a_guest_whose_host_is_gone_for_good_can_be_forgotten() {
    let engine = Engine::start();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("forgotten");
    fw.act("activate");
    engine.kill();
    eventually("it does not answer", || errno(fw.try_get("status")) == libc::ECONNREFUSED);
    fails(&fw, "destroy", libc::ECONNREFUSED, "701", &["docker.sock"]);
    fw.act("forget");
    assert_eq!(fw.status(), "undeployed");
}
