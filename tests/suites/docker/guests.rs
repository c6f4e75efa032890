//! Guests themselves: their commands, their environment, what is done in them.

use super::listed;
use nfio_tests::{Engine, Mounted, Options, errno};
use std::time::{Duration, Instant};

#[test]
fn one_whose_command_is_sleep_stops_when_it_is_asked_to() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("sleep");
    fw.put("config/boot.conf", "command = [\"sleep\", \"100000\"]\n");
    fw.act("activate");
    let start = Instant::now();
    fw.act("stop");
    // It would be killed after ten.
    assert!(start.elapsed() < Duration::from_secs(4), "stop took {:?}", start.elapsed());
    println!("stop of sleep: {:?}", start.elapsed());
    fw.act("destroy");
}

#[test]
fn an_edit_of_the_host_counts_from_the_next_activate() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("edited");
    fw.act("activate");
    fw.put("machine/ip", "10.0.0.2\n");
    fw.put("machine/vm.image", "nosuch\n");
    assert_eq!((fw.status(), fw.run("echo here")), ("running".into(), "here".into()));
    for verb in ["stop", "start", "restart", "pause", "unpause", "reload"] {
        fw.act(verb);
    }
    mounted.kill();
    nfio_tests::eventually("the mount is stale", || {
        errno(std::fs::read_dir(mounted.path())) == libc::ENOTCONN
    });
    mounted.mount();
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
    assert!(listed(engine, &mounted).is_empty());
    assert_eq!(errno(fw.try_act("activate")), libc::ECONNREFUSED);
    let error = fw.get("last_error");
    assert!(error.contains("10.0.0.2"), "{error}");
}

#[test]
fn what_prepare_asks_for_holds_at_every_start_and_leaves_nothing() {
    let engine = Engine::local();
    let place = engine.by_socket();
    let mounted = Mounted::with_odd(Options { place, ..Options::default() });
    let odd = mounted.odd("prepared");
    let images = || engine.docker(&["image", "ls", "-aq"]);
    let before = images();
    let asks = |value: &str| odd.put("say", &format!("prepare: env ODD {value}\n"));
    let has = || odd.run("tr '\\0' '\\n' </proc/1/environ | sed -n s/^ODD=//p");
    asks("one");
    odd.act("activate");
    assert_eq!(has(), "one");
    odd.run("echo kept >/root-file");
    // The same again, and others after it: the container is another one, its layer is the same.
    for value in ["one", "two", "three"] {
        asks(value);
        odd.act("restart");
        assert_eq!((has().as_str(), odd.run("cat /root-file").as_str()), (value, "kept"));
        assert_eq!(listed(engine, &mounted), ["root-odd-prepared running"]);
    }
    odd.put("say", "prepare: command sleep 4711\n");
    odd.act("restart");
    assert!(odd.run("ps").contains("sleep 4711"));
    odd.put("say", "");
    odd.act("restart");
    assert!(!odd.run("ps").contains("sleep 4711"), "the image's own command is back");
    assert_eq!(odd.run("cat /root-file"), "kept");
    odd.act("destroy");
    assert!(listed(engine, &mounted).is_empty());
    let shared: Vec<_> = before.lines().map(str::to_owned).collect();
    let label = engine.docker(&["image", "ls", "-aq", "--filter", "label=io.nfio.id"]);
    assert_eq!(label, "", "images of layers are left; before there were {shared:?}");
}

#[test]
fn commands_have_their_streams_their_code_and_two_mebibytes() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("commands");
    fw.act("activate");
    assert_eq!(fw.run("echo out; echo err >&2"), "out\nerr");
    for (script, code, words) in [
        ("echo because >&2; exit 7", "exit code 7", "because"),
        ("nosuchprogram", "exit code 127", "not found"),
    ] {
        assert_eq!(errno(fw.try_write("command", script)), libc::EREMOTEIO);
        let error = fw.get("last_error");
        assert!(error.contains(code) && error.contains(words), "{script}: {error}");
    }
    assert_eq!(fw.run("head -c 2097152 /dev/zero | tr '\\0' x").len(), 2 << 20);
    let script = format!("x={}; echo ${{#x}}", "y".repeat(100_000));
    assert_eq!(fw.run(&script), "100000");
    fw.act("pause");
    assert_eq!(errno(fw.try_write("command", "true")), libc::EHOSTDOWN);
    fw.act("destroy");
}

#[test]
fn limits_and_files_of_boot_conf_reach_the_guest() {
    let engine = Engine::local();
    let mounted = Mounted::on(engine.by_socket());
    let fw = mounted.firewall("limits");
    fw.put("machine/vm.vcpu", "0.5\n");
    fw.put("machine/vm.memory", "64M\n");
    fw.put("config/motd", "hello\n");
    fw.put(
        "config/boot.conf",
        "hostname = \"edge\"\n[env]\nTZ = \"UTC\"\n[sysctls]\n\"net.ipv4.conf.all.rp_filter\" = \"0\"\n\
         [[file]]\nsource = \"motd\"\ntarget = \"/etc/motd\"\nmode = 0o600\n[[port]]\nhost = 18080\nguest = 80\n",
    );
    fw.act("activate");
    assert_eq!(fw.run("hostname; cat /etc/motd; stat -c %a /etc/motd; echo $TZ"), "edge\nhello\n600\nUTC");
    let format = "{{.HostConfig.NanoCpus}} {{.HostConfig.Memory}} {{.HostConfig.RestartPolicy.Name}} \
                  {{.HostConfig.Init}} {{.HostConfig.Privileged}} {{index .HostConfig.Sysctls \"net.ipv4.conf.all.rp_filter\"}}";
    let told = engine.docker(&["inspect", "-f", format, "root-firewall-limits"]);
    assert_eq!(told, "500000000 67108864 no true false 0");
    let port = engine.docker(&["port", "root-firewall-limits"]);
    assert!(port.contains("80/tcp -> ") && port.contains(":18080"), "{port}");
    fw.act("destroy");
}
