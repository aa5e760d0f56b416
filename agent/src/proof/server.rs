//! The booted etcd as a process: in a group of its own, on unix sockets only, bounded, and gone when this is dropped.

use super::binary::EtcdBinary;
use super::ports;
use crate::clock::Stopwatch;
use crate::error::{Error, Reason, Result};
use crate::scratch;
use etcd_client::Client;
use lifeboat_policy::proof::Level;
use rustix::process::{Pid, Resource, Rlimit, Signal};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::process::{Child, Command};
use tonic::transport::{Endpoint, Uri};

/// A backup that boots answers within seconds; a large one needs to read its whole index first.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// For one question that is to show whether it serves yet.
const TRY_WITHIN: Duration = Duration::from_secs(5);
/// For one question to an etcd that serves: a hash reads the whole database.
const ASK_WITHIN: Duration = Duration::from_secs(300);
/// Between the request to end and the end by force.
const END_WITHIN: Duration = Duration::from_secs(5);
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// The names etcd gives the socket files of its listeners, in its working directory.
const CLIENT_SOCKET: &str = "localhost:1001";
const PEER_SOCKET: &str = "localhost:1002";
/// How many of etcd's last words are shown when it does not start.
const LAST_LINES: usize = 5;
/// Read by the first question, and written later.
pub(super) const PROBE_KEY: &str = "lifeboat/proof";

/// Where and within which bounds an etcd is booted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ground<'a> {
    pub binary: &'a EtcdBinary,
    pub scratch: &'a Path,
    pub db_bytes: u64,
    /// No file may grow beyond this.
    pub file_bytes: u64,
}

impl Ground<'_> {
    /// For etcd's own data. Its database is mapped from the file and does not count; the index of all keys does.
    fn memory_bytes(&self) -> u64 {
        self.db_bytes.saturating_mul(2).saturating_add(1 << 30)
    }
}

/// One etcd process.
pub(super) struct Server {
    child: Child,
    group: Pid,
    socket: PathBuf,
    log: PathBuf,
}

impl Server {
    pub fn start(ground: Ground<'_>, data_dir: &Path) -> Result<Server> {
        let Ground { binary, scratch, .. } = ground;
        let log = scratch.join("etcd.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(|source| Error::io("create", log.display(), source))?;
        let quota = ground.db_bytes.saturating_mul(2).saturating_add(1 << 30);
        let mut command = Command::new(&binary.path);
        command
            .arg("--name=proof")
            .arg(format!("--data-dir={}", data_dir.display()))
            .arg(format!("--listen-client-urls=unix://{CLIENT_SOCKET}"))
            .arg("--advertise-client-urls=http://127.0.0.1:2379") // recorded, never listened on
            .arg(format!("--listen-peer-urls=unix://{PEER_SOCKET}"))
            .arg("--initial-advertise-peer-urls=http://127.0.0.1:2380")
            .arg("--initial-cluster=proof=http://127.0.0.1:2380")
            .arg(format!("--quota-backend-bytes={quota}"))
            .arg("--log-level=warn")
            .env_clear()
            .current_dir(scratch)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::from(file))
            .process_group(0)
            .kill_on_drop(true);
        let unstarted = |source| Error::io("start", binary.path.display(), source);
        let child = spawn_quietly(command).map_err(unstarted)?;
        let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        let group = group.ok_or_else(|| Error::new(Reason::Internal, "the booted etcd has no process id"))?;
        let server = Server { child, group, socket: scratch.join(CLIENT_SOCKET), log };
        server.bound(ground)?;
        Ok(server)
    }

    /// No core dump, so much memory, files no longer than the scratch may grow. It has read nothing of the backup yet.
    fn bound(&self, ground: Ground<'_>) -> Result<()> {
        let bounds =
            [(Resource::Core, 0), (Resource::Data, ground.memory_bytes()), (Resource::Fsize, ground.file_bytes)];
        for (resource, most) in bounds {
            let limit = Rlimit { current: Some(most), maximum: Some(most) };
            match rustix::process::prlimit(Some(self.group), resource, limit) {
                Ok(_) | Err(rustix::io::Errno::SRCH) => {} // one that has ended already tells why itself
                Err(source) => return Err(Error::io("bound", "the booted etcd", source.into())),
            }
        }
        Ok(())
    }

