//! Where a plugin lies, and whether it is allowed: `nfio plugin list` judges as a mount does.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::bed::{HEADER, Room, built, check, lines, nfio};

fn plugins() -> Room {
    let room = Room::new();
    fs::create_dir(room.path("plugins")).unwrap();
    fs::set_permissions(room.path("plugins"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::copy(built("librandom.so"), room.path("plugins/librandom.so")).unwrap();
    fs::write(room.path("nfio.toml"), "").unwrap();
    room
}

fn list(room: &Room) -> Vec<String> {
    let mut command = nfio(&["plugin", "list", "--module-root"]);
    let output =
        command.arg(room.path("plugins")).arg("--config").arg(room.path("nfio.toml")).output().unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    lines(&output)
}

#[test]
fn a_plugin_that_others_can_write_is_listed_with_the_chmod_that_mends_it() {
    let room = plugins();
    let plugins = room.path("plugins").canonicalize().unwrap();
    for (path, mode, mended) in
        [(plugins.join("librandom.so"), 0o664, "chmod g-w "), (plugins.clone(), 0o777, "chmod go-w ")]
    {
        let before = fs::metadata(&path).unwrap().permissions();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let lines = list(&room);
        assert!(lines[1].contains(" failed "), "{lines:?}");
        assert!(lines[2].ends_with(&format!("{mended}{}", path.display())), "{lines:?}");
        // A build's place says nothing against the build.
        let report = check(&plugins.join("librandom.so"));
        assert!(
            report.is_good() && report.lines.last().unwrap().starts_with("warning: "),
            "{:?}",
            report.lines
        );
        fs::set_permissions(&path, before).unwrap();
    }
    let lines = list(&room);
    assert!(lines.len() == 2 && lines[1].contains(" loaded "), "{lines:?}");
    assert_eq!(check(&plugins.join("librandom.so")).lines.len(), 6);
}

#[test]
fn somebody_elses_plugin_is_neither_loaded_nor_tried() {
    let root = nix::unistd::geteuid().is_root();
    assert!(root, "this test gives a file to another user: run it as root");
    let room = plugins();
    let file = room.path("plugins/librandom.so");
    std::os::unix::fs::chown(&file, Some(65534), None).unwrap();
    let lines = list(&room);
    assert!(lines[2].contains("user id 65534") && lines[2].contains("chown root "), "{lines:?}");
    check(&file).is_bad("chown root ");
}

#[test]
fn of_an_allow_list_the_digest_that_was_found_is_told() {
    let room = plugins();
    let sum = std::process::Command::new("sha256sum").arg(built("librandom.so")).output().unwrap();
    let digest = String::from_utf8(sum.stdout).unwrap()[..64].to_owned();
    fs::write(room.path("nfio.toml"), format!("[modules]\nsha256 = [\"{}\"]\n", "0".repeat(64))).unwrap();
    let lines = list(&room);
    assert!(lines[2].contains(&digest) && lines[2].contains("[modules]"), "{lines:?}");
    fs::write(room.path("nfio.toml"), format!("[modules]\nsha256 = [\"{}\"]\n", digest.to_uppercase()))
        .unwrap();
    assert!(list(&room)[1].contains(" loaded "));
}

#[test]
fn a_list_survives_whatever_lies_in_module_root() {
    let room = plugins();
    fs::copy(built("librandom.so"), room.path("plugins/libtwin.so")).unwrap();
    let crash =
        format!("{HEADER}__attribute__((constructor)) static void f(void) {{ *(volatile int *)8 = 1; }}");
    room.compiled("plugins/libcrash.so", &crash);
    let text = list(&room).join("\n");
    for words in ["while it was loaded it crashed: SIGSEGV", "is served by ", "random "] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
