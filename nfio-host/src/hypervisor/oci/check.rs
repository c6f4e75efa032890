//! What this driver can serve, judged before anything is touched.

use crate::error::{HypervisorError, Result, VnfConfigurationError};
use crate::hypervisor::GuestSpec;
use crate::hypervisor::container::check;
use crate::hypervisor::container::sysctl::Sysctls;

/// Everything but the image, which is judged where images are known.
pub(super) fn judge(spec: &GuestSpec) -> Result<()> {
    host(&spec.host)?;
    let boot = &spec.boot;
    check::unsupported(
        "Oci",
        &[
            ("pull", boot.pull),
            ("[[interface]]", !boot.interfaces.is_empty()),
            ("[[port]]", !boot.ports.is_empty()),
            ("[vm]", boot.vm.is_some()),
        ],
    )?;
    check::check(spec)?;
    Sysctls::of(spec).map(drop)
}

fn host(host: &str) -> Result<()> {
    match host {
        "127.0.0.1" | "::1" | "localhost" => Ok(()),
        "" => Err(VnfConfigurationError::HostNameIsEmpty(
            "machine/ip is empty: write 127.0.0.1 into it".into(),
        )
        .into()),
        other => Err(HypervisorError::Connection(format!(
            "machine/ip: the driver Oci runs guests on this machine alone and cannot reach {other}; write 127.0.0.1"
        ))
        .into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hypervisor::boot_conf::BootConf;

    fn spec() -> GuestSpec {
        GuestSpec::example()
    }

    #[test]
    fn hosts_other_than_this_one_are_a_connection_error() {
        for (name, code) in [("127.0.0.1", 0), ("::1", 0), ("localhost", 0), ("", 714), ("10.0.0.1", 701)] {
            let spec = GuestSpec { host: name.into(), ..spec() };
            assert_eq!(judge(&spec).err().map_or(0, |e| e.code()), code, "{name:?}");
        }
    }

    #[test]
    fn what_oci_does_not_serve_is_refused_by_its_key() {
        for (conf, key) in [
            ("pull = true", "pull"),
            ("[[interface]]\nname = \"eth1\"", "[[interface]]"),
            ("[[port]]\nhost = 1\nguest = 2", "[[port]]"),
            ("[vm]\nkernel = \"k\"", "[vm]"),
            ("user = \"root\"", "user"),
            ("user = \"4294967295\"", "user"),
            ("hostname = \"a b\"", "hostname"),
            ("dns = [\"ns.example\"]", "dns"),
            ("command = []", "command"),
            ("[env]\n\"A=B\" = \"1\"", "A=B"),
            ("[capabilities]\nadd = [\"FLY\"]", "FLY"),
            ("[sysctls]\n\"kernel.panic\" = \"1\"", "kernel.panic"),
        ] {
            let error = judge(&GuestSpec { boot: BootConf::parse(conf).unwrap(), ..spec() }).unwrap_err();
            assert!(error.code() == 720 && error.to_string().contains(key), "{conf}: {error}");
        }
    }

    #[test]
    fn nonsense_limits_are_refused() {
        for spec in [
            GuestSpec { memory: Some(1), ..spec() },
            GuestSpec { vcpu: Some(f64::NAN), ..spec() },
            GuestSpec { vcpu: Some(0.0), ..spec() },
        ] {
            assert_eq!(judge(&spec).unwrap_err().code(), 720);
        }
    }
}
