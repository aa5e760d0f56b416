//! A real etcd of a chosen line, alone or as a cluster, with and without mutual TLS.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use tempfile::TempDir;

use crate::pki::TlsFiles;
use crate::server::{Server, free_port, wait_until};
use crate::tools;

/// The lines of etcd that the tests run: every one that Lifeboat supports, pinned by `tests/servers`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Etcd {
    V3_4,
    V3_5,
    V3_6,
    V3_7,
}

impl Etcd {
    pub const ALL: [Self; 4] = [Self::V3_4, Self::V3_5, Self::V3_6, Self::V3_7];

    /// `3.6` and its like.
    pub fn line(self) -> &'static str {
        match self {
            Self::V3_4 => "3.4",
            Self::V3_5 => "3.5",
            Self::V3_6 => "3.6",
            Self::V3_7 => "3.7",
        }
    }

    fn program(self, name: &str) -> PathBuf {
        match self {
            Self::V3_4 => tools::cached("LIFEBOAT_ETCD_3_4", "etcd-3.4", name),
            Self::V3_5 => tools::cached("LIFEBOAT_ETCD_3_5", "etcd-3.5", name),
            Self::V3_6 => tools::cached("LIFEBOAT_ETCD_3_6", "etcd-3.6", name),
            Self::V3_7 => tools::cached("LIFEBOAT_ETCD_3_7", "etcd-3.7", name),
        }
    }

    pub fn server(self) -> PathBuf {
        self.program("etcd")
    }

    pub fn etcdctl(self) -> PathBuf {
        self.program("etcdctl")
    }

    /// etcd 3.4 has no etcdutl yet: there etcdctl does its work, and takes the same words.
    pub fn etcdutl(self) -> PathBuf {
        self.program(if self == Self::V3_4 { "etcdctl" } else { "etcdutl" })
    }
}

/// How to start it; the default is one member over plain HTTP.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How many members; 0 means 1.
    pub members: usize,
    /// Mutual TLS on client and peer ports: the server's pair, the authority, and the pair with which the harness asks.
    pub tls: Option<TlsFiles>,
    /// With whom the harness logs in, as `NAME:PASSWORD`.
    pub user: Option<String>,
    /// More flags for every member.
    pub flags: Vec<String>,
}

#[derive(Debug)]
struct Member {
    name: String,
    client_port: u16,
    peer_port: u16,
    data_dir: PathBuf,
    server: Option<Server>,
}

/// A running cluster in a temporary folder; it ends with this value.
#[derive(Debug)]
pub struct RealEtcd {
    version: Etcd,
    options: Options,
    members: Vec<Member>,
    dir: TempDir,
}

const STARTS_WITHIN: Duration = Duration::from_secs(60);

impl RealEtcd {
    /// One member over plain HTTP.
    pub fn single(version: Etcd) -> Self {
        Self::start(version, Options::default())
    }

    /// Starts the members and returns when every one answers as healthy.
    pub fn start(version: Etcd, options: Options) -> Self {
        // A free port may be taken by somebody else before etcd binds it; that shows at once, and other ports help.
        for _ in 0..3 {
            let mut etcd = Self::prepare(version, options.clone());
            etcd.launch();
            match etcd.wait_healthy() {
                Ok(()) => return etcd,
                Err(said) if said.contains("address already in use") => {}
                Err(said) => panic!("etcd {} did not become healthy:\n{said}", version.line()),
            }
        }
        panic!("etcd {} found its ports taken three times", version.line());
    }

    /// Starts one member on a data dir that is there already, as after `lifeboat restore`.
    /// `name` must be the member's name in the data dir.
    pub fn on_data_dir(version: Etcd, name: &str, data_dir: &Path) -> Self {
        Self::on_secured_data_dir(version, name, data_dir, None)
    }

    /// The same on one where users are on: with whom the harness logs in, as `NAME:PASSWORD`.
    pub fn on_secured_data_dir(version: Etcd, name: &str, data_dir: &Path, user: Option<&str>) -> Self {
        let mut etcd = Self::prepare(version, Options { user: user.map(str::to_owned), ..Options::default() });
        name.clone_into(&mut etcd.members[0].name);
        data_dir.clone_into(&mut etcd.members[0].data_dir);
        etcd.launch();
        if let Err(said) = etcd.wait_healthy() {
            panic!("etcd {} did not start on {}:\n{said}", version.line(), data_dir.display());
        }
        etcd
    }

    fn prepare(version: Etcd, options: Options) -> Self {
        let dir = tempfile::Builder::new().prefix("lifeboat-etcd-").tempdir().expect("a temporary folder");
        let members = (0..options.members.max(1))
            .map(|number| Member {
                name: format!("m{number}"),
                client_port: free_port(),
                peer_port: free_port(),
                data_dir: dir.path().join(format!("m{number}.etcd")),
                server: None,
            })
            .collect();
        Self { version, options, members, dir }
    }

