//! Judging a specification, and making a guest of it.

use nfio_host::hypervisor::{Guest, GuestSpec, Prepared, Status};

use crate::stage::{Stage, accepted, execution, file, refused};

pub(crate) fn check_names_the_key_that_it_refuses(stage: &Stage) {
    let everywhere = [
        ("user = \"root\"", "user"),
        ("user = \"4294967295\"", "user"),
        ("hostname = \"a b\"", "hostname"),
        ("dns = [\"ns.example\"]", "dns"),
        ("command = []", "command"),
        ("entrypoint = [\"\"]", "entrypoint"),
        ("[sysctls]\n\"kernel.panic\" = \"1\"", "kernel.panic"),
    ];
    let containers = [
        ("[env]\n\"A=B\" = \"1\"", "A=B"),
        ("[capabilities]\nadd = [\"FLY\"]", "FLY"),
        ("[capabilities]\ndrop = [\"FLY\"]", "FLY"),
        ("[vm]\nkernel = \"k\"", "[vm]"),
    ];
    let own: &[_] = if stage.facts.machine { &[] } else { &containers };
    for (conf, key) in everywhere.iter().chain(own).chain(stage.facts.unserved) {
        let error = refused(conf, stage.driver.check(&stage.spec(conf)), 720).to_string();
        assert!(error.contains(key), "the refusal of {conf:?} does not name {key}: {error}");
    }
    let spec = || stage.spec("");
    for (word, spec) in [
        ("vm.memory", GuestSpec { memory: Some(1), ..spec() }),
        ("vm.vcpu", GuestSpec { vcpu: Some(f64::NAN), ..spec() }),
        ("vm.vcpu", GuestSpec { vcpu: Some(0.0), ..spec() }),
        ("etc/relative", GuestSpec { files: vec![file("etc/relative", 0o644, "x")], ..spec() }),
        ("/a/../b", GuestSpec { files: vec![file("/a/../b", 0o644, "x")], ..spec() }),
    ] {
        let error = refused(word, stage.driver.check(&spec), 720).to_string();
        assert!(error.contains(word), "the refusal does not name {word}: {error}");
    }
}

pub(crate) fn check_names_the_host_that_it_cannot_serve(stage: &Stage) {
    let on = |host: &str| GuestSpec { host: host.into(), ..stage.spec("") };
    refused("an empty host", stage.driver.check(&on("")), 714);
    let error = refused("a host of nobody", stage.driver.check(&on("192.0.2.77")), 701);
    assert!(error.to_string().contains("192.0.2.77"), "the refusal does not name the host: {error}");
}

pub(crate) fn check_touches_nothing(stage: &Stage) {
    let spec = stage.spec("");
    accepted("check", stage.driver.check(&spec));
    refused("a guest that was only checked", stage.driver.get_id(&Guest::of(&spec)), 702);
}

pub(crate) fn a_deployed_guest_is_created_and_found_with_and_without_its_id(stage: &Stage) {
    let guest = stage.deployed(&stage.spec("stop_timeout = 1"));
    assert!(!guest.id.is_empty(), "deploy answers no id");
    assert_eq!(stage.status(&guest), Status::Created);
    assert_eq!(stage.run_id(&guest), None, "a guest that was never started has a run");
    let unanswered = Guest { id: String::new(), ..guest.clone() };
    let found = |guest| accepted("get_id", stage.driver.get_id(guest));
    assert_eq!(found(&guest), guest.id);
    // Its record was written before deploy answered.
    assert_eq!(found(&unanswered), guest.id);
    stage.start(&guest);
    stage.stop(&guest);
    assert_eq!(found(&unanswered), guest.id, "the id changed with a start");
    stage.start(&unanswered);
    assert_eq!(stage.status(&unanswered), Status::Running);
}

pub(crate) fn a_guest_that_does_not_run_yet_says_so(stage: &Stage) {
    let guest = stage.deployed(&stage.spec(""));
    let driver = &stage.driver;
    refused("execute_in_guest", driver.execute_in_guest(&guest, &execution(&["true"], b"")), 716);
    refused("put_file", driver.put_file(&guest, &file("/x", 0o644, "x")), 716);
    refused("get_ip", driver.get_ip(&guest), 716);
    refused("counters", driver.counters(&guest), 716);
    refused("pause", driver.pause(&guest), 716);
    refused("unpause", driver.unpause(&guest), 716);
    accepted("stop", driver.stop(&guest));
    assert_eq!(stage.status(&guest), Status::Created, "a stop that had nothing to do");
    accepted("destroy without force", driver.destroy(&guest, false));
}

