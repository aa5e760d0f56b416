//! A world to keep: keys of every role, a store, a config, perhaps an etcd; and the binary, run against them.
//!
//! Every run's output is searched for the world's secrets, so that no test can see one pass unnoticed.

mod failure;
mod files;
mod http;
pub mod keyspace;
mod template;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

use crate::binary::{self, Lifeboat, Ran};
use crate::bucket::Bucket;
use crate::real_etcd::{Etcd, RealEtcd};
use crate::server::{Server, free_port};
use crate::stock;

pub use failure::Failure;
pub use files::{all_of, copy_dir, flip};
pub use http::{get, samples};

/// The cluster's name in every world.
pub const CLUSTER: &str = "prod-eu-1";

/// Where the backups go.
#[derive(Clone, Debug)]
pub enum Place {
    Folder(PathBuf),
    Bucket(Bucket),
}

impl Place {
    pub fn url(&self) -> String {
        match self {
            Self::Folder(path) => format!("file://{}", path.display()),
            Self::Bucket(bucket) => format!("{}/etcd", bucket.url()),
        }
    }
}

#[derive(Debug)]
pub struct World {
    dir: TempDir,
    pub place: Place,
    pub etcd: Option<RealEtcd>,
    /// Top-level fields of the config, each with its value on one line.
    fields: BTreeMap<&'static str, String>,
    /// What must show nowhere.
    secrets: Vec<String>,
}

impl World {
    /// A new etcd with keys in it, new keys, an empty folder as store.
    pub fn new(version: Etcd) -> Self {
        let etcd = RealEtcd::single(version);
        keyspace::fill(&etcd);
        Self::around(Some(etcd), None)
    }

    /// The same with a bucket as store.
    pub fn in_bucket(version: Etcd, bucket: Bucket) -> Self {
        let etcd = RealEtcd::single(version);
        keyspace::fill(&etcd);
        Self::around(Some(etcd), Some(bucket))
    }

    /// A copy of a store with two backups, the older one proven to `booted`, the newer one not proven; and no etcd any more.
    pub fn backed_up() -> Self {
        template::copy()
    }

