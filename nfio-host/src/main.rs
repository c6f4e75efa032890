//! The binary `nfio`.

fn main() {}
