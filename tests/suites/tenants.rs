//! Others than root on a mount with `allow_other`: they have what permissions and policy give them, and nothing more.
//! Policy judges by who owns an instance and its files, never by who writes the verb.

use nfio_tests::{Instance, Mounted, NOBODY, Options, User, errno, image, output_of};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

const NOBODY_USER: User = User::NOBODY;
const OTHER: User = User { uid: 4711, gid: 4711 };

/// A mount for everybody, whose policy grants this machine and the images of the test bed, and `more`.
#[track_caller]
fn shared(more: &str) -> Mounted {
    let images = image().parent().expect("the images").display();
    let config = format!("[policy]\nhosts = [\"127.0.0.1\"]\n{more}\n[oci]\nimages = \"{images}\"\n");
    let arguments = vec!["-o".to_owned(), "allow_other".to_owned()];
    Mounted::with(Options { arguments, config, ..Options::default() })
}

/// As the README tells an administrator: everybody may make firewalls, and nobody may touch another's.
fn open_to_all(mounted: &Mounted) -> PathBuf {
    let ty = mounted.path().join("nf-types/firewall");
    fs::set_permissions(&ty, fs::Permissions::from_mode(0o1777)).expect("chmod of a type");
    ty
}

/// A tenant's firewall, made by the tenant.
#[track_caller]
fn tenants_firewall(mounted: &Mounted, user: User, name: &str) -> Instance {
    let ty = open_to_all(mounted);
    user.does(
        &ty,
        &format!("mkdir {name}; cd {name}; echo 127.0.0.1 >machine/ip; echo firewall >machine/vm.image"),
    );
    mounted.instance("firewall", name)
}

#[test]
fn without_allow_other_nobody_but_root_enters() {
    let mounted = Mounted::new();
    NOBODY_USER.cannot(Path::new("/"), &format!("ls {}", mounted.path().display()), "Permission denied");
}

#[test]
fn a_tenant_lives_the_whole_life_of_an_own_instance() {
    let mounted = shared("");
    let ty = mounted.path().join("nf-types/firewall");
    NOBODY_USER.cannot(&ty, "mkdir fw-n", "Permission denied");
    let fw = tenants_firewall(&mounted, NOBODY_USER, "fw-n");
    let metadata = fs::metadata(fw.path()).expect("stat");
    assert_eq!((metadata.uid(), metadata.gid()), (NOBODY, NOBODY));
    let script = "
        printf 'table inet filter {\\n chain input {\\n type filter hook input priority 0\\n icmp type echo-request drop\\n }\\n}\\n' >config/nf_conf
        echo activate >action
        cat status
        echo 'hostname' >command
        cat output stats/rx_bytes log last_error >/dev/null
        echo pause >action; echo unpause >action; echo reload >action; echo restart >action; echo stop >action
        cat status
        echo destroy >action
        cat status";
    assert_eq!(NOBODY_USER.does(fw.path(), script), "running\nexited\nundeployed\n");
    NOBODY_USER.does(&ty, "mv fw-n fw-m; rmdir fw-m; ls");
    assert!(!fw.path().exists());
}

#[test]
fn the_right_to_make_instances_goes_to_a_group_and_survives_a_remount() {
    let mounted = shared("");
    let ty = mounted.path().join("nf-types/firewall");
    chown(&ty, None, Some(OTHER.gid)).expect("chgrp of a type");
    fs::set_permissions(&ty, fs::Permissions::from_mode(0o1775)).expect("chmod of a type");
    mounted.umount();
    mounted.mount();
    NOBODY_USER.cannot(&ty, "mkdir fw-n", "Permission denied");
    OTHER.does(&ty, "mkdir fw-o");
    User { uid: NOBODY, gid: OTHER.gid }.does(&ty, "mkdir fw-n");
    // The sticky bit keeps one from another's.
    for attempt in ["rmdir fw-o", "mv fw-o fw-p", "rm -r fw-o"] {
        let output = User { uid: NOBODY, gid: OTHER.gid }.sh(&ty, attempt);
        assert!(!output.status.success(), "{attempt}");
    }
    assert!(ty.join("fw-o/action").exists());
}

