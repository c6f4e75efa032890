//! Who could have put code into a plugin's file: whoever owns it or may write it, or a directory on the way to it.
//! Only root, nfio's own user and the user behind sudo may. A POSIX ACL that lets others write shows in the group's
//! bits, so it is judged as well.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::source::Source;

/// Judges the file and all directories on the way to it: to its name, and to where symbolic links lead.
pub(super) fn judge(source: &Source) -> Result<(), String> {
    judge_as(source, &trusted())
}

/// Judges the owner of the file alone.
pub(super) fn judge_owner(source: &Source) -> Result<(), String> {
    owner(&source.path, source.metadata(), &trusted())
}

fn judge_as(source: &Source, trusted: &[u32]) -> Result<(), String> {
    let moved = |e: std::io::Error| format!("the way to it cannot be followed: {e}");
    let real = fs::canonicalize(&source.path).map_err(moved)?;
    let there = fs::metadata(&real).map_err(moved)?;
    let meta = source.metadata();
    if (there.dev(), there.ino()) != (meta.dev(), meta.ino()) {
        return Err("it was replaced while it was looked at; touch it to have it looked at again".into());
    }
    owner(&real, meta, trusted)?;
    if meta.mode() & 0o022 != 0 {
        return Err(writable(&real, meta));
    }
    let named = match source.path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let named = fs::canonicalize(named).map_err(moved)?;
    let ways = [real.parent().map(Path::to_owned), Some(named)];
    for directory in ways.iter().flatten().flat_map(|way| way.ancestors()) {
        let meta = fs::metadata(directory).map_err(moved)?;
        owner(directory, &meta, trusted)?;
        // In a sticky directory nobody renames or removes what is another's.
        if meta.mode() & 0o022 != 0 && meta.mode() & 0o1000 == 0 {
            return Err(writable(directory, &meta));
        }
    }
    Ok(())
}

/// User ids whose files are loaded.
fn trusted() -> Vec<u32> {
    let sudo = std::env::var("SUDO_UID").ok().and_then(|uid| uid.parse().ok());
    [0, nix::unistd::geteuid().as_raw()].into_iter().chain(sudo).collect()
}

fn owner(path: &Path, meta: &Metadata, trusted: &[u32]) -> Result<(), String> {
    if trusted.contains(&meta.uid()) {
        return Ok(());
    }
    Err(format!(
        "{} belongs to user id {}, who is not trusted to bring code into nfio: chown root {}",
        path.display(),
        meta.uid(),
        quoted(path)
    ))
}

fn writable(path: &Path, meta: &Metadata) -> String {
    let (who, bits) = match meta.mode() & 0o022 {
        0o020 => ("its group", "g-w"),
        0o002 => ("everybody", "o-w"),
        _ => ("its group and everybody", "go-w"),
    };
    format!(
        "{} may be written by {who} (mode {:04o}), who could bring code into nfio: chmod {bits} {}",
        path.display(),
        meta.mode() & 0o7777,
        quoted(path)
    )
}

/// A path as a shell takes it.
fn quoted(path: &Path) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@".contains(c);
    let text = path.to_string_lossy();
    if text.chars().all(plain) { text.into_owned() } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{PermissionsExt, chown, symlink};
    use std::path::PathBuf;

    fn chmod(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn room() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let plugins = dir.path().canonicalize().unwrap().join("plugins");
        fs::create_dir(&plugins).unwrap();
        chmod(&plugins, 0o755);
        fs::write(plugins.join("x.so"), "").unwrap();
        chmod(&plugins.join("x.so"), 0o644);
        (dir, plugins)
    }

    fn why(path: &Path) -> String {
        judge(&Source::open(path).unwrap()).unwrap_err()
    }

    #[test]
    fn a_file_that_only_trusted_users_reach_is_trusted_also_below_a_sticky_directory() {
        let (_dir, plugins) = room();
        judge(&Source::open(&plugins.join("x.so")).unwrap()).unwrap();
        chmod(&plugins, 0o1777);
        judge(&Source::open(&plugins.join("x.so")).unwrap()).unwrap();
    }

    #[test]
    fn whoever_else_may_write_is_named_with_the_chmod_that_mends_it() {
        let (_dir, plugins) = room();
        let file = plugins.join("x.so");
        for (path, bad, good, words) in [
            (&file, 0o664, 0o644, "its group (mode 0664)"),
            (&file, 0o646, 0o644, "everybody (mode 0646)"),
            (&plugins, 0o777, 0o755, "its group and everybody (mode 0777)"),
        ] {
            chmod(path, bad);
            let why = why(&file);
            assert!(why.contains(words), "{why}");
            // The sentence ends with a command that mends it.
            let command = &why[why.rfind("chmod").unwrap()..];
            assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success());
            assert_eq!(fs::metadata(path).unwrap().mode() & 0o777, good);
            judge(&Source::open(&file).unwrap()).unwrap();
        }
    }

    #[test]
    fn a_link_is_judged_where_it_stands_and_where_it_leads() {
        let (_dir, plugins) = room();
        let beside = plugins.parent().unwrap().join("it's beside");
        fs::create_dir(&beside).unwrap();
        chmod(&beside, 0o777);
        symlink(plugins.join("x.so"), beside.join("link.so")).unwrap();
        assert!(why(&beside.join("link.so")).ends_with("it'\\''s beside'"));
        fs::rename(plugins.join("x.so"), beside.join("x.so")).unwrap();
        symlink(beside.join("x.so"), plugins.join("link.so")).unwrap();
        assert!(why(&plugins.join("link.so")).contains("chmod go-w"));
        chmod(&beside, 0o755);
        judge(&Source::open(&plugins.join("link.so")).unwrap()).unwrap();
    }

    #[test]
    fn a_file_or_directory_of_somebody_else_is_refused_with_the_chown_that_mends_it() {
        let (_dir, plugins) = room();
        let file = plugins.join("x.so");
        let source = Source::open(&file).unwrap();
        // As if nobody were trusted: works for whoever runs the tests.
        let why = judge_as(&source, &[]).unwrap_err();
        assert!(why.contains("belongs to user id") && why.contains("chown root "), "{why}");
        let root = nix::unistd::geteuid().is_root();
        assert!(root, "this test gives a directory to another user: run it as root");
        chown(&plugins, Some(65534), None).unwrap();
        let why = judge(&source).unwrap_err();
        assert!(why.ends_with(&format!("chown root {}", plugins.display())), "{why}");
    }
}
