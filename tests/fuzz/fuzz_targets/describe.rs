//! Random input for the parser `describe`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (nfio_parsers::target("describe").check)(data));
