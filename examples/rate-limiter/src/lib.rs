//! The type `rate_limiter`: its guest drops what comes faster than `config/nf_conf` says.
//!
//! nf_conf is read into [`limits::Limit`]s, and nft gets what those say: nothing that a user wrote is pasted.

#![forbid(unsafe_code)]

mod limits;

use middlebox_sdk::{File, Middlebox, NfioError, Result, Type, Vnf, export_middlebox};

/// The type.
pub struct RateLimiter;

impl Middlebox for RateLimiter {
    fn describe(&self) -> Type {
        Type::new("rate_limiter", env!("CARGO_PKG_VERSION"))
            .file(File::value("stats/limited"))
            .file(File::verb("reset"))
    }

    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        let text =
            std::str::from_utf8(nf_conf).map_err(|_| NfioError::configuration("nf_conf is not UTF-8"))?;
        let limits = limits::parse(text).map_err(NfioError::configuration)?;
        let rules: String = limits.iter().map(|limit| format!("{limit}\n")).collect();
        // The first line makes the second one succeed also where there is no table yet.
        let ruleset = format!(
            "table inet rate_limiter\ndelete table inet rate_limiter\n\
             table inet rate_limiter {{\ncounter limited {{\n}}\nchain arriving {{\n\
             type filter hook prerouting priority -150; policy accept;\niif lo accept\n{rules}}}\n}}\n"
        );
        // What is well written can still be beyond the kernel, a rate for one: then nothing changes.
        let check = vnf.execute_in_guest(&["nft", "-c", "-f", "-"], ruleset.as_bytes())?;
        if check.not_found() {
            return Err(NfioError::command("the image has no nft: install nftables in it"));
        }
        if !check.success() {
            return Err(NfioError::configuration(format!("nft: {}", check.words())));
        }
        vnf.run(&["nft", "-f", "-"], ruleset.as_bytes()).map(drop)
    }

    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        match file {
            "stats/limited" => Ok(format!("{}\n", limited(vnf)?).into_bytes()),
            _ => Ok(b"# any word sets stats/limited to 0\n".into()),
        }
    }

    fn write(&self, vnf: &Vnf<'_>, _file: &str, _text: &[u8]) -> Result<()> {
        counter(vnf, "reset").map(drop)
    }
}

export_middlebox!(RateLimiter);

/// How many packets were over a limit.
fn limited(vnf: &Vnf<'_>) -> Result<u64> {
    let text = counter(vnf, "list")?;
    let mut words = text.split_whitespace().skip_while(|word| *word != "packets");
    let packets = words.nth(1).and_then(|word| word.parse().ok());
    packets.ok_or_else(|| NfioError::command(format!("nft's counter is not understood: {text}")))
}

fn counter(vnf: &Vnf<'_>, what: &str) -> Result<String> {
    let text = vnf.run(&["nft", what, "counter", "inet", "rate_limiter", "limited"], b"")?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}
