//! Random input for the parser `verbs`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (nfio_parsers::target("verbs").check)(data));
