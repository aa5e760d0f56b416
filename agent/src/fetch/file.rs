//! A backup as a person hands it over: one file, plain or sealed, that nobody's manifest speaks for.

use super::open;
use crate::capture::{Observer, Verdict};
use crate::error::{Error, Reason, Result};
use crate::keys::Identities;
use etcdfile::ReadAt as _;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// The first line of every age file.
const AGE: &[u8] = b"age-encryption.org/v1\n";
/// How other files begin that people take for a snapshot, and how to get at what is in them.
const WRAPPED: [(&[u8], &str); 3] = [
    (&[0x28, 0xb5, 0x2f, 0xfd], "it is compressed: `zstd -d` first"),
    (&[0x1f, 0x8b], "it is compressed: `gunzip` first"),
    (b"-----BEGIN AGE ENCRYPTED FILE-----", "it is age's text form: `age -d` first"),
];
/// Read at a time.
const PIECE_BYTES: usize = 256 << 10;

/// What a file is by its first bytes and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A database and its SHA-256, as `etcdctl snapshot save` writes it.
    Snapshot,
    /// A database alone, as it lies in a member's `snap/db`.
    BareDb,
    /// Lifeboat's `db.zst.age`.
    Sealed,
}

impl Kind {
    pub fn name(self) -> &'static str {
        match self {
            Kind::Snapshot => "snapshot",
            Kind::BareDb => "bare_db",
            Kind::Sealed => "sealed",
        }
    }
}

/// An open file, and what it is.
#[derive(Debug)]
pub struct SnapshotFile {
    pub path: PathBuf,
    pub kind: Kind,
    pub bytes: u64,
    pub file: File,
}

impl SnapshotFile {
    pub fn open(path: &Path) -> Result<SnapshotFile> {
        let name = path.display().to_string();
        let refused = |what: &str, hint: &str| {
            Err(Error::new(Reason::Usage, format!("{name} {what}")).on("open", path.display()).hint(hint))
        };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(source) if source.kind() == std::io::ErrorKind::NotFound => {
                return refused(
                    "does not exist",
                    "give the path of a snapshot, of a member/snap/db, or of a db.zst.age",
                );
            }
            Err(source) => return Err(Error::io("open", &name, source)),
        };
        let metadata = file.metadata().map_err(|source| Error::io("look at", &name, source))?;
        if metadata.is_dir() {
            return refused(
                "is a directory",
                "give a file: of a data dir it is member/snap/db, of a backup db.zst.age",
            );
        }
        if !metadata.is_file() {
            return refused("is no regular file", "save it to a file first: it is read at places");
        }
        let mut head = vec![0; AGE.len().max(40).min(usize::try_from(metadata.len()).unwrap_or(40))];
        file.read_exact_at(&mut head, 0).map_err(|source| Error::io("read", &name, source))?;
        if let Some((_, hint)) = WRAPPED.iter().find(|(begin, _)| head.starts_with(begin)) {
            return refused("is no plain snapshot", hint);
        }
        let kind = match () {
            () if head.starts_with(AGE) => Kind::Sealed,
            () if etcdfile::trailer::has_trailer(metadata.len()) => Kind::Snapshot,
            () => Kind::BareDb,
        };
        Ok(SnapshotFile { path: path.to_owned(), kind, bytes: metadata.len(), file })
    }

    /// Whether a running etcd has it open: then it changes while it is read.
    pub fn is_in_use(&self) -> bool {
        is_locked(&self.file)
    }

    /// The database and its trailer in order, or the database alone. `progress` is told how many bytes of the file have
    /// been read; its error ends the reading.
    pub fn plaintext<'a>(
        &'a self,
        identities: Option<&'a Identities>,
        progress: &'a (dyn Fn(u64) -> std::io::Result<()> + Sync),
    ) -> Result<Box<dyn Read + 'a>> {
        let file = Told { file: &self.file, done: 0, progress };
        match (self.kind, identities) {
            (Kind::Sealed, Some(identities)) => {
                Ok(Box::new(open(file, identities, &self.path.display().to_string(), u64::MAX - 1)?))
            }
            (Kind::Sealed, None) => Err(Error::new(
                Reason::KeyWrong,
                format!("{} is sealed, and no identity was given", self.path.display()),
            )
            .hint("give --identity FILE: the recovery key, or the prover's")),
            (Kind::Snapshot | Kind::BareDb, _) => Ok(Box::new(file)),
        }
    }

    /// Whether its bytes end in their own digest.
    pub fn has_trailer(&self) -> bool {
        self.kind != Kind::BareDb
    }

    /// Reads it to the end and says what it is, sound or not. Notes that outgrow their memory go to `notes_dir`.
    pub fn verdict(
        &self,
        identities: Option<&Identities>,
        notes_dir: &Path,
        progress: &(dyn Fn(u64) + Sync),
    ) -> Result<Verdict> {
        let tell = |done| {
            progress(done);
            Ok(())
        };
        let mut plaintext = self.plaintext(identities, &tell)?;
        let mut observer = if self.has_trailer() { Observer::new(notes_dir) } else { Observer::of_database(notes_dir) };
        let mut piece = vec![0; PIECE_BYTES];
        loop {
            let read = plaintext.read(&mut piece).map_err(|source| match self.kind {
                Kind::Sealed => {
                    Error::new(Reason::Damaged, format!("{} cannot be opened to its end", self.path.display()))
                        .because(source)
                }
                Kind::Snapshot | Kind::BareDb => Error::io("read", self.path.display(), source),
            })?;
            if read == 0 {
                return observer.verdict();
            }
            observer.push(&piece[..read], |_| Ok(()))?;
        }
    }
}

/// A file read from its start, without moving a cursor that others share.
struct Told<'a> {
    file: &'a File,
    done: u64,
    progress: &'a (dyn Fn(u64) -> std::io::Result<()> + Sync),
}

impl Read for Told<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = std::os::unix::fs::FileExt::read_at(self.file, buffer, self.done)?;
        self.done += read as u64;
        (self.progress)(self.done)?;
        Ok(read)
    }
}

/// Whether an etcd works on this database: it holds a lock on the file.
pub fn is_locked(file: &File) -> bool {
    use rustix::fs::{FlockOperation, flock};
    let locked = flock(file, FlockOperation::NonBlockingLockShared);
    if locked.is_ok()
        && let Err(error) = flock(file, FlockOperation::Unlock)
    {
        tracing::debug!(%error, "a lock of our own could not be let go; it ends with this process");
    }
    locked == Err(rustix::io::Errno::WOULDBLOCK)
}