#[test]
fn what_policy_does_not_grant_a_tenant_is_eperm_with_the_key() {
    let mounted = shared("");
    let fw = tenants_firewall(&mounted, NOBODY_USER, "fw-n");
    for (file, text, key, grant) in [
        ("config/boot.conf", "privileged = true\n", "privileged", "privileged = true"),
        ("config/boot.conf", "[capabilities]\nadd = [\"SYS_ADMIN\"]\n", "capabilities.add", "capabilities"),
        ("config/boot.conf", "[capabilities]\nadd = [\"ALL\"]\n", "capabilities.add", "capabilities"),
        ("config/boot.conf", "pull = true\n", "pull", "pull = true"),
        ("config/boot.conf", "[[port]]\nhost = 80\nguest = 80\n", "port", "ports = true"),
        ("config/boot.conf", "[[interface]]\nbridge = \"nfio0\"\n", "interface.bridge", "bridges = true"),
        ("machine/vm.image", "/\n", "machine/vm.image", "image_paths = true"),
        ("machine/vm.image", "/run/images/firewall\n", "machine/vm.image", "image_paths = true"),
        ("machine/ip", "192.0.2.7\n", "machine/ip", "hosts"),
        ("machine/ip", "localhost\n", "machine/ip", "hosts"),
    ] {
        let right = fw.try_get(file).expect("a file");
        let path = fw.file(file);
        NOBODY_USER.does(fw.path(), &format!("cat >{file} <<'END'\n{text}END\n"));
        NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Operation not permitted");
        let error = NOBODY_USER.does(fw.path(), "cat last_error");
        assert!(error.starts_with("code: 727\nerror: PolicyError\nerrno: EPERM\n"), "{error}");
        assert!(error.contains(key) && error.contains(grant) && error.contains("65534"), "{error}");
        // Whoever writes the verb: root does no better.
        assert_eq!(errno(fw.try_act("activate")), libc::EPERM, "{text}");
        fs::write(path, right).expect("a right file");
    }
    assert_eq!(fw.status(), "undeployed");
    // A name is not a way around either.
    for image in ["../../etc", "..", "firewall/../../.."] {
        NOBODY_USER.does(fw.path(), &format!("echo {image} >machine/vm.image"));
        assert_eq!(errno(fw.try_act("activate")), libc::EINVAL, "{image}");
    }
}

#[test]
fn what_policy_grants_a_tenant_has() {
    let mounted = shared("capabilities = [\"SYS_NICE\"]\nimage_paths = true");
    let fw = tenants_firewall(&mounted, NOBODY_USER, "fw-n");
    let image = image().display();
    NOBODY_USER.does(
        fw.path(),
        &format!("echo {image} >machine/vm.image; printf '[capabilities]\\nadd = [\"SYS_NICE\"]\\n' >config/boot.conf"),
    );
    NOBODY_USER.does(fw.path(), "echo activate >action; echo destroy >action");
}

/// Everything of root's that a tenant may want.
fn roots_secrets(mounted: &Mounted) -> Instance {
    let fw = mounted.firewall("fw-root");
    fw.put("config/nf_conf", "# secret\n");
    fw.put("config/boot.conf", "command = [\"sh\", \"-c\", \"echo secret; sleep 100000\"]\n");
    fw.act("activate");
    fw.run("echo secret");
    fw.try_act("frobnicate").expect_err("no verb");
    fw
}

#[test]
fn nothing_of_roots_that_is_not_for_all_can_be_read_or_written() {
    let mounted = shared("");
    let fw = roots_secrets(&mounted);
    for file in
        ["config/nf_conf", "config/boot.conf", "last_error", "log", "output", "command", "stats/rules"]
    {
        NOBODY_USER.cannot(fw.path(), &format!("cat {file}"), "Permission denied");
    }
    for file in ["action", "command", "config/nf_conf", "config/boot.conf", "machine/ip", "machine/vm.image"]
    {
        NOBODY_USER.cannot(fw.path(), &format!("echo destroy >{file}"), "Permission denied");
        NOBODY_USER.cannot(fw.path(), &format!("echo destroy >>{file}"), "Permission denied");
    }
    for attempt in [
        "rm -f machine/ip",
        "mv machine/ip machine/x",
        "ln -s /etc/shadow config/x",
        "mkdir config/x",
        "chmod 666 action",
        "chown 65534 action",
        "rmdir .",
        "touch x",
        "rm -f status",
    ] {
        let output = NOBODY_USER.sh(fw.path(), attempt);
        assert!(!output.status.success(), "{attempt}");
    }
    // What is for all: how it goes.
    assert_eq!(NOBODY_USER.does(fw.path(), "cat status machine/ip"), "running\n127.0.0.1\n");
    // nfio's own directory is not for others, and not in the mount.
    NOBODY_USER.cannot(&mounted.root(), "ls .nfio", "Permission denied");
    NOBODY_USER.cannot(&mounted.root(), "cat .nfio/lock", "Permission denied");
    NOBODY_USER.cannot(&mounted.path(), "ls .nfio", "No such file");
    assert_eq!(fw.status(), "running");
    fw.act("destroy");
}

