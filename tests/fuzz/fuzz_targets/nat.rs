//! Random input for the parser `nat`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (nfio_parsers::target("nat").check)(data));
