use super::*;

#[test]
fn the_example_is_valid_and_shows_every_key_with_its_default() {
    let text = include_str!("../../../examples/nfio.toml");
    assert_eq!(Config::parse(text, "nfio.toml").unwrap(), Config::default());
    // Commented lines show what has no default: they hold too, once uncommented.
    let shown: String = text
        .lines()
        .map(|line| line.strip_prefix("#: ").unwrap_or(line))
        .fold(String::new(), |all, line| all + line + "\n");
    let shown = Config::parse(&shown, "nfio.toml").unwrap();
    assert!(shown.modules.sha256.is_some());
    assert!(shown.docker.socket.is_some() && shown.hosts.len() == 5);
    assert!(shown.hosts["192.0.2.10"].libvirt.is_some());
    for key in [
        "foreground",
        "hypervisor",
        "module_root",
        "log_level",
        "options",
        "read",
        "verb",
        "activate",
        "privileged",
        "devices",
        "host_paths",
        "bridges",
        "ports",
        "pull",
        "image_paths",
        "capabilities",
        "hosts",
        "chain_ends",
        "tls",
        "ssh",
        "port",
        "socket",
        "insecure",
        "uri",
        "layers",
        "network",
        "accelerator",
        "libvirt",
        "images",
        "subnet",
        "bridge",
        "sha256",
    ] {
        let stands = |line: &str| line.trim_start_matches("#: ").starts_with(&format!("{key} = "));
        assert!(text.lines().any(stands), "{key}");
    }
}

#[test]
fn an_unknown_key_is_named_with_file_and_line() {
    for (text, line, key) in [
        ("foreground = true\nhypervizor = \"Oci\"\n", 2, "hypervizor"),
        ("[policy]\n\npriviledged = true\n", 3, "priviledged"),
        ("[deadlines]\nread = 1\nwrite = 2\n", 3, "write"),
        ("[hosts.\"192.0.2.7\"]\ntelnet = true\n", 2, "telnet"),
        ("[oci]\nbridges = \"br0\"\n", 2, "bridges"),
        ("[network]\n", 1, "network"),
    ] {
        let error = Config::parse(text, "/etc/nfio/nfio.toml").unwrap_err().to_string();
        let expected = format!("/etc/nfio/nfio.toml line {line}: unknown key `{key}`");
        assert!(error.starts_with(&expected) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn values_that_make_no_sense_are_refused_with_their_line() {
    for (text, words) in [
        ("foreground = 1", "line 1: invalid type: integer `1`, expected a boolean"),
        ("\nlog_level = \"loud\"", "line 2: unknown variant `loud`, expected one of `error`"),
        ("[deadlines]\nread = 0", "line 2: a deadline is at least 1 second"),
        ("[deadlines]\nread = -1", "line 2: invalid value: integer `-1`"),
        ("options = [\"allow_other\", \"suid\"]", "options: unknown mount option \"suid\""),
        ("[modules]\nsha256 = [\"abc\"]", "line 2: \"abc\" is not a SHA-256"),
        ("x = ", "line 1: "),
        ("a = 1\na = 2", "line 2: "),
    ] {
        let error = Config::parse(text, "f").unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains('\n'), "{error}");
    }
}

#[test]
fn relative_paths_become_absolute() {
    let text = "[oci]\nimages = \"images\"\n[hosts.a]\ntls = { ca = \"a\", cert = \"/b\", key = \"c\" }\n";
    let mut config = Config::parse(text, "f").unwrap();
    config.make_absolute().unwrap();
    let here = std::env::current_dir().unwrap();
    assert_eq!((&config.oci.images, &config.module_root), (&here.join("images"), &here.join("plugins")));
    let tls = config.hosts["a"].tls.as_ref().unwrap();
    assert_eq!((&tls.ca, tls.cert.to_str()), (&here.join("a"), Some("/b")));
}

#[test]
fn sections_of_drivers_that_are_not_in_this_build_are_kept() {
    let config =
        Config::parse("[docker]\nsocket = \"/run/docker.sock\"\n[libvirt]\nuri = \"x\"\n", "f").unwrap();
    assert_eq!(config.docker.socket.as_deref(), Some(Path::new("/run/docker.sock")));
    assert_eq!(config.libvirt.uri, "x");
}

#[test]
fn a_named_configuration_must_be_there() {
    let error = Config::load(Some(Path::new("/none/nfio.toml"))).unwrap_err().to_string();
    assert!(error.contains("/none/nfio.toml") && error.contains("--config"), "{error}");
}

#[test]
fn guests_and_links_of_chains_have_addresses_of_their_own() {
    assert!(Config::default().check_subnets().is_ok());
    let check = |guests: &str, links: &str| {
        let text = format!("[oci]\nsubnet = \"{guests}\"\n[chains]\nsubnet = \"{links}\"\n");
        Config::parse(&text, "f").unwrap().check_subnets()
    };
    for (guests, links) in [
        ("10.203.0.0/16", "10.203.0.0/16"),
        ("10.0.0.0/8", "10.204.0.0/16"),
        ("10.204.7.0/24", "10.204.0.0/16"),
        // The network counts, not how it is written.
        ("10.203.9.9/16", "10.203.255.0/29"),
    ] {
        let error = check(guests, links).unwrap_err().to_string();
        let both = format!("[oci] subnet {guests:?} and [chains] subnet {links:?} overlap");
        assert!(error.contains(&both), "{error}");
    }
    assert!(check("10.203.0.0/17", "10.203.128.0/17").is_ok());
    assert!(check("none", "10.203.128.0/17").is_ok(), "the driver tells");
}
