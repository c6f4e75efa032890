//! What stands in the guest: paths, Suricata's configuration, the guest's first process.

/// Suricata's configuration: the image's, and over it what nfio needs.
pub(crate) const YAML: &str = "/etc/suricata/nfio/suricata.yaml";
/// The rules of nf_conf that are in force.
pub(crate) const RULES: &str = "/etc/suricata/nfio/nf_conf.rules";
/// Those that are to come: what `configure` judges.
pub(crate) const NEW_RULES: &str = "/etc/suricata/nfio/nf_conf.rules.new";
/// The configuration to come.
pub(crate) const NEW_YAML: &str = "/etc/suricata/nfio/suricata.yaml.new";
/// Where Suricata takes orders.
pub(crate) const SOCKET: &str = "/run/suricata/nfio.socket";
/// Suricata's own lines since its start.
pub(crate) const ENGINE_LOG: &str = "/run/suricata/nfio.log";
/// There once `configure` has succeeded since Suricata's start.
pub(crate) const CONFIGURED: &str = "/run/suricata/nfio.configured";

/// Words of a shell that print the interfaces to watch: what is up, but lo and the links of a chain that lead on, since
/// all that they carry has come by another one. Of an interface's flags (netdevice(7)) 1 is IFF_UP and 8 IFF_LOOPBACK.
macro_rules! interfaces {
    () => {
        r#"for interface in /sys/class/net/*; do
    read -r flags < "$interface/flags"
    case ${interface##*/} in out[0-9]*) continue ;; esac
    if [ $((flags & 9)) -eq 1 ]; then echo "${interface##*/}"; fi
done"#
    };
}

/// The guest's first process: takes away what an earlier run left, finds the interfaces and starts Suricata, again
/// whenever SIGHUP says that the interfaces are others. It ends with Suricata.
pub(crate) const LAUNCHER: &str = concat!(
    r#"mkdir -p /run/suricata
suricata=
ending=
again=
trap 'ending=1; kill -TERM $suricata' TERM INT
trap 'again=1; kill -TERM $suricata' HUP
while :; do
    again=
    rm -f /run/suricata/nfio.*
    watched=$("#,
    interfaces!(),
    r#")
    if [ -z "$watched" ]; then echo "no network interface is up: there is nothing to watch" >&2; exit 1; fi
    set --
    for interface in $watched; do set -- "$@" "--af-packet=$interface"; done
    suricata -c /etc/suricata/nfio/suricata.yaml "$@" &
    suricata=$!
    echo "$watched" > /run/suricata/nfio.watched
    if [ -n "$ending" ]; then kill -TERM $suricata; fi
    while :; do
        wait $suricata
        code=$?
        kill -0 $suricata 2>/dev/null || break
    done
    if [ -z "$again" ] || [ -n "$ending" ]; then exit $code; fi
done"#
);

/// Has the first process start Suricata again where the interfaces are others than those that it watches. Prints `again`
/// once the old one's files are gone.
pub(crate) const LOOK_AGAIN: &str = concat!(
    r#"watched=$("#,
    interfaces!(),
    r#")
if [ ! -e /run/suricata/nfio.watched ] || [ "$watched" = "$(cat /run/suricata/nfio.watched)" ]; then exit 0; fi
rm -f /run/suricata/nfio.watched
kill -HUP 1
until [ -e /run/suricata/nfio.watched ]; do sleep 0.05; done
echo again"#
);

/// What stands over the image's configuration. EVE writes alerts alone, and to stdout: nfio keeps that, below a cap.
const OVER_THE_IMAGES: &str = "%YAML 1.1
---
include: /etc/suricata/suricata.yaml
outputs:
  - eve-log:
      enabled: yes
      filetype: regular
      filename: /dev/stdout
      types: [alert]
logging:
  default-log-level: notice
  outputs:
    - console:
        enabled: yes
    - file:
        enabled: yes
        filename: /run/suricata/nfio.log
# How often Suricata sums up what stats/alerts tells, in seconds.
stats:
  enabled: yes
  interval: 1
unix-command:
  enabled: yes
  filename: /run/suricata/nfio.socket
";

/// Suricata's configuration with the rules of `nf_conf`, or with the image's where that is empty.
pub(crate) fn yaml(nf_conf: &[u8]) -> String {
    if is_empty(nf_conf) {
        return OVER_THE_IMAGES.into();
    }
    format!("{OVER_THE_IMAGES}rule-files: [{RULES}]\n")
}

/// Whether nf_conf says nothing.
pub(crate) fn is_empty(nf_conf: &[u8]) -> bool {
    nf_conf.trim_ascii().is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The interfaces that Suricata watches since its last start.
    const WATCHED: &str = "/run/suricata/nfio.watched";

    #[test]
    fn the_texts_name_the_same_paths() {
        for path in [SOCKET, ENGINE_LOG] {
            assert!(OVER_THE_IMAGES.contains(&format!("filename: {path}\n")), "{path}");
        }
        for path in [SOCKET, ENGINE_LOG, CONFIGURED, WATCHED] {
            assert!(path.starts_with("/run/suricata/nfio."), "the launcher takes {path} away");
        }
        assert!(LAUNCHER.contains(&format!("-c {YAML} ")) && LAUNCHER.contains(&format!("> {WATCHED}")));
        assert!(LOOK_AGAIN.contains(&format!("until [ -e {WATCHED} ]")));
    }

    #[test]
    fn an_empty_nf_conf_leaves_the_images_rules_in_force() {
        assert!(!yaml(b" \n").contains("rule-files"));
        assert!(yaml(b"alert ip any any -> any any (sid:1;)").contains(&format!("rule-files: [{RULES}]")));
    }
}
