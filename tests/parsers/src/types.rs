//! The TOML that a plugin's `describe` returns.

use middlebox_sdk::layout::{is_instance_name, is_type_name};
use middlebox_sdk::{File, Kind, Middlebox, Type};
use nat::Nat;
use nfio_host::modules::Table;

use crate::plain;

pub(crate) fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let ty = match Type::from_text(text) {
        Ok(ty) => ty,
        Err(error) => return plain::refused(&error, 720),
    };
    assert!(is_type_name(&ty.name), "{:?}", ty.name);
    let written = ty.to_text().expect("what was read can be written");
    assert_eq!(Type::from_text(&written).ok().as_ref(), Some(&ty), "{written}");
    // Every file lies beneath the instance, and none where a directory must be.
    let table = Table::of(&ty);
    for file in table.files() {
        assert!(file.path.split('/').all(is_instance_name), "{:?}", file.path);
        assert!(!table.is_directory(&file.path), "{} is a file and a directory", file.path);
        assert!(file.mode & !0o777 == 0, "{} has the mode {:o}", file.path, file.mode);
    }
    for file in &ty.files {
        assert_eq!(table.file(&file.path).map(|found| &**found), Some(file));
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let of = |ty: Type| ty.to_text().expect("a type as text").into_bytes();
    let odd = Type::new("x", "1")
        .bare()
        .file(File::ordinary("alpha"))
        .file(File::standard("state", Kind::Value, 0o444, "status"))
        .file(File::log("logs/own"))
        .device("/dev/net/tun")
        .image("x");
    let newer = b"name = \"x\"\nversion = \"1\"\nlater = 7\n[needs]\nmoons = 2\n".to_vec();
    vec![of(Nat.describe()), of(odd), newer]
}
