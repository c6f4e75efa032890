//! `nfio plugin new`: a crate of one's own, outside nfio's workspace, that builds, passes its tests and loads.
//!
//! Its files are the templates in `plugin_new/`. `@NAME@` is the crate's name, `@TYPE@` the type's, `@SDK@` where the
//! SDK comes from.

use middlebox_sdk::layout::is_type_name;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::error::{NfioError, Result};

/// Path in the crate, and template.
const FILES: [(&str, &str); 6] = [
    ("Cargo.toml", include_str!("plugin_new/Cargo.toml.in")),
    (".gitignore", include_str!("plugin_new/gitignore.in")),
    ("README.md", include_str!("plugin_new/README.md.in")),
    ("src/lib.rs", include_str!("plugin_new/lib.rs.in")),
    ("src/table.nft", include_str!("plugin_new/table.nft.in")),
    ("tests/plugin.rs", include_str!("plugin_new/plugin.rs.in")),
];

/// Writes the crate `name` into a new directory of that name, and says what to do next.
///
/// # Errors
/// A name that no type can have, a directory that is there already, an SDK that is not where `sdk` says.
pub(super) fn run(name: &str, sdk: Option<&Path>) -> Result<()> {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../middlebox-sdk");
    let ty = write_crate(name, Path::new(name), &dependency(sdk, &ours)?)?;
    let next = format!(
        "{name}/ is the type {ty}; edit src/lib.rs where a comment says EDIT. Next:\n\
         \x20   cd {name}\n\
         \x20   cargo test\n\
         \x20   cargo build --release\n\
         \x20   nfio plugin check target/release/lib{ty}.so\n\
         README.md tells how to install and use it.\n"
    );
    // A reader that has gone away (`| head`) is no failure.
    let _ = std::io::stdout().write_all(next.as_bytes());
    Ok(())
}

/// Writes all files into `directory`, which must not be there; answers the type's name.
fn write_crate(name: &str, directory: &Path, sdk: &str) -> Result<String> {
    let ty = type_name(name)?;
    fs::create_dir(directory).map_err(|e| match e.kind() {
        ErrorKind::AlreadyExists => NfioError::posix(
            libc::EEXIST,
            format!(
                "{} is there already and is left as it is: take another name or directory",
                directory.display()
            ),
        ),
        _ => NfioError::posix(
            e.raw_os_error().unwrap_or(libc::EIO),
            format!("the directory {} cannot be made: {e}", directory.display()),
        ),
    })?;
    for (path, template) in FILES {
        let file = directory.join(path);
        let text = template.replace("@NAME@", name).replace("@TYPE@", &ty).replace("@SDK@", sdk);
        let parent = file.parent().unwrap_or(directory);
        fs::create_dir_all(parent).and_then(|()| fs::write(&file, text)).map_err(|e| {
            NfioError::posix(
                e.raw_os_error().unwrap_or(libc::EIO),
                format!(
                    "{} cannot be written: {e}; remove {} before the next try",
                    file.display(),
                    directory.display()
                ),
            )
        })?;
    }
    Ok(ty)
}

/// The type that a crate of this name holds: the same with `_` for `-`.
fn type_name(name: &str) -> Result<String> {
    let ty = name.replace('-', "_");
    let refuse = |why: &str| {
        Err(NfioError::posix(libc::EINVAL, format!("{name:?} cannot be the name of a plugin: {why}")))
    };
    if !is_type_name(&ty) {
        return refuse(
            "it takes up to 31 small letters, digits, - and _, and begins with a letter, for example demo-box",
        );
    }
    if TAKEN.split(' ').any(|word| word == ty) {
        return refuse("Rust or the SDK has this word already; put another behind it, for example -box");
    }
    Ok(ty)
}

/// Types whose crate would not build: Rust's keywords (the reference, chapter 2.1, reserved ones too), two crates that
/// a test names, and the SDK itself.
const TAKEN: &str = "abstract as async await become box break const continue crate do dyn else enum extern false final \
                     fn for gen if impl in let loop macro match middlebox_sdk mod move mut override priv pub ref return \
                     self static std struct super test trait true try type typeof unsafe unsized use virtual where \
                     while yield";

