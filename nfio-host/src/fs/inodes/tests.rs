use super::*;
use std::path::Path;

fn key(ino: u64) -> Key {
    Key { dev: 5, ino }
}

fn table() -> Inodes {
    Inodes::new(key(900))
}

fn name(text: &str) -> &OsStr {
    OsStr::new(text)
}

fn path(inodes: &Inodes, node: u64) -> Option<String> {
    inodes.path(node).map(|path| path.to_str().unwrap().to_owned())
}

#[test]
fn a_node_has_the_number_of_its_inode_and_the_path_of_its_names() {
    let inodes = table();
    let a = inodes.found(ROOT_NODE, name("a"), Some(key(10)), true, true);
    let b = inodes.found(a, name("b"), Some(key(11)), true, true);
    assert_eq!((a, b), (10, 11));
    assert_eq!(path(&inodes, b).as_deref(), Some("a/b"));
    assert_eq!(inodes.path(ROOT_NODE).as_deref(), Some(Path::new("")));
}

#[test]
fn a_renamed_directory_moves_all_that_is_below() {
    let inodes = table();
    let a = inodes.found(ROOT_NODE, name("a"), Some(key(10)), true, true);
    let b = inodes.found(a, name("b"), Some(key(11)), true, true);
    inodes.renamed((ROOT_NODE, name("a")), (ROOT_NODE, name("z")), false);
    assert_eq!(path(&inodes, b).as_deref(), Some("z/b"));
    assert_eq!(inodes.found(ROOT_NODE, name("z"), Some(key(10)), true, true), a);
}

#[test]
fn hard_links_share_a_node_until_the_last_name_goes() {
    let inodes = table();
    let one = inodes.found(ROOT_NODE, name("one"), Some(key(10)), false, true);
    let two = inodes.found(ROOT_NODE, name("two"), Some(key(10)), false, true);
    assert_eq!(one, two);
    inodes.unlinked(ROOT_NODE, name("one"), false);
    assert_eq!(path(&inodes, one).as_deref(), Some("two"));
    inodes.unlinked(ROOT_NODE, name("two"), true);
    assert_eq!(path(&inodes, one), None);
}

#[test]
fn an_inode_number_that_comes_back_is_another_node_while_the_old_one_is_known() {
    let inodes = table();
    let old = inodes.found(ROOT_NODE, name("f"), Some(key(10)), true, true);
    inodes.unlinked(ROOT_NODE, name("f"), true);
    let new = inodes.found(ROOT_NODE, name("f"), Some(key(10)), true, true);
    assert_ne!(old, new);
    assert_eq!((path(&inodes, old), path(&inodes, new).as_deref()), (None, Some("f")));
    inodes.forget(old, 1);
    assert_eq!(inodes.found(ROOT_NODE, name("f"), Some(key(10)), true, true), new);
}

#[test]
fn a_file_that_was_moved_behind_our_back_is_another_node() {
    let inodes = table();
    let old = inodes.found(ROOT_NODE, name("f"), Some(key(10)), true, true);
    let new = inodes.found(ROOT_NODE, name("g"), Some(key(10)), true, true);
    assert_ne!(old, new);
    assert_eq!(path(&inodes, old), None);
}

#[test]
fn forgotten_nodes_take_no_memory_and_parents_wait_for_their_children() {
    let inodes = table();
    let a = inodes.found(ROOT_NODE, name("a"), Some(key(10)), true, true);
    let b = inodes.found(a, name("b"), Some(key(11)), true, true);
    let again = inodes.found(a, name("b"), Some(key(11)), true, true);
    assert_eq!(b, again);
    inodes.forget(a, 1);
    assert_eq!(path(&inodes, b).as_deref(), Some("a/b"));
    inodes.forget(b, 1);
    assert_eq!(inodes.len(), 3);
    inodes.forget(b, 1);
    assert_eq!(inodes.len(), 1);
}

#[test]
fn a_removed_tree_leaves_no_path_and_no_key() {
    let inodes = table();
    let a = inodes.found(ROOT_NODE, name("a"), Some(key(10)), true, true);
    let b = inodes.found(a, name("b"), Some(key(11)), true, true);
    inodes.removed_tree(ROOT_NODE, name("a"));
    assert_eq!((path(&inodes, a), path(&inodes, b)), (None, None));
    assert_eq!((inodes.key(a), inodes.key(b)), (None, None));
    inodes.forget(a, 1);
    inodes.forget(b, 1);
    assert_eq!(inodes.len(), 1);
}

#[test]
fn names_change_places() {
    let inodes = table();
    let a = inodes.found(ROOT_NODE, name("a"), Some(key(10)), true, true);
    let b = inodes.found(ROOT_NODE, name("b"), Some(key(11)), true, true);
    let below = inodes.found(b, name("x"), Some(key(12)), true, true);
    inodes.exchanged((ROOT_NODE, name("a")), (ROOT_NODE, name("b")));
    assert_eq!(path(&inodes, a).as_deref(), Some("b"));
    assert_eq!(path(&inodes, below).as_deref(), Some("a/x"));
}

#[test]
fn a_name_taken_over_leaves_the_old_node_without() {
    let inodes = table();
    let a = inodes.found(ROOT_NODE, name("a"), Some(key(10)), true, true);
    let b = inodes.found(ROOT_NODE, name("b"), Some(key(11)), true, true);
    inodes.renamed((ROOT_NODE, name("a")), (ROOT_NODE, name("b")), true);
    assert_eq!((path(&inodes, a).as_deref(), path(&inodes, b)), (Some("b"), None));
}

#[test]
fn what_nothing_backs_keeps_its_number_while_it_is_known() {
    let inodes = table();
    let m = inodes.found(ROOT_NODE, name("modules"), None, true, true);
    assert!(m > OWN_NUMBERS);
    assert_eq!(inodes.found(ROOT_NODE, name("modules"), None, true, true), m);
}

#[test]
fn a_length_once_told_is_remembered() {
    let inodes = table();
    let log = inodes.found(ROOT_NODE, name("log"), Some(key(10)), true, true);
    assert_eq!(inodes.sized(log), None);
    inodes.set_sized(log, Some((5, SystemTime::UNIX_EPOCH)));
    assert_eq!(inodes.sized(log), Some((5, SystemTime::UNIX_EPOCH)));
}
