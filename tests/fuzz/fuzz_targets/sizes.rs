//! Random input for the parser `sizes`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (nfio_parsers::target("sizes").check)(data));