/// The directory of the SDK, made absolute.
fn find_sdk(directory: &Path) -> Result<PathBuf> {
    let refuse = |why: String| {
        NfioError::posix(
            libc::EINVAL,
            format!("{} is not the SDK: {why}; name nfio's directory middlebox-sdk", directory.display()),
        )
    };
    let text = fs::read_to_string(directory.join("Cargo.toml"))
        .map_err(|e| refuse(format!("its Cargo.toml: {e}")))?;
    let manifest: toml::Table =
        text.parse().map_err(|e: toml::de::Error| refuse(format!("its Cargo.toml: {}", e.message())))?;
    match manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str) {
        Some("middlebox-sdk") => Ok(directory.canonicalize()?),
        name => Err(refuse(format!("the crate there is {}", name.unwrap_or("none")))),
    }
}

/// Where the crate gets the SDK from: the directory that was given, or that of the checkout we were built from, or the
/// repository.
fn dependency(given: Option<&Path>, ours: &Path) -> Result<String> {
    match given {
        Some(given) => from_path(&find_sdk(given)?),
        // Without a checkout we came from elsewhere.
        None => find_sdk(ours).and_then(|sdk| from_path(&sdk)).or_else(|_| Ok(from_repository())),
    }
}

fn from_repository() -> String {
    format!("{{ git = {} }}", toml::Value::from(env!("CARGO_PKG_REPOSITORY")))
}

/// The dependency on an SDK in this directory.
fn from_path(directory: &Path) -> Result<String> {
    let path = directory.to_str().ok_or_else(|| {
        NfioError::posix(
            libc::EINVAL,
            format!(
                "the path {} is not UTF-8, which Cargo.toml cannot hold: move the SDK",
                directory.display()
            ),
        )
    })?;
    Ok(format!("{{ path = {} }}", toml::Value::from(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_becomes_a_type_or_is_refused_in_a_sentence() {
        assert_eq!(type_name("demo-box").unwrap(), "demo_box");
        assert_eq!(type_name("n2_x").unwrap(), "n2_x");
        for bad in
            ["", "-a", "2a", "Demo", "a.b", "a/b", "../a", "a b", "\u{e4}", "fn", "box", "middlebox-sdk"]
        {
            let error = type_name(bad).unwrap_err();
            assert_eq!(error.errno(), libc::EINVAL, "{bad}");
            assert!(error.to_string().starts_with(&format!("{bad:?} cannot be")), "{error}");
        }
        assert!(type_name(&"a".repeat(31)).is_ok() && type_name(&"a".repeat(32)).is_err());
    }

    #[test]
    fn no_placeholder_is_left_and_a_directory_that_is_there_is_not_touched() {
        let room = tempfile::tempdir().unwrap();
        let directory = room.path().join("demo-box");
        assert_eq!(write_crate("demo-box", &directory, "{ git = \"x\" }").unwrap(), "demo_box");
        for (path, _) in FILES {
            let text = fs::read_to_string(directory.join(path)).unwrap();
            for placeholder in ["@NAME@", "@TYPE@", "@SDK@"] {
                assert!(!text.contains(placeholder), "{path}");
            }
        }
        fs::write(directory.join("src/lib.rs"), "mine").unwrap();
        let error = write_crate("demo-box", &directory, "").unwrap_err();
        assert_eq!(error.errno(), libc::EEXIST);
        assert_eq!(fs::read_to_string(directory.join("src/lib.rs")).unwrap(), "mine");
    }

    #[test]
    fn the_sdk_is_the_one_given_or_this_checkouts_or_the_repositorys() {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let nowhere = Path::new("/nowhere");
        let sdk = here.join("../middlebox-sdk").canonicalize().unwrap();
        for (given, ours) in [(None, &*sdk), (Some(&*sdk), nowhere)] {
            let table: toml::Table = format!("sdk = {}", dependency(given, ours).unwrap()).parse().unwrap();
            assert_eq!(table["sdk"]["path"].as_str(), sdk.to_str());
        }
        assert_eq!(dependency(None, nowhere).unwrap(), "{ git = \"https://github.com/nfio/nfio\" }");
        let error = dependency(Some(nowhere), &sdk).unwrap_err().to_string();
        assert!(error.starts_with("/nowhere is not the SDK"), "{error}");
        assert!(dependency(Some(here), &sdk).unwrap_err().to_string().contains("nfio-host"));
    }
}