    /// Waits until etcd serves a linearizable read; says its last words if it does not.
    pub async fn answer(&mut self) -> Result<Client> {
        let watch = Stopwatch::start();
        while watch.elapsed() < ANSWER_WITHIN {
            self.still_runs()?;
            if self.connect(TRY_WITHIN).await.is_ok() {
                self.listens_on_no_port()?;
                return self
                    .connect(ASK_WITHIN)
                    .await
                    .map_err(|source| Error::new(Reason::Budget, "the booted etcd answers no more").because(source));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let text = format!("etcd did not answer within {} s: {}", ANSWER_WITHIN.as_secs(), self.last_words());
        Err(Error::new(Reason::Budget, text).hint("give the prover more processor, or set proof.level: sound"))
    }

    /// A backup holds every Secret: nobody but this process may reach it.
    fn listens_on_no_port(&self) -> Result<()> {
        let ports = ports::listening(self.group)?;
        if ports.is_empty() {
            return Ok(());
        }
        let text = format!("the booted etcd listens on TCP: {}", ports.join(", "));
        Err(Error::new(Reason::NoEtcdBinary, text).hint("use etcd's own server under proof.etcd, not a wrapper"))
    }

    fn still_runs(&mut self) -> Result<()> {
        match self.child.try_wait().map_err(|source| Error::io("watch", "the booted etcd", source))? {
            None => Ok(()),
            Some(status) => Err(self.ended(status)),
        }
    }

    /// What is behind a question that etcd did not answer: its end says more than the line that broke.
    pub async fn explain(&mut self, error: Error) -> Error {
        tokio::time::sleep(LOOK_EVERY * 5).await;
        self.still_runs().err().unwrap_or(error)
    }

    /// Why it ended: want of space or memory is the prover's trouble, anything else may be the backup's.
    fn ended(&self, status: ExitStatus) -> Error {
        let words = self.last_words();
        let text = format!("etcd ended on the restored data dir ({status}): {words}");
        let says = |any: &[&str]| any.iter().any(|part| words.to_lowercase().contains(part));
        if says(&["no space left on device", "file too large", "quota exceeded"]) {
            return Error::new(Reason::NoSpace, text).hint("give the proof's scratch dir more space");
        }
        let killed = matches!(status.signal(), Some(9 | 25)); // SIGKILL is nobody's but the kernel's, SIGXFSZ our bound
        if killed || says(&["out of memory", "cannot allocate memory"]) {
            return Error::new(Reason::Budget, text).hint("give the prover more memory, or set proof.level: sound");
        }
        Error::new(Reason::ProofFailed, text).at(Level::Booted)
    }

    async fn connect(&self, within: Duration) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
        let socket = self.socket.clone();
        let dial = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(within);
        let channel = endpoint.connect_with_connector(dial).await?;
        let mut client = Client::from_channel(etcd_client::Channel::Tonic(channel), None).await?;
        client.get(PROBE_KEY, None).await?;
        Ok(client)
    }

    /// Asks etcd to end, and makes sure that it did, with all that it may have started.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal(Signal::TERM);
        let ended = tokio::time::timeout(END_WITHIN, self.child.wait()).await;
        self.signal(Signal::KILL);
        if ended.is_err() {
            self.child.wait().await.map_err(|source| Error::io("end", "the booted etcd", source))?;
        }
        // A socket file that stays would make the next start fail.
        for socket in [CLIENT_SOCKET, PEER_SOCKET] {
            match std::fs::remove_file(self.socket.with_file_name(socket)) {
                Ok(()) => {}
                Err(source) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(source) => return Err(Error::io("remove", socket, source)),
            }
        }
        Ok(())
    }

    /// To the whole group: nothing that etcd may have started outlives the proof.
    fn signal(&self, signal: Signal) {
        match rustix::process::kill_process_group(self.group, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => tracing::error!(%error, group = %self.group, "the booted etcd could not be told to end"),
        }
    }

    fn last_words(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(LAST_LINES).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
        // What still writes would stand in the way of the wiping; one that was killed is gone in a moment.
        let watch = Stopwatch::start();
        while watch.elapsed() < Duration::from_secs(2) && matches!(self.child.try_wait(), Ok(None)) {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Niceness of processor time, and with it of disk time, goes from a thread to what it starts.
fn spawn_quietly(mut command: Command) -> std::io::Result<Child> {
    let runtime = tokio::runtime::Handle::current();
    let spawned = std::thread::scope(|scope| {
        let starter = scope.spawn(move || {
            let _entered = runtime.enter();
            scratch::lower_this_thread();
            command.spawn()
        });
        starter.join()
    });
    spawned.unwrap_or_else(|_| Err(std::io::Error::other("the thread that starts etcd stopped")))
}
