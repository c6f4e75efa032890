//! Random input for the parser `boot_conf`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (nfio_parsers::target("boot_conf").check)(data));