    /// Whatever etcd and bucket are given; without a bucket a folder, without an etcd an endpoint where nobody listens.
    pub fn around(etcd: Option<RealEtcd>, bucket: Option<Bucket>) -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-world-").tempdir().expect("a temporary folder");
        let keys = dir.path().join("keys");
        binary::lifeboat(&["keygen", "--role", "all", "--out", &keys.display().to_string()]).expect_code(0);
        Self::with_keys(dir, etcd, bucket)
    }

    /// A world in a folder that holds `keys` already, and perhaps a `store`.
    fn with_keys(dir: TempDir, etcd: Option<RealEtcd>, bucket: Option<Bucket>) -> Self {
        let folder = dir.path().join("store");
        fs::create_dir_all(&folder).expect("the folder is ours");
        let place = bucket.map_or(Place::Folder(folder), Place::Bucket);
        let mut secrets = secrets(&dir.path().join("keys"));
        if let Place::Bucket(bucket) = &place {
            secrets.push(bucket.secret().to_owned());
        }
        let mut world = Self { dir, place, etcd, fields: BTreeMap::new(), secrets };
        world.fields = world.usual_fields();
        world.write_config("config.yaml", &[]);
        world
    }

    fn usual_fields(&self) -> BTreeMap<&'static str, String> {
        let endpoint = match &self.etcd {
            Some(etcd) => etcd.endpoint(),
            None => format!("http://127.0.0.1:{}", free_port()),
        };
        let key = |name: &str| self.key(name).display().to_string();
        let etcds = Etcd::ALL.map(|version| format!("\"{}\": {}", version.line(), version.server().display()));
        let signing = ["backup", "prove", "prune"].map(|role| format!("{role}: {}", key(&format!("{role}.sign.key"))));
        BTreeMap::from([
            ("cluster", CLUSTER.to_owned()),
            ("etcd", format!("{{ endpoints: [\"{endpoint}\"], members: endpoints }}")),
            ("stores", format!("[{}]", self.store_field())),
            (
                "keys",
                format!(
                    "{{ recipients: [{}, {}], signing_keys: {{ {} }}, identity_file: {} }}",
                    key("prove.pub"),
                    key("recovery.pub"),
                    signing.join(", "),
                    key("prove.key")
                ),
            ),
            ("schedule", "{ backup: \"0 3 * * *\", prune: \"30 3 * * *\", jitter: 0s }".to_owned()),
            ("keep", "{ last: 1, min_proven: 1 }".to_owned()),
            ("prune", "{ grace: 1s, min_age: 1s }".to_owned()),
            (
                "proof",
                format!(
                    "{{ scratch: {{ dir: {}, max: 2GiB }}, etcd: {{ {} }} }}",
                    self.path("scratch").display(),
                    etcds.join(", ")
                ),
            ),
            ("http", format!("{{ listen: \"127.0.0.1:{}\" }}", free_port())),
        ])
    }

    /// The store as the config names it; what is secret goes into an options file.
    fn store_field(&self) -> String {
        let Place::Bucket(bucket) = &self.place else {
            return format!("{{ url: \"{}\" }}", self.place.url());
        };
        let (secret, open): (Vec<_>, Vec<_>) = bucket.options().into_iter().partition(|(name, _)| name.contains("key"));
        let lines: Vec<String> =
            secret.iter().map(|(name, value)| format!("{name}: {}\n", Value::from(value.as_str()))).collect();
        fs::write(self.path("options.yaml"), lines.concat()).expect("the folder is ours");
        let options: Vec<String> = open.iter().map(|(name, value)| format!("{name}: \"{value}\"")).collect();
        format!(
            "{{ url: \"{}\", options: {{ {} }}, options_file: {} }}",
            self.place.url(),
            options.join(", "),
            self.path("options.yaml").display()
        )
    }

    /// A path in this world's own folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A file that `lifeboat keygen` made.
    pub fn key(&self, name: &str) -> PathBuf {
        self.path("keys").join(name)
    }

    /// The live etcd.
    pub fn etcd(&self) -> &RealEtcd {
        self.etcd.as_ref().expect("this world has an etcd")
    }

    /// The store's folder.
    pub fn folder(&self) -> &Path {
        match &self.place {
            Place::Folder(path) => path,
            Place::Bucket(bucket) => panic!("the store is the bucket {}", bucket.name),
        }
    }

    /// One of a backup's objects in a folder store.
    pub fn object(&self, id: &str, name: &str) -> PathBuf {
        self.folder().join(CLUSTER).join("backups").join(id).join(name)
    }

    /// Every file of a folder store, by its name below the store.
    pub fn objects(&self) -> Vec<String> {
        let mut found = Vec::new();
        files::collect(self.folder(), self.folder(), &mut found);
        found.sort();
        found
    }

    /// Replaces a top-level field of the config for all runs to come.
    pub fn set(&mut self, field: &'static str, value: impl Into<String>) {
        self.fields.insert(field, value.into());
        self.write_config("config.yaml", &[]);
    }

    /// A field's value as the config has it now.
    pub fn field(&self, field: &str) -> &str {
        self.fields.get(field).unwrap_or_else(|| panic!("the config has no {field}"))
    }

    /// Something more that must show nowhere.
    pub fn add_secret(&mut self, secret: impl Into<String>) {
        self.secrets.push(secret.into());
    }

    pub fn config(&self) -> PathBuf {
        self.path("config.yaml")
    }

    /// Writes a config that differs from the usual one in some fields; an empty value leaves the field out.
    pub fn write_config(&self, name: &str, changes: &[(&'static str, &str)]) -> PathBuf {
        let mut fields: BTreeMap<&str, &str> =
            self.fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
        fields.extend(changes.iter().copied());
        let lines =
            fields.iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| format!("{name}: {value}\n"));
        let path = self.path(name);
        fs::write(&path, lines.collect::<String>()).expect("the folder is ours");
        path
    }

    /// A run to be with this world's config.
    pub fn lifeboat(&self, arguments: &[&str]) -> Lifeboat {
        self.lifeboat_with(&self.config(), arguments)
    }

    pub fn lifeboat_with(&self, config: &Path, arguments: &[&str]) -> Lifeboat {
        let config = config.display().to_string();
        let mut all = vec!["--config", &config];
        all.extend(arguments);
        Lifeboat::new(&all)
    }

    /// Runs the binary with this world's config.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.checked(self.lifeboat(arguments).run())
    }

    #[track_caller]
    pub fn run_with(&self, config: &Path, arguments: &[&str]) -> Ran {
        self.checked(self.lifeboat_with(config, arguments).run())
    }

    /// Runs the binary without any config.
    #[track_caller]
    pub fn run_bare(&self, arguments: &[&str]) -> Ran {
        self.checked(Lifeboat::new(arguments).run())
    }

    /// The answer of a run that must succeed, as JSON.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        self.run(&with_json(arguments)).expect_code(0).json()
    }

    /// The error of a run that must fail with this code and reason, as JSON.
    #[track_caller]
    pub fn refused(&self, arguments: &[&str], code: i32, reason: &str) -> Failure {
        Failure::of(self.run(&with_json(arguments)), code, reason)
    }

    #[track_caller]
    pub fn refused_with(&self, config: &Path, arguments: &[&str], code: i32, reason: &str) -> Failure {
        Failure::of(self.run_with(config, &with_json(arguments)), code, reason)
    }

    #[track_caller]
    pub fn refused_bare(&self, arguments: &[&str], code: i32, reason: &str) -> Failure {
        Failure::of(self.run_bare(&with_json(arguments)), code, reason)
    }

    /// `lifeboat run` in the background, its log in `NAME.log`.
    pub fn agent(&self, config: &Path, name: &str) -> Server {
        self.lifeboat_with(config, &["run"]).start(&self.path(&format!("{name}.log")))
    }

    /// Takes a backup and returns the entry. Whatever was backed up this way stock tools can restore.
    #[track_caller]
    pub fn backup(&self) -> Value {
        let entry = self.json(&["backup"])["backup"].clone();
        if let (Place::Folder(_), Some(etcd)) = (&self.place, &self.etcd) {
            let dir = self.path("by-stock-tools");
            stock::restore(self, entry["id"].as_str().expect("an entry has an id"), etcd.version(), &dir);
            fs::remove_dir_all(dir).expect("it is ours");
        }
        entry
    }

    /// The public half of the key that signs backups now, which stands beside the secret one.
    pub fn backup_key(&self) -> PathBuf {
        let keys = self.field("keys");
        let (_, path) = keys.split_once("signing_keys: { backup: ").expect("the config names the backup key first");
        let path = path.split([',', ' ', '}']).next().unwrap_or_default();
        Path::new(path).with_extension("pub")
    }

    /// What `lifeboat list` shows, newest first.
    #[track_caller]
    pub fn list(&self) -> Vec<Value> {
        self.json(&["list"])["backups"].as_array().expect("list has backups").clone()
    }

    /// The flags that a restore without a config takes: the store, its options, whom to trust, the recovery key.
    pub fn flags(&self) -> Vec<String> {
        let mut flags = self.store_flags();
        for role in ["backup", "prove"] {
            flags.push("--trust".to_owned());
            flags.push(format!("{role}={}", self.key(&format!("{role}.sign.pub")).display()));
        }
        flags.extend(["--identity".to_owned(), self.key("recovery.key").display().to_string()]);
        flags
    }

    /// The store and its options as flags.
    pub fn store_flags(&self) -> Vec<String> {
        let mut flags = vec!["--store".to_owned(), self.place.url()];
        if let Place::Bucket(bucket) = &self.place {
            for (name, value) in bucket.options() {
                flags.extend(["--store-option".to_owned(), format!("{name}={value}")]);
            }
        }
        flags
    }

    /// Fails if an output shows one of the world's secrets.
    #[track_caller]
    pub fn checked(&self, ran: Ran) -> Ran {
        self.shows_no_secret(&ran.stdout);
        self.shows_no_secret(&ran.stderr);
        ran
    }

    #[track_caller]
    pub fn shows_no_secret(&self, text: &str) {
        for secret in &self.secrets {
            assert!(
                !text.contains(secret.as_str()),
                "a secret shows in:\n{}",
                text.replace(secret.as_str(), "<<SECRET>>")
            );
        }
    }

    /// Runs the binary in a mount namespace of its own after `prepare`, a line of shell that may mount things.
    #[track_caller]
    pub fn run_in_namespace(&self, prepare: &str, arguments: &[&str]) -> Ran {
        let mut command = Command::new("unshare");
        // Only root may mount in a plain mount namespace; others can be root in a user namespace of their own.
        let root = Command::new("id").arg("-u").output().expect("id starts").stdout == b"0\n";
        command.arg(if root { "-m" } else { "-rm" }).args(["sh", "-c", &format!("{prepare} && exec \"$@\""), "sh"]);
        command.arg(binary::path()).arg("--config").arg(self.config()).args(arguments);
        let output = command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().expect("unshare starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ran = Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) };
        self.checked(ran)
    }

    /// Runs the binary without a terminal of any kind: a session of its own has none.
    #[track_caller]
    pub fn run_without_terminal(&self, arguments: &[&str]) -> Ran {
        let mut command = Command::new("setsid");
        command.arg("--wait").arg(binary::path()).arg("--config").arg(self.config()).args(arguments);
        let output = command.env_clear().stdin(Stdio::null()).output().expect("setsid starts");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        self.checked(Ran { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) })
    }
}

fn with_json<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    arguments.iter().copied().chain(["--json"]).collect()
}

/// As `&str`, as most helpers take arguments.
pub fn refs(texts: &[String]) -> Vec<&str> {
    texts.iter().map(String::as_str).collect()
}

/// The secret line of every secret file in a folder of keys.
fn secrets(keys: &Path) -> Vec<String> {
    let mut secrets = Vec::new();
    for entry in fs::read_dir(keys).expect("keygen made the folder") {
        let path = entry.expect("a folder of ours can be read").path();
        if path.extension().is_some_and(|extension| extension == "key") {
            let text = fs::read_to_string(&path).expect("keygen made the file");
            let last = text.lines().rfind(|line| !line.starts_with('#')).expect("a key file ends with the key");
            secrets.push(last.to_owned());
        }
    }
    assert_eq!(secrets.len(), 6, "four signing keys and two identities");
    secrets
}
