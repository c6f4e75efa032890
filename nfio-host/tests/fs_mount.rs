//! The file system on a real mount, the VNF side replaced by a small stand-in. Runs in namespaces of its own: see
//! `bed::Bed::new`.

#[path = "fs_mount/bed.rs"]
mod bed;
#[path = "fs_mount/fake.rs"]
mod fake;
#[path = "fs_mount/passthrough.rs"]
mod passthrough;
#[path = "fs_mount/posix.rs"]
mod posix;
#[path = "fs_mount/posix_metadata.rs"]
mod posix_metadata;
#[path = "fs_mount/rules.rs"]
mod rules;
#[path = "fs_mount/special.rs"]
mod special;
#[path = "fs_mount/stress.rs"]
mod stress;
#[path = "fs_mount/taken_away.rs"]
mod taken_away;
