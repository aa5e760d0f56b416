//! Real etcd servers on loopback, ended by the handle that started them.

// Tests ask the environment where the servers are, and wait by the clock.
#![allow(clippy::disallowed_methods)]

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// The versions that every test runs on.
pub const VERSIONS: [&str; 2] = ["3.5", "3.6"];

/// A folder with etcd, etcdctl and etcdutl of one version.
pub fn tools(version: &str) -> PathBuf {
    let own = format!("LIFEBOAT_ETCD_{}", version.replace('.', "_"));
    let dir = std::env::var_os(&own).map(PathBuf::from).unwrap_or_else(|| {
        let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache/lifeboat");
        let cache = std::env::var_os("LIFEBOAT_CACHE").map_or_else(home, PathBuf::from);
        cache.join(format!("etcd-{version}"))
    });
    for tool in ["etcd", "etcdctl", "etcdutl"] {
        let path = dir.join(tool);
        assert!(path.exists(), "{} is missing: run ./tests/run, which fetches it, or set {own}", path.display());
    }
    dir
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
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
        let server = Server::launch(version, name, data_dir, peer);
        server.wait_healthy();
        server
    }

    /// Starts a member and returns at once.
    pub fn launch(version: &'static str, name: &str, data_dir: &Path, peer: &str) -> Server {
        let client = format!("http://127.0.0.1:{}", free_port());
        let log = data_dir.with_extension(format!("{}.log", free_port()));
        let out = File::create(&log).unwrap();
        let child = Command::new(tools(version).join("etcd"))
            .args(["--name", name, "--data-dir"])
            .arg(data_dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer])
            .args(["--initial-cluster", &format!("{name}={peer}")])
            .env("ETCD_VERIFY", "all")
            .env_remove("ETCD_UNSUPPORTED_ARCH")
            .stdin(Stdio::null())
            .stdout(out.try_clone().unwrap())
            .stderr(out)
            .spawn()
            .unwrap();
        Server { version, client, child, log }
    }

    pub fn wait_healthy(&self) {
        let start = Instant::now();
        loop {
            let out = self.run("etcdctl", &["endpoint", "health"]);
            if out.status.success() {
                return;
            }
            if start.elapsed() > Duration::from_secs(60) {
                let log = fs::read_to_string(&self.log).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                panic!("etcd {} does not get healthy: {out:?}\n{}", self.version, tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn run(&self, tool: &str, args: &[&str]) -> Output {
        let mut command = Command::new(tools(self.version).join(tool));
        command.args(args).args(["--endpoints", &self.client]).output().unwrap()
    }

    /// What etcdctl prints.
    pub fn ctl(&self, args: &[&str]) -> String {
        let out = self.run("etcdctl", args);
        assert!(out.status.success(), "etcdctl {args:?}: {out:?}");
        String::from_utf8(out.stdout).unwrap()
    }

    /// What etcdctl prints when it fails.
    pub fn ctl_error(&self, args: &[&str]) -> String {
        let out = self.run("etcdctl", args);
        assert!(!out.status.success(), "etcdctl {args:?}: {out:?}");
        String::from_utf8(out.stderr).unwrap()
    }

    pub fn json(&self, args: &[&str]) -> Value {
        let args = [args, &["-w", "json"]].concat();
        serde_json::from_str(&self.ctl(&args)).unwrap()
    }

    /// One transaction of many changes.
    pub fn txn(&self, changes: &[String]) {
        let mut child = Command::new(tools(self.version).join("etcdctl"))
            .args(["txn", "--endpoints", &self.client])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let text = format!("\n{}\n\n\n", changes.join("\n"));
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        let out = child.wait_with_output().unwrap();
        assert!(out.status.success(), "{out:?}");
        assert!(String::from_utf8_lossy(&out.stdout).starts_with("SUCCESS"), "{out:?}");
    }

    /// The answer to HashKV at a revision (0: the current one): hash and compact revision.
    pub fn hash_kv(&self, revision: i64) -> (u64, i64) {
        let answer = self.json(&["endpoint", "hashkv", "--rev", &revision.to_string()]);
        let hash = &answer[0]["HashKV"];
        (hash["hash"].as_u64().unwrap(), hash["compact_revision"].as_i64().unwrap())
    }

    pub fn revision(&self) -> i64 {
        self.json(&["endpoint", "status"])[0]["Status"]["header"]["revision"].as_i64().unwrap()
    }

    pub fn save(&self, to: &Path) {
        self.ctl(&["snapshot", "save", to.to_str().unwrap()]);
    }
}

/// What `etcdutl snapshot status` says of a copy; it also runs bbolt's own check.
pub fn snapshot_status(version: &str, file: &Path) -> Value {
    let copy = file.with_extension("status-copy");
    fs::copy(file, &copy).unwrap();
    let mut command = Command::new(tools(version).join("etcdutl"));
    let out = command.args(["snapshot", "status", "-w", "json"]).arg(&copy).output().unwrap();
    fs::remove_file(&copy).unwrap();
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).unwrap()
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