#[test]
fn links_do_not_lend_a_tenant_nfios_eyes() {
    let mounted = shared("");
    let secret = roots_secrets(&mounted);
    let fw = tenants_firewall(&mounted, NOBODY_USER, "fw-n");
    let private = mounted.private(&secret);
    let restore = "rm -f config/nf_conf; touch config/nf_conf";
    for target in [
        "/etc/shadow".to_owned(),
        secret.file("config/nf_conf").display().to_string(),
        "../../fw-root/config/nf_conf".to_owned(),
        private.join("last_error").display().to_string(),
        "/proc/self/environ".to_owned(),
        "/dev/zero".to_owned(),
        "boot.conf".to_owned(),
        "nowhere".to_owned(),
    ] {
        NOBODY_USER.does(fw.path(), &format!("ln -sf '{target}' config/nf_conf"));
        NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
        let error = NOBODY_USER.does(fw.path(), "cat last_error");
        assert!(error.contains("config/nf_conf") && error.contains("symbolic link"), "{target}: {error}");
        assert!(!error.contains("secret") && !error.contains("root:"), "{error}");
        NOBODY_USER.does(fw.path(), restore);
    }
    for file in ["config/boot.conf", "machine/ip", "machine/vm.image", "machine/vm.vcpu", "machine/vm.memory"]
    {
        NOBODY_USER.does(fw.path(), &format!("mv {file} kept; ln -s /etc/shadow {file}"));
        NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
        NOBODY_USER.does(fw.path(), &format!("rm {file}; mkfifo {file}"));
        NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
        NOBODY_USER.does(fw.path(), &format!("rm {file}; mv kept {file}"));
    }
    // A whole directory of root's in the place of one's own.
    let other = secret.file("config").display().to_string();
    for directory in ["../fw-root/config", &other] {
        NOBODY_USER.does(fw.path(), &format!("mv config config.mine; ln -s '{directory}' config"));
        NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
        NOBODY_USER.cannot(fw.path(), "cat config/nf_conf", "Permission denied");
        NOBODY_USER.does(fw.path(), "rm config; mv config.mine config");
    }
    // Files for the guest.
    for source in ["link", "../machine/../../fw-root/config/nf_conf", "/etc/shadow", ".."] {
        NOBODY_USER.does(
            fw.path(),
            &format!(
                "ln -sf /etc/shadow config/link; printf '[[file]]\\nsource = \"{source}\"\\ntarget = \"/x\"\\n' >config/boot.conf"
            ),
        );
        NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
    }
    assert_eq!(fw.status(), "undeployed");
    secret.act("destroy");
}

#[test]
fn a_hard_link_to_anothers_file_is_not_read_for_a_tenant() {
    let mounted = shared("");
    let secret = roots_secrets(&mounted);
    let fw = tenants_firewall(&mounted, NOBODY_USER, "fw-n");
    // Made by root, as a machine without fs.protected_hardlinks lets the tenant do it.
    let link = |from: &str, to: &str| {
        fs::remove_file(fw.file(to)).expect("unlink");
        fs::hard_link(secret.file(from), fw.file(to)).expect("a hard link");
    };
    link("config/nf_conf", "config/nf_conf");
    NOBODY_USER.cannot(fw.path(), "cat config/nf_conf", "Permission denied");
    NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
    let error = NOBODY_USER.does(fw.path(), "cat last_error");
    assert!(error.contains("config/nf_conf") && error.contains("hard link"), "{error}");
    NOBODY_USER.does(fw.path(), "rm -f config/nf_conf; touch config/nf_conf");
    link("config/boot.conf", "config/boot.conf");
    NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
    NOBODY_USER.does(
        fw.path(),
        "rm -f config/boot.conf; printf '[[file]]\\nsource = \"x\"\\ntarget = \"/x\"\\n' >config/boot.conf; touch config/x",
    );
    link("config/nf_conf", "config/x");
    NOBODY_USER.cannot(fw.path(), "/bin/echo activate >action", "Invalid argument");
    secret.act("destroy");
}