pub(crate) fn a_second_deploy_of_a_guest_is_refused(stage: &Stage) {
    let spec = stage.spec("");
    let guest = stage.deployed(&spec);
    refused("a second deploy", stage.driver.deploy(&spec), 705);
    assert_eq!(stage.status(&guest), Status::Created, "the first one is not what it was");
    stage.start(&guest);
    refused("a deploy beside a running guest", stage.driver.deploy(&spec), 705);
    assert_eq!(stage.status(&guest), Status::Running);
}

pub(crate) fn a_deploy_that_fails_names_the_image_and_leaves_nothing(stage: &Stage) {
    let sound = stage.spec("");
    let spec = GuestSpec { image: "nfio-has-no-such-image".into(), ..sound.clone() };
    let error = refused("deploy", stage.driver.deploy(&spec), 705);
    assert!(error.to_string().contains(&spec.image), "the image is not named: {error}");
    refused("what a failed deploy left", stage.driver.get_id(&Guest::of(&spec)), 702);
    // Its name and its id are free again.
    let guest = stage.deployed(&sound);
    assert_eq!(stage.status(&guest), Status::Created);
}

pub(crate) fn guests_of_one_name_are_told_apart(stage: &Stage) {
    let (first, second) = (stage.spec(""), stage.spec(""));
    let second = GuestSpec { name: first.name.clone(), ..second };
    let one = stage.up(&first);
    if stage.facts.unique_names {
        let error = refused("a name that is taken", stage.driver.deploy(&second), 705).to_string();
        assert!(error.contains(&first.name), "the name is not in the refusal: {error}");
        assert!(error.contains(&one.id[..12]), "the refusal does not tell by whom: {error}");
        refused("the refused one", stage.driver.get_id(&Guest::of(&second)), 702);
    } else {
        let two = stage.deployed(&second);
        assert_eq!(stage.status(&two), Status::Created);
        accepted("destroy", stage.driver.destroy(&two, true));
    }
    assert_eq!(stage.status(&one), Status::Running, "the other one of this name was touched");
}

pub(crate) fn labels_tell_whose_guest_it_is(stage: &Stage) {
    let spec = stage.spec("");
    let guest = stage.deployed(&spec);
    assert_eq!(stage.ground().labels(&guest), spec.labels);
    // Whatever a start has to do for what prepare asked.
    let env = if stage.facts.machine { vec![] } else { vec![("A".into(), "1".into())] };
    accepted("start", stage.driver.start(&guest, &Prepared { env, ..Prepared::default() }));
    assert_eq!(stage.ground().labels(&guest), spec.labels, "after a start");
}

pub(crate) fn a_guest_that_is_not_there_is_not_found(stage: &Stage) {
    let spec = stage.spec("");
    let (guest, driver) = (Guest::of(&spec), &stage.driver);
    refused("guest_status", driver.guest_status(&guest), 702);
    refused("run_id", driver.run_id(&guest), 702);
    refused("get_id", driver.get_id(&guest), 702);
    refused("get_ip", driver.get_ip(&guest), 702);
    refused("counters", driver.counters(&guest), 702);
    refused("start", driver.start(&guest, &Prepared::default()), 702);
    refused("stop", driver.stop(&guest), 702);
    refused("restart", driver.restart(&guest, &Prepared::default()), 702);
    refused("pause", driver.pause(&guest), 702);
    refused("unpause", driver.unpause(&guest), 702);
    refused("execute_in_guest", driver.execute_in_guest(&guest, &execution(&["true"], b"")), 702);
    refused("put_file", driver.put_file(&guest, &file("/x", 0o644, "x")), 702);
    refused("set_forwarding", driver.set_forwarding(&guest, true), 702);
    refused("adopt", driver.adopt(&guest, &spec.log), 702);
    accepted("destroy", driver.destroy(&guest, false));
    accepted("destroy with force", driver.destroy(&guest, true));
}
