//! Any plugin of SDK 1.y runs in any nfio that speaks SDK 1.z, older or newer: both built for real, from copies of this
//! checkout whose SDK has one or two methods more in each of the ABI's two traits.

use nfio_tests::{Crate, Instance, Mounted, Options, Tree};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Minor versions of the plugins that are built; 0 is this checkout's SDK as it is.
const MINORS: [usize; 3] = [0, 1, 2];

/// A plugin that tells what it was built with, what its host tells it, and what its own later methods answer.
const PLUGIN: &str = r#"
use middlebox_sdk::{File, Middlebox, Result, Type, Vnf};

struct Skew;

impl Middlebox for Skew {
    fn describe(&self) -> Type {
        ["own", "news", "extra"].into_iter().fold(Type::new("@TYPE@", "0.1.0"), |ty, file| ty.file(File::value(file)))
    }
    fn read(&self, vnf: &Vnf<'_>, file: &str) -> Result<Vec<u8>> {
        let _ = vnf;
        let news: Vec<String> = vec![@NEWS@];
        Ok(match file {
            "own" => "built with SDK @VERSION@\n".into(),
            "news" => format!("{}\n", news.join(", ")).into_bytes(),
            _ => "read of @TYPE@\n".into(),
        })
    }
    fn configure(&self, vnf: &Vnf<'_>, nf_conf: &[u8]) -> Result<()> {
        vnf.put_file("/run/skew", 0o644, nf_conf)
    }
@EXTRA@
}

middlebox_sdk::export_middlebox!(Skew);
"#;

fn ty(version: &str) -> String {
    format!("skew_{}", version.rsplit_once('.').expect("a version").0.replace('.', "_"))
}

/// A workspace with this checkout's SDK as `version`, `methods` more in each trait, and the plugin against it.
fn tree(version: &str, methods: usize) -> Tree {
    let mut tree = Tree::default();
    for path in ["Cargo.toml", "middlebox-sdk"] {
        tree.copy(path);
    }
    tree.replace_span("Cargo.toml", "\nmembers = [", "]\n", "\nmembers = [\"middlebox-sdk\", \"skew\"]\n");
    tree.replace_span("Cargo.toml", "\ndefault-members = [", "]\n", "\n");
    // A version of its own: cargo takes packages of the same name, version and place in their workspaces for one.
    tree.replace_span(
        "Cargo.toml",
        "middlebox-sdk = {",
        "}",
        &format!("middlebox-sdk = {{ path = \"middlebox-sdk\", version = \"{version}\" }}"),
    );
    tree.replace_span(
        "middlebox-sdk/Cargo.toml",
        "\nversion = \"",
        "\"",
        &format!("\nversion = \"{version}\""),
    );
    for n in 1..=methods {
        add_method(&mut tree, n, version);
    }
    let ty = ty(version);
    let manifest = format!(
        "[package]\nname = \"{ty}\"\nversion = \"{version}\"\nedition = \"2024\"\n[lib]\ncrate-type = [\"cdylib\"]\n\
         [dependencies]\nmiddlebox-sdk.workspace = true\n"
    );
    tree.add("skew/Cargo.toml", manifest);
    let news: String = (1..=methods).map(|n| format!("vnf.news_{n}()?,")).collect();
    let extra: String = (1..=methods)
        .map(|n| format!("    fn extra_{n}(&self) -> String {{ \"extra_{n} of {ty}\\n\".into() }}\n"))
        .collect();
    let source = [("@TYPE@", &*ty), ("@VERSION@", version), ("@NEWS@", &news), ("@EXTRA@", &extra)]
        .into_iter()
        .fold(PLUGIN.to_owned(), |text, (name, value)| text.replace(name, value));
    tree.add("skew/src/lib.rs", source);
    tree
}

