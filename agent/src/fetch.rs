//! Fetch: from the store's sealed bytes to verified plaintext. Each chunk is checked against the signed sums before age sees it.

mod file;

pub use file::{Kind, SnapshotFile, is_locked};

use crate::catalog::Trusted;
use crate::digest::{Digest, Hasher};
use crate::error::{Error, Reason, Result};
use crate::keys::Identities;
use crate::scratch;
use crate::seal::{CHUNK_BYTES, Sums};
use crate::store::{Layout, Store};
use bytes::{Buf, Bytes};
use futures::StreamExt as _;
use lifeboat_policy::proof::Level;
use std::io::Read;
use tokio::sync::{mpsc, oneshot};

/// Chunks between the download and the opener; each is 4 MiB.
const CHUNKS_AHEAD: usize = 1;
/// Plaintext is handed on in pieces of this size.
const PIECE_BYTES: usize = 512 << 10;
/// An object of sums has 65 bytes a chunk: enough for 64 GiB, and a cap for hostile ones.
const SUMS_CAP: u64 = 4 << 20;

/// The signed sums of a backup, checked against the manifest.
pub async fn sums(store: &Store, layout: &Layout, entry: &Trusted) -> Result<Sums> {
    let key = layout.sums(&entry.manifest.id);
    let bytes = store.read(&key, SUMS_CAP).await?;
    let damaged = |what: &str| {
        Error::new(Reason::Damaged, format!("{key} {what}"))
            .on("read", &key)
            .hint("this backup is damaged or was tampered with; use another one: `lifeboat list`")
    };
    if bytes.len() as u64 != entry.manifest.sums.bytes || Digest::of(&bytes) != entry.manifest.sums.sha256 {
        return Err(damaged("is not what the signed manifest says"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| damaged("is not text"))?;
    Sums::parse(text, entry.manifest.sealed.bytes).map_err(|why| damaged(&format!("does not fit its object: {why}")))
}

/// Reads the sealed object in order; each chunk is verified before it is sent to `into`, the whole digest at the end.
/// Without `into` it is only verified. `progress` is told how many bytes have come.
pub async fn sealed(
    store: &Store,
    layout: &Layout,
    entry: &Trusted,
    into: Option<mpsc::Sender<Bytes>>,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<()> {
    let sums = sums(store, layout, entry).await?;
    let manifest = &entry.manifest;
    let key = layout.blob(&manifest.id);
    check_size(store, &key, manifest.sealed.bytes).await?;
    let (mut whole, mut done) = (Hasher::default(), 0);
    let good = move |index, chunk: &[u8]| sums.matches(index, chunk);
    let mut chunks = std::pin::pin!(store.read_checked(&key, manifest.sealed.bytes, CHUNK_BYTES, good));
    // The opener hangs up only when it failed, and then it tells why.
    let hung_up = |_| Error::new(Reason::Internal, "the opener stopped");
    loop {
        // A place for the chunk first, so that none waits in between, and with it 4 MiB.
        let place = match &into {
            Some(into) => Some(into.reserve().await.map_err(hung_up)?),
            None => None,
        };
        let Some(chunk) = chunks.next().await else { break };
        let chunk = chunk.map_err(|error| match error.reason {
            Reason::Damaged => error.hint("nothing of it was decrypted; use another backup: `lifeboat list`"),
            _ => error,
        })?;
        // Off the threads that others need to get on.
        let summed = tokio::task::spawn_blocking(move || {
            whole.update(&chunk);
            (whole, chunk)
        });
        let chunk;
        (whole, chunk) =
            summed.await.map_err(|stopped| Error::new(Reason::Internal, "a digest stopped").because(stopped))?;
        done += chunk.len() as u64;
        progress(done);
        if let Some(place) = place {
            place.send(chunk);
        }
    }
    if whole.finish() != manifest.sealed.sha256 {
        return Err(Error::new(Reason::Damaged, format!("{key}: its whole digest differs")).on("read", &key));
    }
    Ok(())
}

async fn check_size(store: &Store, key: &crate::store::ObjectKey, wanted: u64) -> Result<()> {
    match store.head(key).await? {
        Some(found) if found.bytes == wanted => Ok(()),
        Some(found) => {
            let text = format!("{key} has {} bytes where the signed manifest says {wanted}", found.bytes);
            Err(Error::new(Reason::Damaged, text)
                .on("read", key)
                .hint("it is truncated or was replaced; use another backup: `lifeboat list`"))
        }
        None => Err(Error::new(Reason::ObjectMissing, format!("{key} is missing from the store"))
            .on("read", key)
            .hint("the backup's data is gone though its manifest stands; use another backup: `lifeboat list`")),
    }
}

/// Reads, verifies, decrypts and decompresses a backup. `each` gets the plaintext (database and its 32-byte trailer) in
/// pieces, on a thread of its own; what it returns at the end is passed on. `quietly` lets everything else go first.
pub async fn opened<S, T>(
    store: &Store,
    layout: &Layout,
    entry: &Trusted,
    identities: Identities,
    sink: S,
    quietly: bool,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<T>
where
    S: FnOnce(&mut dyn Read) -> Result<T> + Send + 'static,
    T: Send + 'static,
{
    let (send, receive) = mpsc::channel::<Bytes>(CHUNKS_AHEAD);
    let limit = entry.manifest.plaintext.bytes;
    let what = format!("backup {}", entry.manifest.id);
    let (tell, opener) = oneshot::channel();
    let work = move || {
        let received = Received { receive, chunk: Bytes::new() };
        let mut plaintext = open(received, &identities, &what, limit).map_err(|error| error.at(Level::Opened))?;
        sink(&mut plaintext)
    };
    let started = std::thread::Builder::new().name("opener".to_owned()).spawn(move || {
        if quietly {
            scratch::lower_this_thread();
        }
        drop(tell.send(work())); // nobody waits any more where the whole was given up
    });
    started.map_err(|source| Error::io("start", "the opener's thread", source))?;
    let fetched = sealed(store, layout, entry, Some(send), progress).await.map_err(|error| error.at(Level::Stored));
    let opened = opener.await.map_err(|stopped| Error::new(Reason::Internal, "the opener stopped").because(stopped))?;
    match (fetched, opened) {
        (Ok(()), opened) => opened,
        // The download's own failure cut the plaintext short: it is the cause, unless the opener hung up first.
        (Err(fetch), Err(open)) if fetch.reason == Reason::Internal => Err(open),
        (Err(fetch), _) => Err(fetch),
    }
}

/// Decrypts and decompresses; `what` names it in errors, and `limit` is how long the plaintext may be.
fn open<'a, R: Read + 'a>(
    sealed: R,
    identities: &Identities,
    what: &str,
    limit: u64,
) -> Result<impl Read + use<'a, R>> {
    let decryptor = age::Decryptor::new_buffered(std::io::BufReader::new(sealed)).map_err(|source| {
        Error::new(Reason::Damaged, format!("{what} does not begin like an age file")).because(source)
    })?;
    let plaintext = decryptor.decrypt(identities.as_dyn()).map_err(|source| match source {
        age::DecryptError::NoMatchingKeys => {
            Error::new(Reason::KeyWrong, format!("no key in {} opens {what}", identities.source())).hint(
                "give the identity file whose public key was a recipient when the backup was made: `lifeboat show`",
            )
        }
        other => Error::new(Reason::Damaged, format!("{what} cannot be decrypted")).because(other),
    })?;
    let decoder = zstd::Decoder::new(plaintext)
        .map_err(|source| Error::new(Reason::Internal, "cannot start the decompressor").because(source))?;
    // One byte more than the manifest allows is let through, so that too much is seen and not silently cut.
    Ok(std::io::BufReader::with_capacity(PIECE_BYTES, decoder.take(limit.saturating_add(1))))
}

/// The verified chunks as a reader; its end is the download's end.
struct Received {
    receive: mpsc::Receiver<Bytes>,
    chunk: Bytes,
}

impl Read for Received {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.chunk.is_empty() {
            match self.receive.blocking_recv() {
                Some(chunk) => self.chunk = chunk,
                None => return Ok(0),
            }
        }
        let taken = buffer.len().min(self.chunk.len());
        self.chunk.copy_to_slice(&mut buffer[..taken]);
        Ok(taken)
    }
}
