//! The values of `machine/*`.

use crate::error::{NfioError, Result};

/// Least memory that a guest can be given, in bytes: less does not even hold a shell.
const LEAST_MEMORY: u64 = 4 << 20;

/// Reads `machine/vm.memory`: a whole number with K, M, G or T (powers of 1024), with or without `i` and `B`; plain
/// bytes without. Empty: None.
///
/// # Errors
/// VNFConfigurationError that names the value.
pub fn memory(text: &str) -> Result<Option<u64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let wrong = || {
        NfioError::configuration(format!(
            "machine/vm.memory is {text:?}; write a size of at least 4M such as 512M or 2G, or nothing for the default"
        ))
    };
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let shift = match text[digits..].trim_start().to_ascii_uppercase().as_str() {
        "" | "B" => 0,
        "K" | "KB" | "KIB" => 10,
        "M" | "MB" | "MIB" => 20,
        "G" | "GB" | "GIB" => 30,
        "T" | "TB" | "TIB" => 40,
        _ => return Err(wrong()),
    };
    let bytes =
        number.checked_mul(1 << shift).filter(|bytes| (LEAST_MEMORY..=i64::MAX as u64).contains(bytes));
    bytes.map(Some).ok_or_else(wrong)
}

/// Reads `machine/vm.vcpu`: CPUs, fractions allowed. Empty: None.
///
/// # Errors
/// VNFConfigurationError that names the value.
pub fn vcpu(text: &str) -> Result<Option<f64>> {
    if text.is_empty() {
        return Ok(None);
    }
    let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let cpus = text.parse().ok().filter(|cpus| plain && (0.01..=1024.0).contains(cpus));
    cpus.map(Some).ok_or_else(|| {
        NfioError::configuration(format!(
            "machine/vm.vcpu is {text:?}; write a number of CPUs such as 2 or 0.5, or nothing for the default"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_docker_reads_them() {
        let cases = [
            ("512M", 512 << 20),
            ("2G", 2 << 30),
            ("4194304", 4 << 20),
            ("8192k", 8 << 20),
            ("1 GiB", 1 << 30),
        ];
        for (text, bytes) in cases {
            assert_eq!(memory(text).unwrap(), Some(bytes), "{text}");
        }
        assert_eq!(memory("").unwrap(), None);
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        for text in ["lots", "-1", "0", "3M", "1.5G", "999999999T", "512 M B", "M", "\u{0663}M"] {
            let error = memory(text).unwrap_err();
            assert_eq!(error.code(), 720);
            assert!(error.to_string().contains("vm.memory"), "{error}");
        }
        for text in ["0", "-1", "inf", "NaN", "1e3", "two", "2000"] {
            assert_eq!(vcpu(text).unwrap_err().code(), 720, "{text}");
        }
        assert_eq!(vcpu("0.5").unwrap(), Some(0.5));
    }
}