/// What a later minor version may do: a method more at the end of each trait, with a default body, and a key more in
/// what `describe` tells.
fn add_method(tree: &mut Tree, n: usize, version: &str) {
    // Each goes behind the one before; the first behind what 1.0 ends with.
    let abi = "middlebox-sdk/src/abi.rs";
    let host_end = "    fn log(&self, level: u32, message: RStr<'_>);\n".to_owned();
    let host = |n: usize| match n {
        0 => host_end.clone(),
        n => {
            format!("    fn news_{n}(&self) -> Answer<RString> {{ RResult::ROk(\"no news_{n}\".into()) }}\n")
        }
    };
    tree.insert(abi, &host(n - 1), &host(n));
    let plugin_end =
        "    fn configure(&self, host: Lent<'_>, nf_conf: RSlice<'_, u8>) -> Answer<()>;\n".to_owned();
    let plugin = |n: usize| match n {
        0 => plugin_end.clone(),
        n => format!(
            "    fn extra_{n}(&self) -> Answer<RString> {{ RResult::ROk(\"the default of extra_{n}\\n\".into()) }}\n"
        ),
    };
    tree.insert(abi, &plugin(n - 1), &plugin(n));
    tree.insert(
        abi,
        "        self.0.log(level as u32, message.into());\n    }\n",
        &format!("    fn news_{n}(&self) -> Result<String> {{ answer(self.0.news_{n}()) }}\n"),
    );
    tree.insert(
        "middlebox-sdk/src/export.rs",
        "        guard(\"configure\", || self.0.configure(&Vnf::new(&Borrowed(host)), nf_conf.as_slice()))\n    }\n",
        &format!("    fn extra_{n}(&self) -> Answer<RString> {{ guard(\"extra\", || Ok(self.0.extra_{n}().into())) }}\n"),
    );
    // A key that describe tells and an older host does not know.
    tree.insert(
        "middlebox-sdk/src/layout.rs",
        "        toml::to_string(self)",
        &format!(".map(|text| format!(\"later_{n} = true\\n{{text}}\"))"),
    );
    tree.insert(
        "middlebox-sdk/src/vnf.rs",
        "    fn log(&self, level: Level, message: &str);\n",
        &format!(
            "    /// New in {version}.\n    fn news_{n}(&self) -> Result<String> {{ Ok(\"none\".into()) }}\n"
        ),
    );
    tree.insert(
        "middlebox-sdk/src/vnf.rs",
        "    pub fn new(host: &'a dyn Host) -> Self {\n        Self { host }\n    }\n",
        &format!("    /// New in {version}.\n    pub fn news_{n}(&self) -> Result<String> {{ self.host.news_{n}() }}\n"),
    );
    tree.insert(
        "middlebox-sdk/src/middlebox.rs",
        "    fn describe(&self) -> Type;\n",
        &format!("    /// New in {version}.\n    fn extra_{n}(&self) -> String {{ \"unwritten extra_{n}\".into() }}\n"),
    );
}

/// The plugin built with SDK `version`.
fn plugin(version: &str, methods: usize) -> PathBuf {
    let directory = tree(version, methods).write(&format!("sdk-{version}"));
    let workspace = Crate::new(&directory);
    let ty = ty(version);
    workspace.cargo(&["build", "--package", &ty]);
    workspace.built("debug", &format!("lib{ty}.so"))
}

/// The plugins of all [`MINORS`].
fn plugins() -> &'static [PathBuf] {
    static PLUGINS: OnceLock<Vec<PathBuf>> = OnceLock::new();
    PLUGINS.get_or_init(|| MINORS.iter().map(|y| plugin(&format!("1.{y}.0"), *y)).collect())
}