#[test]
fn a_group_that_may_write_action_has_the_verbs_and_nothing_else() {
    let mounted = shared("");
    let fw = roots_secrets(&mounted);
    fw.act("destroy");
    chown(fw.file("action"), None, Some(NOBODY)).expect("chgrp of action");
    fs::set_permissions(fw.file("action"), fs::Permissions::from_mode(0o664)).expect("chmod of action");
    // An image by its absolute path, which root may name: judged by the owners, not by the writer.
    NOBODY_USER.does(fw.path(), "echo activate >action");
    assert_eq!(fw.status(), "running");
    for file in ["command", "output", "last_error", "log", "config/boot.conf", "config/nf_conf"] {
        NOBODY_USER.cannot(fw.path(), &format!("cat {file}"), "Permission denied");
    }
    for file in ["command", "machine/ip", "machine/vm.image", "config/boot.conf", "config/nf_conf"] {
        NOBODY_USER.cannot(fw.path(), &format!("echo x >{file}"), "Permission denied");
    }
    NOBODY_USER.cannot(fw.path(), "chmod 777 action", "Operation not permitted");
    NOBODY_USER.cannot(fw.path(), "chgrp 0 action", "Operation not permitted");
    NOBODY_USER.does(fw.path(), "echo stop >action; echo running >action; echo undeployed >action");
    OTHER.cannot(fw.path(), "echo activate >action", "Permission denied");
    assert_eq!(fw.status(), "undeployed");
}

#[test]
fn whoever_can_change_what_a_guest_is_is_who_it_is_judged_by() {
    let mounted = shared("");
    let fw = mounted.firewall("fw-root");
    fw.put("config/boot.conf", "privileged = true\n");
    let refused = |path: &str| {
        assert_eq!(errno(fw.try_act("activate")), libc::EPERM, "{path}");
        let error = fw.get("last_error");
        assert!(error.contains("727") && error.contains("privileged"), "{path}: {error}");
        assert!(error.contains("65534") || error.contains("everybody"), "{path}: {error}");
    };
    let files =
        [".", "config", "machine", "config/boot.conf", "machine/ip", "machine/vm.image", "machine/vm.vcpu"];
    for path in files {
        let file = fw.file(path);
        chown(&file, Some(NOBODY), None).expect("chown");
        refused(path);
        chown(&file, Some(0), Some(NOBODY)).expect("chgrp");
        let mode = fs::metadata(&file).expect("stat").mode();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode | 0o020)).expect("chmod");
        refused(path);
        chown(&file, Some(0), Some(0)).expect("chgrp");
        fs::set_permissions(&file, fs::Permissions::from_mode(mode | 0o002)).expect("chmod");
        refused(path);
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    fw.put("config/boot.conf", "");
    fw.act("activate");
    fw.act("destroy");
}

#[test]
fn a_tenant_who_owns_boot_conf_of_roots_instance_is_judged_as_the_tenant() {
    let mounted = shared("");
    let fw = mounted.firewall("fw-root");
    fw.put("machine/vm.image", "firewall\n");
    chown(fw.file("config/boot.conf"), Some(NOBODY), None).expect("chown");
    NOBODY_USER.does(fw.path(), "echo 'hostname = \"mine\"' >config/boot.conf");
    fw.act("activate");
    assert_eq!(fw.run("hostname"), "mine");
    fw.act("destroy");
    NOBODY_USER.does(fw.path(), "echo 'privileged = true' >config/boot.conf");
    assert_eq!(errno(fw.try_act("activate")), libc::EPERM);
    let error = fw.get("last_error");
    assert!(error.contains("config/boot.conf") && error.contains("65534"), "{error}");
}

