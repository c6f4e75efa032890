//! Random input for the parser `nft`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (nfio_parsers::target("nft").check)(data));
