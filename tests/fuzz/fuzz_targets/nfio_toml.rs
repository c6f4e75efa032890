//! Random input for the parser `nfio_toml`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (nfio_parsers::target("nfio_toml").check)(data));
