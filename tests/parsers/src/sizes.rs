//! `machine/vm.memory` and `machine/vm.vcpu`.

use nfio_host::vnf::machine::{memory, vcpu};

use crate::plain;

pub(crate) fn check(data: &[u8]) {
    // As the host does it, which refuses other text before.
    let Ok(text) = std::str::from_utf8(data) else { return };
    let text = text.trim();
    match memory(text) {
        Ok(None) => assert!(text.is_empty(), "{text:?} is no default"),
        Ok(Some(bytes)) => {
            assert!((4 << 20..=i64::MAX as u64).contains(&bytes), "{text:?} is {bytes} bytes");
            assert_eq!(memory(&bytes.to_string()).ok(), Some(Some(bytes)), "{text:?}");
            let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
            let number: u64 = text[..digits].parse().expect("a number");
            assert!(bytes % number == 0 && (bytes / number).is_power_of_two(), "{text:?} is {bytes} bytes");
        }
        Err(error) => {
            plain::refused(&error, 720);
            assert!(error.to_string().contains("machine/vm.memory"), "{error}");
        }
    }
    match vcpu(text) {
        Ok(None) => assert!(text.is_empty(), "{text:?} is no default"),
        Ok(Some(cpus)) => {
            assert!((0.01..=1024.0).contains(&cpus), "{text:?} is {cpus} CPUs");
            assert_eq!(vcpu(&cpus.to_string()).ok(), Some(Some(cpus)), "{text:?}");
        }
        Err(error) => {
            plain::refused(&error, 720);
            assert!(error.to_string().contains("machine/vm.vcpu"), "{error}");
        }
    }
}

pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let words = [
        "",
        "512M",
        "2G",
        "1 GiB",
        "4194304",
        "8192k",
        "1T",
        "0.5",
        "2",
        "1024",
        "0.01",
        "1e3",
        "-1",
        "NaN",
        "99999999999999999999T",
        "8388607T",
    ];
    words.map(|word| word.as_bytes().to_vec()).to_vec()
}