#[test]
fn what_is_deployed_does_not_change_with_files_and_owners() {
    let mounted = shared("");
    let fw = mounted.firewall("fw-root");
    fw.act("activate");
    let before = fw.address();
    for path in ["config/boot.conf", "machine/vm.image", "machine/ip"] {
        chown(fw.file(path), Some(NOBODY), None).expect("chown");
    }
    NOBODY_USER.does(fw.path(), "echo 'privileged = true' >config/boot.conf; echo /etc >machine/vm.image");
    fw.act("restart");
    assert_eq!((fw.status().as_str(), fw.address()), ("running", before));
    fw.act("destroy");
    assert_eq!(errno(fw.try_act("activate")), libc::EPERM);
}

#[test]
fn suid_bits_lend_nothing() {
    let mounted = shared("");
    let fw = mounted.firewall("fw-root");
    // Not by this process: a child that another test starts would hold it open for writing, and nobody could run it.
    output_of(std::process::Command::new("cp").arg("/bin/busybox").arg(fw.file("config/id")));
    fs::set_permissions(fw.file("config/id"), fs::Permissions::from_mode(0o6757)).expect("chmod");
    fs::set_permissions(fw.file("config"), fs::Permissions::from_mode(0o755)).expect("chmod");
    assert_eq!(NOBODY_USER.does(fw.path(), "config/id -u"), format!("{NOBODY}\n"), "the mount is nosuid");
    // A write by somebody else takes them away, so that they mean nothing in ROOT and in copies either.
    NOBODY_USER.does(fw.path(), "echo x >>config/id");
    assert_eq!(fs::metadata(fw.file("config/id")).expect("stat").mode() & 0o7777, 0o757);
    let script = fw.file("config/script");
    fs::write(&script, "#!/bin/sh\n").expect("a script");
    for attempt in ["truncate -s 1 config/script", "echo x >config/script"] {
        fs::set_permissions(&script, fs::Permissions::from_mode(0o6777)).expect("chmod");
        NOBODY_USER.does(fw.path(), attempt);
        assert_eq!(fs::metadata(&script).expect("stat").mode() & 0o7777, 0o777, "{attempt}");
    }
    // And nobody gets them by giving a file away.
    let ty = open_to_all(&mounted);
    NOBODY_USER.does(&ty, "mkdir fw-n; cp /bin/busybox fw-n/config/sh; chmod 4755 fw-n/config/sh");
    NOBODY_USER.cannot(&ty, "chown 0 fw-n/config/sh", "Operation not permitted");
    chown(ty.join("fw-n/config/sh"), Some(0), None).expect("chown by root");
    assert_eq!(fs::metadata(ty.join("fw-n/config/sh")).expect("stat").mode() & 0o7777, 0o755);
}

#[test]
fn renames_and_devices_of_a_tenant_stay_the_tenants() {
    let mounted = shared("");
    let secret = roots_secrets(&mounted);
    let fw = tenants_firewall(&mounted, NOBODY_USER, "fw-n");
    NOBODY_USER.cannot(fw.path(), "mv ../fw-root/config/nf_conf config/nf_conf", "Permission denied");
    NOBODY_USER.cannot(fw.path(), "mv config/nf_conf ../fw-root/config/nf_conf", "Permission denied");
    NOBODY_USER.cannot(fw.path(), "mv ../fw-root ../fw-mine", "Operation not permitted");
    NOBODY_USER.cannot(fw.path(), "mv action config/action", "Operation not permitted");
    NOBODY_USER.cannot(fw.path(), "ln ../fw-root/config/nf_conf config/x", "Operation not permitted");
    NOBODY_USER.cannot(fw.path(), "mknod config/null c 1 3", "Operation not permitted");
    // A special file's path does not take what is no special file's.
    NOBODY_USER.does(fw.path(), "rm -f status");
    NOBODY_USER.cannot(fw.path(), "ln -s /etc/shadow status", "Operation not permitted");
    NOBODY_USER.cannot(fw.path(), "mkfifo status", "Operation not permitted");
    // Root's file in the tenant's directory is the tenant's to remove, not to read or to have read.
    let given = fw.file("config/given");
    fs::write(&given, "secret\n").expect("a file");
    fs::set_permissions(&given, fs::Permissions::from_mode(0o600)).expect("chmod");
    NOBODY_USER.cannot(fw.path(), "cat config/given", "Permission denied");
    NOBODY_USER.does(fw.path(), "rm -f config/given");
    symlink("/etc/shadow", fw.file("config/given")).expect("symlink");
    NOBODY_USER.does(fw.path(), "rm config/given");
    assert!(Path::new("/etc/shadow").exists());
    secret.act("destroy");
}
