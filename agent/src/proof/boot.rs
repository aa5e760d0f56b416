//! Booting a real etcd on a restored data dir, and asking it what a restored cluster would be asked.

use super::sample::Sample;
use super::server::{Ground, PROBE_KEY, Server};
use super::story::Story;
use crate::catalog::manifest::{Hash, Manifest};
use crate::clock::Stopwatch;
use crate::error::{Error, Reason, Result};
use etcd_client::{Client, GetOptions, WatchOptions};
use lifeboat_policy::proof::Level;
use std::path::Path;
use std::time::Duration;

/// A watch on what was compacted is refused at once.
const REFUSES_WITHIN: Duration = Duration::from_secs(30);

/// Starts etcd, compares what it serves with the manifest, writes, restarts, reads back, stops.
pub(super) async fn boot(
    ground: Ground<'_>,
    data_dir: &Path,
    manifest: &Manifest,
    restoring: Stopwatch,
    story: &mut Story,
) -> Result<()> {
    let sample = Sample::of_file(&data_dir.join("member/snap/db"))?;
    let watch = Stopwatch::start();
    let (mut server, mut client) = serve(ground, data_dir).await?;
    story.etcd_version = Some(ground.binary.version.clone());
    story.learnt.restore_seconds = Some(restoring.seconds());
    let found = compare(&mut client, manifest.db.revision, manifest.db.keys, manifest.db.hash_kv, &sample).await;
    let found = or_end(&mut server, found).await?;
    story.add("booted", watch.seconds(), format!("etcd {}: {found}; no TCP port", ground.binary.version));
    let watch = Stopwatch::start();
    let written = client.put(PROBE_KEY, manifest.id.to_string(), None).await.map_err(|e| refused("write", e));
    or_end(&mut server, written).await?;
    server.stop().await?;
    let (mut server, mut client) = serve(ground, data_dir).await?;
    let read = client.get(PROBE_KEY, None).await.map_err(|e| refused("read", e));
    let read = or_end(&mut server, read).await?;
    let written = read.kvs().first().is_some_and(|kv| kv.value() == manifest.id.as_str().as_bytes());
    if !written {
        return Err(wrong("a write to the restored etcd did not survive its restart".to_owned()));
    }
    server.stop().await?;
    story.add("restarted", watch.seconds(), "a write was taken and survived a restart".to_owned());
    Ok(())
}

/// Once more as a real restore does it, with a bump: what lived before lives, and watches on the old world are refused.
/// `hash` is what the database that was built says of itself.
pub(super) async fn rehearse(
    ground: Ground<'_>,
    data_dir: &Path,
    manifest: &Manifest,
    first_revision: i64,
    hash: Option<Hash>,
) -> Result<String> {
    let sample = Sample::of_file(&data_dir.join("member/snap/db"))?;
    let (mut server, mut client) = serve(ground, data_dir).await?;
    let found = async {
        let found = compare(&mut client, first_revision, manifest.db.keys, hash, &sample).await?;
        old_watch_is_refused(&mut client, manifest.db.revision).await?;
        Ok(found)
    };
    let found = found.await;
    let found = or_end(&mut server, found).await?;
    server.stop().await?;
    Ok(format!("as a restore with a revision bump: {found}; a watch from before is refused"))
}

/// Whether this etcd works at all, or only not on this backup: told by a data dir that it makes itself.
async fn serve(ground: Ground<'_>, data_dir: &Path) -> Result<(Server, Client)> {
    let mut server = Server::start(ground, data_dir)?;
    let error = match server.answer().await {
        Ok(client) => return Ok((server, client)),
        Err(error) if error.reason == Reason::ProofFailed => error,
        Err(error) => return Err(error),
    };
    server.stop().await?;
    let mut control = Server::start(ground, &ground.scratch.join("control"))?;
    let works = control.answer().await;
    control.stop().await?;
    match works {
        Ok(_) => Err(error),
        Err(other) => {
            let text = format!("{} does not start on an empty data dir either", ground.binary.path.display());
            Err(Error::new(Reason::NoEtcdBinary, text)
                .hint("the backup was not judged: give a working etcd under proof.etcd")
                .because(other))
        }
    }
}

/// Where etcd ended on the way, its end is the error.
async fn or_end<T>(server: &mut Server, asked: Result<T>) -> Result<T> {
    match asked {
        Ok(found) => Ok(found),
        Err(error) => Err(server.explain(error).await),
    }
}

/// Revision, key count, hash and some keys, as the booted server sees them.
async fn compare(client: &mut Client, revision: i64, keys: u64, hash: Option<Hash>, sample: &Sample) -> Result<String> {
    let options = GetOptions::new().with_all_keys().with_count_only();
    let counted = client.get("", Some(options)).await.map_err(|e| refused("count", e))?;
    differ("revision", counted.header().map_or(0, |header| header.revision()), revision)?;
    differ("number of keys", u64::try_from(counted.count()).unwrap_or(0), keys)?;
    let mut found = format!("{keys} keys at revision {revision}");
    if let Some(hash) = &hash {
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
    let read = sample.compare(client).await?;
    Ok(format!("{found}, {read} keys read back"))
}

/// A watcher from before the restore must list afresh, not go on in a world that is gone.
async fn old_watch_is_refused(client: &mut Client, revision: i64) -> Result<()> {
    let options = WatchOptions::new().with_all_keys().with_start_revision(revision.max(1));
    let refusal = async {
        let mut stream = client.watch("", Some(options)).await.map_err(|e| refused("watch", e))?;
        while let Some(response) = stream.message().await.map_err(|e| refused("watch", e))? {
            if response.canceled() {
                return Ok(response.compact_revision() > revision);
            }
            if !response.events().is_empty() {
                return Ok(false);
            }
        }
        Ok(false)
    };
    match tokio::time::timeout(REFUSES_WITHIN, refusal).await {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) | Err(_) => Err(wrong(format!(
            "a watch from revision {revision} is served by the restored etcd, as if nothing had happened"
        ))),
        Ok(Err(error)) => Err(error),
    }
}

fn differ<T: PartialEq + std::fmt::Display>(what: &str, found: T, wanted: T) -> Result<()> {
    if found == wanted {
        return Ok(());
    }
    Err(wrong(format!("the booted etcd's {what} is {found}, the manifest says {wanted}")))
}

fn wrong(text: String) -> Error {
    Error::new(Reason::ProofFailed, text).at(Level::Booted)
}

/// An etcd that is too slow says nothing against the backup.
fn refused(what: &str, source: etcd_client::Error) -> Error {
    let slow = matches!(&source, etcd_client::Error::GRpcStatus(status)
        if matches!(status.code(), tonic::Code::DeadlineExceeded | tonic::Code::Cancelled));
    let reason = if slow { Reason::Budget } else { Reason::ProofFailed };
    Error::new(reason, format!("the booted etcd refused to {what}")).because(source).at(Level::Booted)
}