    fn scheme(&self) -> &'static str {
        if self.options.tls.is_some() { "https" } else { "http" }
    }

    fn launch(&mut self) {
        for number in 0..self.members.len() {
            self.launch_member(number);
        }
    }

    fn launch_member(&mut self, number: usize) {
        let mut command = self.command(number);
        let log = self.dir.path().join(format!("{}.log", self.members[number].name));
        self.members[number].server = Some(Server::start(&mut command, &log));
    }

    /// How a member is started, the program first.
    pub fn command_line(&self, number: usize) -> Vec<String> {
        let command = self.command(number);
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        words.map(|word| word.to_str().expect("a plain word").to_owned()).collect()
    }

    fn command(&self, number: usize) -> Command {
        let peer = |member: &Member| format!("{}://127.0.0.1:{}", self.scheme(), member.peer_port);
        let cluster: Vec<String> = self.members.iter().map(|m| format!("{}={}", m.name, peer(m))).collect();
        let member = &self.members[number];
        let client = format!("{}://127.0.0.1:{}", self.scheme(), member.client_port);
        let mut command = Command::new(self.version.server());
        command.env_clear().arg("--name").arg(&member.name).arg("--data-dir").arg(&member.data_dir);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &peer(member), "--initial-advertise-peer-urls", &peer(member)]);
        command.args(["--initial-cluster", &cluster.join(","), "--logger", "zap", "--log-level", "info"]);
        if let Some(tls) = &self.options.tls {
            command.arg("--client-cert-auth").arg("--trusted-ca-file").arg(&tls.ca_file);
            command.arg("--cert-file").arg(&tls.server_cert_file).arg("--key-file").arg(&tls.server_key_file);
            command.arg("--peer-client-cert-auth").arg("--peer-trusted-ca-file").arg(&tls.ca_file);
            command.arg("--peer-cert-file").arg(&tls.server_cert_file);
            command.arg("--peer-key-file").arg(&tls.server_key_file);
        }
        command.args(&self.options.flags);
        command
    }

    /// `Err` with the logs when a member ended or the time is over.
    fn wait_healthy(&mut self) -> Result<(), String> {
        let mut ended = false;
        let healthy = wait_until(STARTS_WITHIN, || {
            ended = self.members.iter_mut().filter_map(|m| m.server.as_mut()).any(|s| s.ended().is_some());
            ended || self.try_etcdctl(&["endpoint", "health"]).status.success()
        });
        if healthy.is_some() && !ended {
            return Ok(());
        }
        let tails: Vec<String> = self.members.iter().filter_map(|m| m.server.as_ref()).map(Server::tail).collect();
        Err(tails.join("\n"))
    }

    pub fn version(&self) -> Etcd {
        self.version
    }

    /// The first member's client URL.
    pub fn endpoint(&self) -> String {
        self.endpoints().remove(0)
    }

    /// Every member's client URL, in order.
    pub fn endpoints(&self) -> Vec<String> {
        self.members.iter().map(|m| format!("{}://127.0.0.1:{}", self.scheme(), m.client_port)).collect()
    }

    /// The first member's peer URL.
    pub fn peer_url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme(), self.members[0].peer_port)
    }

    /// The first member's data dir.
    pub fn data_dir(&self) -> PathBuf {
        self.member_data_dir(0)
    }

    pub fn member_data_dir(&self, number: usize) -> PathBuf {
        self.members[number].data_dir.clone()
    }

    pub fn pid(&self, number: usize) -> u32 {
        self.members[number].server.as_ref().expect("the member runs").pid()
    }

    /// Ends every member, and keeps the data dirs.
    pub fn stop(&mut self) {
        for number in 0..self.members.len() {
            self.stop_member(number);
        }
    }

    /// Ends one member the way an outage does, at once; one that is stopped already stays so.
    pub fn stop_member(&mut self, number: usize) {
        self.members[number].server = None;
    }

    /// Starts every member that is stopped, on its data dir and its old ports, and waits for health.
    pub fn restart(&mut self) {
        for number in 0..self.members.len() {
            if self.members[number].server.is_none() {
                self.launch_member(number);
            }
        }
        if let Err(said) = self.wait_healthy() {
            panic!("etcd {} did not come back:\n{said}", self.version.line());
        }
    }

    /// From now on `etcdctl` logs in as this `NAME:PASSWORD`; without one it does not.
    pub fn log_in(&mut self, user: Option<&str>) {
        self.options.user = user.map(str::to_owned);
    }

    /// An `etcdctl` command for this cluster, to be run.
    pub fn etcdctl_command(&self) -> Command {
        let mut command = Command::new(self.version.etcdctl());
        command.env_clear().arg("--endpoints").arg(self.endpoints().join(","));
        command.args(["--dial-timeout=2s", "--command-timeout=10s"]);
        if let Some(tls) = &self.options.tls {
            command.arg("--cacert").arg(&tls.ca_file);
            command.arg("--cert").arg(&tls.client_cert_file).arg("--key").arg(&tls.client_key_file);
        }
        if let Some(user) = &self.options.user {
            command.arg("--user").arg(user);
        }
        command
    }

    /// Runs `etcdctl` and returns its standard output; a failure is the test's failure.
    #[track_caller]
    pub fn etcdctl(&self, arguments: &[&str]) -> String {
        let output = self.try_etcdctl(arguments);
        assert!(output.status.success(), "etcdctl {arguments:?} failed: {}", tools::said(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Runs `etcdctl` and returns what it said, whatever that was.
    pub fn try_etcdctl(&self, arguments: &[&str]) -> Output {
        self.etcdctl_command().args(arguments).output().expect("etcdctl starts")
    }

    /// Runs this line's `etcdutl`; a failure is the test's failure.
    #[track_caller]
    pub fn etcdutl(&self, arguments: &[&str]) -> String {
        etcdutl(self.version, arguments)
    }

    /// A member's log so far.
    pub fn log(&self, number: usize) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("{}.log", self.members[number].name))).unwrap_or_default()
    }
}

/// Runs `etcdutl` of a line and returns its standard output; a failure is the test's failure.
#[track_caller]
pub fn etcdutl(version: Etcd, arguments: &[&str]) -> String {
    let output = Command::new(version.etcdutl()).env_clear().args(arguments).output().expect("etcdutl starts");
    assert!(output.status.success(), "etcdutl {arguments:?} failed: {}", tools::said(&output));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
