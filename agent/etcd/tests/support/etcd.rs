//! Real etcd servers on loopback, ended by the handle that started them.

// Tests ask the environment where the servers are, and wait by the clock.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::gateway::{self, number};

/// The versions that every test runs on.
pub const VERSIONS: [&str; 4] = ["3.4", "3.5", "3.6", "3.7"];

const PATIENCE: Duration = Duration::from_secs(60);

/// A tool of one version: etcd, etcdctl or etcdutl. In 3.4 etcdctl does the work of etcdutl.
pub fn tool(version: &str, name: &str) -> PathBuf {
    let own = format!("LIFEBOAT_ETCD_{}", version.replace('.', "_"));
    let dir = std::env::var_os(&own).map(PathBuf::from).unwrap_or_else(|| {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/lifeboat");
        let cache = std::env::var_os("LIFEBOAT_CACHE").map_or_else(home, PathBuf::from);
        cache.join(format!("etcd-{version}"))
    });
    let path = dir.join(if (version, name) == ("3.4", "etcdutl") { "etcdctl" } else { name });
    assert!(path.exists(), "{} is missing: run ./tests/run, which fetches it, or set {own}", path.display());
    path
}

/// A port that nobody listens on: below those that the system hands out for outgoing connections, which could take it
/// before the server does.
pub fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let first = std::process::id().wrapping_mul(101);
    loop {
        let step = u32::from(NEXT.fetch_add(1, Ordering::Relaxed));
        let port = 10_000 + (first.wrapping_add(step) % 22_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub fn free_url() -> String {
    format!("http://127.0.0.1:{}", free_port())
}

/// How to start a member.
#[derive(Debug, Clone)]
pub struct Start<'a> {
    pub version: &'static str,
    pub name: &'a str,
    pub data_dir: &'a Path,
    pub peer: &'a str,
    /// `--initial-cluster` of a member that joins a cluster; none for a new cluster, and where a data dir knows.
    pub joins: Option<String>,
}

/// A server that runs.
pub struct Server {
    pub version: &'static str,
    pub client: String,
    child: Child,
    log: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    /// Starts a member and waits until it serves. A fresh data dir makes a new cluster.
    pub fn start(version: &'static str, name: &str, data_dir: &Path, peer: &str) -> Server {
        let mut server = Server::launch(&Start { version, name, data_dir, peer, joins: None });
        server.wait_healthy();
        server
    }

    /// Starts a member and returns at once.
    pub fn launch(start: &Start<'_>) -> Server {
        let client = free_url();
        let log = start.data_dir.with_extension(format!("{}.log", free_port()));
        let out = File::create(&log).unwrap();
        let alone = || format!("{}={}", start.name, start.peer);
        let state = if start.joins.is_some() { "existing" } else { "new" };
        let child = Command::new(tool(start.version, "etcd"))
            .args(["--name", start.name, "--data-dir"])
            .arg(start.data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", start.peer, "--initial-advertise-peer-urls", start.peer])
            .args(["--initial-cluster", &start.joins.clone().unwrap_or_else(alone), "--initial-cluster-state", state])
            // Else members can be added only when all have been connected for five seconds.
            .arg("--strict-reconfig-check=false")
            .env("ETCD_VERIFY", "all")
            .env_remove("ETCD_UNSUPPORTED_ARCH")
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Server { version: start.version, client, child, log }
    }

    /// Waits until a linearizable read is answered.
    pub fn wait_healthy(&mut self) {
        let start = Instant::now();
        loop {
            let health = gateway::ask(&self.client, "GET", "/health", &Value::Null);
            if health.as_ref().is_ok_and(|health| health["health"] == "true") {
                return;
            }
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || start.elapsed() > PATIENCE {
                panic!("etcd {} does not serve ({ended:?}, {health:?}):\n{}", self.version, self.log_tail());
            }
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    fn log_tail(&self) -> String {
        let log = self.log_text();
        let tail: Vec<&str> = log.lines().rev().take(20).collect();
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    pub fn log_text(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Waits until the server ends by itself.
    pub fn wait_ended(&mut self) -> ExitStatus {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(start.elapsed() < PATIENCE, "etcd {} does not end:\n{}", self.version, self.log_tail());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks the server to end, which lets it verify what it leaves behind, and looks at what it found.
    pub fn stop(mut self) {
        let kill = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
        self.wait_ended();
        let log = self.log_text();
        let verified = log.contains("verification of persisted state successful");
        // 3.4 does not know how.
        assert!(verified || self.version == "3.4", "etcd {} did not verify itself:\n{}", self.version, self.log_tail());
    }

    fn run(&self, args: &[&str]) -> Output {
        let mut command = Command::new(tool(self.version, "etcdctl"));
        command.args(args).args(["--endpoints", &self.client]).env("ETCDCTL_API", "3").output().unwrap()
    }

    /// What etcdctl prints.
    pub fn ctl(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(out.status.success(), "etcdctl {args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// What etcdctl prints when it fails.
    pub fn ctl_error(&self, args: &[&str]) -> String {
        let out = self.run(args);
        assert!(!out.status.success(), "etcdctl {args:?}: {out:?}");
        String::from_utf8(out.stderr).unwrap()
    }

    /// An answer of the JSON gateway.
    pub fn post(&self, path: &str, body: &Value) -> Value {
        let answer = gateway::ask(&self.client, "POST", &format!("/v3/{path}"), body);
        answer.unwrap_or_else(|error| panic!("etcd {}: {path} {body}: {error}", self.version))
    }

    /// One transaction; gives the revision after it.
    pub fn txn(&self, changes: &[Value]) -> i64 {
        let answer = self.post("kv/txn", &json!({ "success": changes }));
        number(&answer["header"]["revision"])
    }

    /// Compacts, and waits until the records are gone.
    pub fn compact(&self, revision: i64) {
        self.post("kv/compaction", &json!({ "revision": revision.to_string(), "physical": true }));
    }

    /// The answer to HashKV at a revision (0: the current one): hash and compact revision.
    pub fn hash_kv(&self, revision: i64) -> (u64, i64) {
        if self.version == "3.4" {
            // Its gateway has no path to HashKV.
            let args = ["endpoint", "hashkv", "--rev", &revision.to_string(), "-w", "json"];
            let answer: Value = serde_json::from_str(&self.ctl(&args)).unwrap();
            let hash = &answer[0]["HashKV"];
            return (hash["hash"].as_u64().unwrap(), hash["compact_revision"].as_i64().unwrap());
        }
        let answer = self.post("maintenance/hashkv", &json!({ "revision": revision.to_string() }));
        (answer["hash"].as_u64().unwrap(), number(&answer["compact_revision"]))
    }

    /// The revision and the number of keys, by a linearizable read.
    pub fn revision_and_keys(&self) -> (i64, u64) {
        let answer = self.post("kv/range", &json!({ "key": "AA==", "range_end": "AA==", "count_only": true }));
        (number(&answer["header"]["revision"]), number(&answer["count"]) as u64)
    }

    pub fn revision(&self) -> i64 {
        self.revision_and_keys().0
    }

    pub fn save(&self, to: &Path) {
        self.ctl(&["snapshot", "save", to.to_str().unwrap()]);
    }
}

/// What `etcdutl snapshot status` says of a copy; it also runs bbolt's own check.
pub fn snapshot_status(version: &str, file: &Path) -> Value {
    let copy = file.with_extension("status-copy");
    fs::copy(file, &copy).unwrap();
    let mut command = Command::new(tool(version, "etcdutl"));
    command.env("ETCDCTL_API", "3").args(["snapshot", "status", "-w", "json"]).arg(&copy);
    let out = command.output().unwrap();
    fs::remove_file(&copy).unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
}

/// Lets `etcdutl defrag` rewrite a copy of a data dir's database, and gives what it wrote.
pub fn defragmented(version: &str, db: &Path) -> Vec<u8> {
    let dir = tempfile::tempdir().unwrap();
    let copy = dir.path().join("member/snap/db");
    fs::DirBuilder::new().recursive(true).mode(0o700).create(copy.parent().unwrap()).unwrap();
    fs::copy(db, &copy).unwrap();
    let mut command = Command::new(tool(version, "etcdutl"));
    let out = command.env("ETCDCTL_API", "3").args(["defrag", "--data-dir"]).arg(dir.path()).output().unwrap();
    assert!(out.status.success(), "{out:?}");
    fs::read(copy).unwrap()
}

/// Writes a planned data dir, without its database.
pub fn write_plan(plan: &etcdfile::Plan, to: &Path) {
    for dir in &plan.dirs {
        fs::DirBuilder::new().recursive(true).mode(dir.mode).create(to.join(&dir.path)).unwrap();
    }
    for file in &plan.files {
        let mut options = fs::OpenOptions::new();
        let mut out = options.write(true).create_new(true).mode(file.mode).open(to.join(&file.path)).unwrap();
        out.write_all(&file.bytes).unwrap();
    }
}
