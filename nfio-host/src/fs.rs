//! The file system: the only room that knows fuser.

pub mod operations;
