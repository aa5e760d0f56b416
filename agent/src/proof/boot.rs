//! Booting a real etcd on a restored data dir: unix sockets inside the scratch, no TCP port, a cleared environment.

use super::binary::EtcdBinary;
use super::story::Story;
use crate::catalog::manifest::Manifest;
use crate::clock::Stopwatch;
use crate::error::{Error, Reason, Result};
use etcd_client::{Client, GetOptions};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};
use tonic::transport::{Endpoint, Uri};

/// A backup that boots answers within seconds; a large one needs to read its whole index first.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);
/// The name etcd gives the socket file of its client listener, in its working directory.
const CLIENT_SOCKET: &str = "localhost:1001";
const PEER_SOCKET: &str = "localhost:1002";
/// Written into the scratch copy only: shows that the restored cluster takes writes.
const PROBE_KEY: &str = "lifeboat/proof";
/// How many of etcd's last words are shown when it does not start.
const LAST_LINES: usize = 5;

/// Starts etcd, compares what it serves with the manifest, writes, restarts, reads back, stops.
pub(super) async fn boot(
    binary: &EtcdBinary,
    scratch: &Path,
    data_dir: &Path,
    manifest: &Manifest,
    restoring: Stopwatch,
    story: &mut Story,
) -> Result<()> {
    let watch = Stopwatch::start();
    let mut server = Server::start(binary, scratch, data_dir, manifest)?;
    let mut client = server.answer().await?;
    story.etcd_version = Some(binary.version.clone());
    story.learnt.restore_seconds = Some(restoring.seconds());
    let found = compare(&mut client, manifest).await?;
    story.add("booted", watch.seconds(), format!("etcd {}: {found}", binary.version));
    let watch = Stopwatch::start();
    client.put(PROBE_KEY, manifest.id.to_string(), None).await.map_err(|e| refused("write", e))?;
    server.stop().await?;
    let mut server = Server::start(binary, scratch, data_dir, manifest)?;
    let mut client = server.answer().await?;
    let read = client.get(PROBE_KEY, None).await.map_err(|e| refused("read", e))?;
    let written = read.kvs().first().is_some_and(|kv| kv.value() == manifest.id.as_str().as_bytes());
    if !written {
        return Err(Error::new(Reason::ProofFailed, "a write to the restored etcd did not survive its restart"));
    }
    server.stop().await?;
    story.add("restarted", watch.seconds(), "a write was taken and survived a restart".to_owned());
    Ok(())
}

/// Revision, key count and hash, as the booted server sees them.
async fn compare(client: &mut Client, manifest: &Manifest) -> Result<String> {
    let db = &manifest.db;
    let options = GetOptions::new().with_all_keys().with_count_only();
    let counted = client.get("", Some(options)).await.map_err(|e| refused("count", e))?;
    let revision = counted.header().map_or(0, |header| header.revision());
    differ("revision", revision, db.revision)?;
    let keys = u64::try_from(counted.count()).unwrap_or(0);
    differ("number of keys", keys, db.keys)?;
    let mut found = format!("{keys} keys at revision {revision}");
    if let Some(hash) = &db.hash_kv {
        // Its newest revision is the backup's, as was just seen; named by number, early 3.4 would refuse it where it is also
        // the revision of a compaction, and newer ones could answer from what they remember of one.
        let answer = client.hash_kv(0).await.map_err(|e| refused("hash", e))?;
        let hashed_at = answer.header().map_or(0, |header| header.revision());
        differ("revision when it hashed", hashed_at, hash.revision)?;
        // A compaction that was under way in the snapshot is resumed at boot: then the two hashes speak of different sets.
        if answer.compact_version() == hash.compact_revision {
            differ("HashKV", answer.hash(), hash.hash)?;
            found.push_str(&format!(", HashKV {}", hash.hash));
        }
    }
    Ok(found)
}

fn differ<T: PartialEq + std::fmt::Display>(what: &str, found: T, wanted: T) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(Error::new(Reason::ProofFailed, format!("the booted etcd's {what} is {found}, the manifest says {wanted}")))
}

fn refused(what: &str, source: etcd_client::Error) -> Error {
    Error::new(Reason::ProofFailed, format!("the booted etcd refused to {what}")).because(source)
}

/// One etcd process in a group of its own, killed when dropped.
struct Server {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Server {
    fn start(binary: &EtcdBinary, scratch: &Path, data_dir: &Path, manifest: &Manifest) -> Result<Server> {
        let log = scratch.join("etcd.log");
        let file = std::fs::OpenOptions::new().create(true).append(true).open(&log);
        let file = file.map_err(|source| Error::io("create", log.display(), source))?;
        let quota = manifest.db.bytes.saturating_mul(2).saturating_add(1 << 30);
        let child = Command::new(&binary.path)
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
            .kill_on_drop(true)
            .spawn()
            .map_err(|source| Error::io("start", binary.path.display(), source))?;
        Ok(Server { child, socket: scratch.join(CLIENT_SOCKET), log })
    }

    /// Waits until etcd serves a linearizable read; says its last words if it does not.
    async fn answer(&mut self) -> Result<Client> {
        let watch = Stopwatch::start();
        while watch.elapsed() < ANSWER_WITHIN {
            if let Some(status) =
                self.child.try_wait().map_err(|source| Error::io("watch", "the booted etcd", source))?
            {
                let text = format!("etcd did not start on the restored data dir ({status}): {}", self.last_words());
                return Err(Error::new(Reason::ProofFailed, text));
            }
            if let Ok(client) = self.connect().await {
                return Ok(client);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let text = format!("etcd did not answer within {} s: {}", ANSWER_WITHIN.as_secs(), self.last_words());
        Err(Error::new(Reason::Budget, text).hint("give the prover more processor, or set proof.level: sound"))
    }

    async fn connect(&self) -> Result<Client, Box<dyn std::error::Error + Send + Sync>> {
        let socket = self.socket.clone();
        let dial = tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { tokio::net::UnixStream::connect(socket).await.map(hyper_util::rt::TokioIo::new) }
        });
        let endpoint = Endpoint::from_static("http://localhost").timeout(Duration::from_secs(5));
        let channel = endpoint.connect_with_connector(dial).await?;
        let mut client = Client::from_channel(etcd_client::Channel::Tonic(channel), None).await?;
        client.get(PROBE_KEY, None).await?;
        Ok(client)
    }

    /// Asks etcd to end, and makes sure that it did.
    async fn stop(&mut self) -> Result<()> {
        self.signal(rustix::process::Signal::TERM);
        let ended = tokio::time::timeout(Duration::from_secs(10), self.child.wait()).await;
        if ended.is_err() {
            self.signal(rustix::process::Signal::KILL);
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
    fn signal(&self, signal: rustix::process::Signal) {
        let pid = self.child.id().and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = rustix::process::kill_process_group(pid, signal)
        {
            tracing::debug!(%error, "the booted etcd was gone before it was told to end");
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
        self.signal(rustix::process::Signal::KILL);
    }
}
