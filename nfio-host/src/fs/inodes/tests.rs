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
    let stat = nix::sys::stat::stat("/").unwrap();
    assert_eq!(inodes.below(a), [a, b]);
    inodes.note_last(b, stat);
    inodes.removed_tree(ROOT_NODE, name("a"));
    assert_eq!(inodes.last(b).map(|last| (last.st_ino, last.st_nlink)), Some((stat.st_ino, 0)));
    assert_eq!(inodes.last(a), None);
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

#[test]
fn a_directory_of_many_names_finds_each_and_keeps_none_that_is_gone() {
    let inodes = table();
    let names: Vec<(u64, String)> = (11..111).map(|ino| (ino, format!("name-{ino}"))).collect();
    let dir = inodes.found(ROOT_NODE, name("dir"), Some(key(10)), true, true);
    for (ino, text) in &names {
        assert_eq!(inodes.found(dir, name(text), Some(key(*ino)), true, true), *ino);
    }
    for (ino, text) in &names {
        assert_eq!(path(&inodes, *ino), Some(format!("dir/{text}")));
    }
    for (left, (ino, text)) in names.iter().enumerate().rev() {
        inodes.unlinked(dir, name(text), true);
        assert_eq!(path(&inodes, *ino), None);
        inodes.forget(*ino, 1);
        assert_eq!(inodes.len(), 2 + left);
    }
}

#[test]
fn an_inode_of_another_device_is_found_by_a_number_of_our_own() {
    let inodes = table();
    let other = Key { dev: 6, ino: 10 };
    let node = inodes.found(ROOT_NODE, name("other"), Some(other), true, true);
    let own = inodes.found(ROOT_NODE, name("own"), Some(key(10)), true, true);
    assert!(node > OWN_NUMBERS && own == 10);
    assert_eq!((inodes.key(node), inodes.key(own)), (Some(other), Some(key(10))));
    assert_eq!(inodes.found(ROOT_NODE, name("other"), Some(other), true, true), node);
    assert_eq!(inodes.number(10), 10);
}

#[test]
fn a_table_that_the_kernel_has_forgotten_is_small_again_and_knows_what_is_left() {
    let inodes = table();
    let last = 100 * memory::LARGE as u64;
    for ino in 1000..last {
        inodes.found(ROOT_NODE, name(&ino.to_string()), Some(key(ino)), true, true);
    }
    let room = || inodes.read().nodes.capacity();
    let before = room();
    for ino in 1000..last - 1 {
        inodes.forget(ino, 1);
    }
    assert_eq!(inodes.len(), 2);
    assert!(room() < memory::LARGE && memory::LARGE < before, "room for {} of {before}", room());
    assert_eq!(path(&inodes, last - 1), Some((last - 1).to_string()));
}