/// An nfio that speaks SDK 1.1: it asks plugins for `extra_1`, and has news for them.
fn newer_nfio() -> PathBuf {
    // Not 1.1.0: the plugin of that version has a workspace of its own.
    let version = "1.1.1";
    let mut tree = tree(version, 1);
    tree.copy("nfio-host/Cargo.toml");
    tree.copy("nfio-host/src");
    tree.copy("nfio-host/BOOT_CONF.md");
    tree.replace("Cargo.toml", "\"skew\"]", "\"skew\", \"nfio-host\"]");
    tree.replace("nfio-host/Cargo.toml", "name = \"nfio\"\n", "name = \"nfio-newer\"\n");
    let abi = "nfio-host/src/modules/abi.rs";
    tree.insert(
        abi,
        "impl HostAbi for Lender<'_> {\n",
        "    fn news_1(&self) -> Answer<RString> { RResult::ROk(\"news_1 of the host\".into()) }\n",
    );
    tree.insert(
        abi,
        "    pub fn read(&self, host: &dyn Host, file: &str) -> Result<Vec<u8>> {\n",
        "        if file == \"extra\" {
            let text = self.boxed.extra_1().into_result().map_err(NfioError::from)?;
            return Ok(text.into_string().into_bytes());
        }
",
    );
    let workspace = Crate::new(&tree.write("nfio-1.1"));
    workspace.cargo(&["build", "--package", "nfio-host", "--bin", "nfio-newer"]);
    workspace.built("debug", "nfio-newer")
}

/// All orders of three.
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

/// Mounts with the three plugins, loaded in each order, and reads `news` and `extra` of each: as many instances as
/// minors, in their order.
#[track_caller]
fn in_every_order(nfio: Option<&Path>, expected: [(&str, &str); 3]) {
    for order in ORDERS {
        let mounted = Mounted::unmounted(Options { nfio: nfio.map(Path::to_owned), ..Options::default() });
        // They are loaded in the order of their names.
        for (place, minor) in order.into_iter().enumerate() {
            let file = mounted.module_root().join(format!("lib{place}.so"));
            fs::copy(&plugins()[minor], file).expect("a built plugin");
        }
        mounted.mount();
        let instances: Vec<Instance> =
            order.iter().map(|minor| mounted.made(&format!("skew_1_{minor}"), "a")).collect();
        for (instance, minor) in instances.iter().zip(order) {
            assert_eq!(instance.get("own"), format!("built with SDK 1.{minor}.0"), "{order:?}");
            let (news, extra) = expected[minor];
            assert_eq!(
                (&*instance.get("news"), &*instance.get("extra")),
                (news, extra),
                "1.{minor} in {order:?}"
            );
        }
        if order == ORDERS[0] {
            for instance in &instances {
                instance.put("config/nf_conf", "what nf_conf holds\n");
                instance.act("activate");
                assert_eq!(instance.run("cat /run/skew"), "what nf_conf holds");
                instance.act("destroy");
            }
        }
    }
}

#[test]
fn newer_plugins_run_in_this_nfio_and_find_defaults_for_what_it_lacks() {
    in_every_order(
        None,
        [
            ("", "read of skew_1_0"),
            ("no news_1", "read of skew_1_1"),
            ("no news_1, no news_2", "read of skew_1_2"),
        ],
    );
}

#[test]
fn older_and_newer_plugins_run_in_a_newer_nfio() {
    in_every_order(
        Some(&newer_nfio()),
        [
            ("", "the default of extra_1"),
            ("news_1 of the host", "extra_1 of skew_1_1"),
            ("news_1 of the host, no news_2", "extra_1 of skew_1_2"),
        ],
    );
}

#[test]
fn a_plugin_of_another_major_version_is_refused_with_both_versions() {
    let mounted = Mounted::unmounted(Options::default());
    mounted.install(&plugin("2.0.0", 0));
    mounted.mount();
    let at =
        |file: &str| fs::read_to_string(mounted.path().join("modules/skew_2_0").join(file)).expect("a file");
    assert_eq!(at("state"), "failed\n");
    let error = at("error");
    assert!(error.contains("middlebox-sdk 2.0.0") && error.contains(" 1.x"), "{error}");
    assert_eq!(error.lines().count(), 1, "{error}");
}
