use super::*;

fn room() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let (root, private) = (dir.path().join("plugins"), dir.path().join("private"));
    fs::create_dir(&root).unwrap();
    fs::create_dir(&private).unwrap();
    (dir, root, private)
}

#[test]
fn whatever_lies_in_module_root_is_listed_with_the_reason_and_stops_nobody() {
    let (_dir, root, private) = room();
    fs::write(root.join("libtext.so"), "no plugin\n").unwrap();
    fs::write(root.join("text.so"), "no plugin either\n").unwrap();
    fs::write(root.join("notes.txt"), "").unwrap();
    fs::create_dir(root.join("directory.so")).unwrap();
    nix::unistd::mkfifo(&root.join("fifo.so"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("nowhere", root.join("link.so")).unwrap();
    let registry =
        Registry::load(&root, &private, &Loader::new(&private, &Default::default()).unwrap()).unwrap();
    assert_eq!(registry.names(), ["directory", "fifo", "link", "text", "text.so"]);
    assert!(registry.types().is_empty());
    for row in registry.rows() {
        assert!(row.state == "failed" && row.error.starts_with("it "), "{row:?}");
    }
    assert!(registry.module("fifo").err().unwrap().to_string().contains("not a regular file"));
}

#[test]
fn a_type_whose_plugin_is_gone_keeps_its_table() {
    let (_dir, root, private) = room();
    fs::create_dir(private.join("types")).unwrap();
    let ty = Type::new("firewall", "1.2").file(middlebox_sdk::File::value("stats/rules"));
    fs::write(private.join("types/firewall.toml"), ty.to_text().unwrap()).unwrap();
    fs::write(private.join("types/odd.toml"), "name = ").unwrap();
    let registry =
        Registry::load(&root, &private, &Loader::new(&private, &Default::default()).unwrap()).unwrap();
    assert_eq!(registry.names(), ["firewall"]);
    assert!(
        !registry.is_loaded("firewall")
            && registry.table("firewall").unwrap().special("stats/rules").is_some()
    );
    assert_eq!(registry.file("firewall", "state").unwrap(), b"missing\n");
    let error = registry.module("firewall").err().unwrap();
    assert_eq!((error.code(), error.errno()), (724, libc::ENOPKG));
}

#[test]
fn copies_that_a_crash_left_are_cleared_and_hinder_none() {
    let (_dir, root, private) = room();
    fs::create_dir(private.join("modules")).unwrap();
    fs::write(private.join("modules/7-0.so"), "").unwrap();
    Registry::load(&root, &private, &Loader::new(&private, &Default::default()).unwrap()).unwrap();
    assert_eq!(fs::read_dir(private.join("modules")).unwrap().count(), 0);
}
