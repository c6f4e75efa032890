//! Bad input in an instance's files: the errno of its class, a sentence in `last_error`, nothing half-made.

use nfio_tests::{Instance, Mounted, errno};

/// Writes one wrong file into an otherwise right instance and looks at what `activate` says.
#[track_caller]
fn refused(fw: &Instance, file: &str, text: &str, expected: i32, code: u32, class: &str, names: &str) {
    let right = fw.try_get(file).expect("a readable file");
    fw.put(file, text);
    assert_eq!(errno(fw.try_act("activate")), expected, "{file} = {text:?}");
    let error = fw.get("last_error");
    assert!(error.contains(&format!("code: {code}\nerror: {class}\n")), "{file} = {text:?}: {error}");
    assert!(error.contains("operation: activate\n") && error.contains(names), "{file} = {text:?}: {error}");
    assert_eq!(fw.status(), "undeployed");
    fw.put(file, &right);
}

#[test]
fn each_wrong_file_is_named_with_its_class() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let (inval, io) = (libc::EINVAL, libc::EIO);
    refused(&fw, "machine/vm.image", "", inval, 713, "VNFImageNameIsEmptyError", "machine/vm.image");
    refused(&fw, "machine/ip", "\n", inval, 714, "VNFHostNameIsEmptyError", "machine/ip");
    refused(&fw, "machine/vm.image", "nowhere\n", io, 705, "VNFDeployError", "nowhere");
    refused(&fw, "machine/vm.image", "/no/such/image\n", io, 705, "VNFDeployError", "/no/such/image");
    refused(
        &fw,
        "machine/ip",
        "192.0.2.7\n",
        libc::ECONNREFUSED,
        701,
        "HypervisorConnectionError",
        "192.0.2.7",
    );
    refused(&fw, "machine/vm.memory", "lots\n", inval, 720, "VNFConfigurationError", "vm.memory");
    refused(&fw, "machine/vm.vcpu", "many\n", inval, 720, "VNFConfigurationError", "vm.vcpu");
    refused(&fw, "config/boot.conf", "frobnicate = 1\n", inval, 720, "VNFConfigurationError", "frobnicate");
    refused(&fw, "config/boot.conf", "[vm]\nkernel = \"k\"\n", inval, 720, "VNFConfigurationError", "vm");
    refused(&fw, "config/boot.conf", "env = \n", inval, 720, "VNFConfigurationError", "line 1");
    fw.act("activate");
    assert_eq!(fw.try_get("last_error").expect("last_error"), "", "emptied by success");
    fw.act("destroy");
}

#[test]
fn a_new_instance_without_an_image_says_so_first() {
    let mounted = Mounted::new();
    let fw = mounted.instance("firewall", "fw-a");
    std::fs::create_dir(fw.path()).expect("mkdir");
    assert_eq!(errno(fw.try_act("activate")), libc::EINVAL);
    let error = fw.get("last_error");
    assert!(error.contains("713") && error.contains("VNFImageNameIsEmptyError"), "{error}");
}

#[test]
fn a_guest_that_ends_at_once_fails_activate_with_its_last_words() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    fw.put("config/boot.conf", "command = [\"sh\", \"-c\", \"echo famous last words; exit 3\"]\n");
    // A ruleset makes configure talk to a guest that is on its way out.
    fw.put("config/nf_conf", "table inet filter {\n}\n");
    assert_ne!(errno(fw.try_act("activate")), 0);
    assert_eq!(fw.status(), "undeployed");
    assert!(fw.get("last_error").contains("famous last words"), "{}", fw.get("last_error"));
    assert!(fw.get("log").contains("famous last words"), "the log is kept");
}

#[test]
fn files_of_machine_that_are_no_regular_files_are_refused() {
    let mounted = Mounted::new();
    let fw = mounted.firewall("fw-a");
    let image = fw.file("machine/vm.image");
    std::fs::remove_file(&image).expect("unlink");
    std::os::unix::fs::symlink("/etc/hostname", &image).expect("symlink");
    assert_eq!(errno(fw.try_act("activate")), libc::EINVAL);
    std::fs::remove_file(&image).expect("unlink");
    nix::unistd::mkfifo(&image, nix::sys::stat::Mode::S_IRWXU).expect("mkfifo");
    assert_eq!(errno(fw.try_act("activate")), libc::EINVAL);
    assert_eq!(fw.status(), "undeployed");
}
