//! Scratch space: the only places where plaintext or notes on it may touch a disk, and how they leave it again.

use crate::error::{Error, Reason, Result};
use etcdfile::{FileSpill, Spill};
use rustix::process::{Pid, Signal};
use std::fs::{DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Between two looks at what is used.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// Lower than anything that somebody waits for; not the lowest, so that a busy host does not starve a proof.
const NICENESS: i32 = 10;

/// Notes of a stream check that outgrew their memory: a nameless file, made when the first note needs it.
pub struct Notes {
    dir: PathBuf,
    file: Option<FileSpill>,
}

impl Notes {
    pub fn new(dir: &Path) -> Self {
        Notes { dir: dir.to_owned(), file: None }
    }

    fn open(&self) -> std::io::Result<FileSpill> {
        Ok(FileSpill::new(nameless(&self.dir, "notes")?))
    }
}

/// A file of mode 0600 that has no name any more: it is gone with the process, however that ends.
pub fn nameless(dir: &Path, what: &str) -> std::io::Result<File> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let path = dir.join(format!(".{what}-{}-{:08x}", std::process::id(), random_u32()?));
    let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

impl Spill for Notes {
    fn append(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        if self.file.is_none() {
            let file = self.open().map_err(|why| {
                std::io::Error::new(why.kind(), format!("a scratch file in {}: {why}", self.dir.display()))
            })?;
            self.file = Some(file);
        }
        match &mut self.file {
            Some(file) => file.append(bytes),
            None => Err(std::io::Error::other("no scratch file")),
        }
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> std::io::Result<()> {
        match &self.file {
            Some(file) => file.read_exact_at(buffer, offset),
            None => Err(std::io::Error::other("nothing was spilled")),
        }
    }
}

/// Random bits for names; they need to be unique, not secret.
pub fn random_u32() -> std::io::Result<u32> {
    getrandom::u32().map_err(std::io::Error::other)
}

/// The random half of a backup's id.
pub fn random_u64() -> Result<u64> {
    getrandom::u64()
        .map_err(|source| Error::new(Reason::Internal, "this machine gives no random numbers").because(source))
}

/// The scratch dir of the proof: one fixed name, 0700, held by one process at a time, wiped before and after.
pub struct Scratch {
    dir: PathBuf,
    /// Held for as long as this lives; the kernel lets go of it however the process ends.
    _lock: File,
}

impl Scratch {
    /// Takes the dir for this process and wipes what a killed run left there.
    pub fn claim(parent: &Path) -> Result<Scratch> {
        let make = |source| Error::io("create", parent.display(), source);
        DirBuilder::new().recursive(true).mode(0o700).create(parent).map_err(make)?;
        let lock_path = parent.join("proof.lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&lock_path);
        let lock = lock.map_err(|source| Error::io("open", lock_path.display(), source))?;
        if rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Error::new(Reason::Budget, format!("another proof is running in {}", parent.display()))
                .hint("one proof at a time on a host; wait for it, or give another proof.scratch.dir"));
        }
        let scratch = Scratch { dir: parent.join("proof"), _lock: lock };
        scratch.end_leftover()?;
        scratch.wipe()?;
        let made = DirBuilder::new().mode(0o700).create(&scratch.dir);
        made.map_err(|source| Error::io("create", scratch.dir.display(), source))?;
        Ok(scratch)
    }

    /// Ends, with the reason, when more than `most` bytes are used in it.
    pub async fn overrun(&self, most: u64) -> Error {
        loop {
            let used = used_bytes(&self.dir);
            if used > most {
                let text = format!("the proof wrote {used} bytes into its scratch, proof.scratch.max is {most}");
                return Error::new(Reason::NoSpace, text).hint("raise proof.scratch.max, or prove to `sound`");
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Ends the etcd that a killed proof left running with a backup's secrets in memory. The lock says that its prover is
    /// gone, and only processes that work in this very dir are ended; etcd was started there and never leaves.
    fn end_leftover(&self) -> Result<()> {
        let Ok(dir) = std::fs::canonicalize(&self.dir) else { return Ok(()) }; // nothing was left at all
        let processes = std::fs::read_dir("/proc").map_err(|source| Error::io("look into", "/proc", source))?;
        for process in processes.flatten() {
            let pid = process.file_name().to_str().and_then(|name| name.parse().ok()).and_then(Pid::from_raw);
            // One that ended meanwhile, or that belongs to another user, has no cwd to read: it is not ours.
            let (Some(pid), Ok(cwd)) = (pid, std::fs::read_link(process.path().join("cwd"))) else { continue };
            if cwd != dir {
                continue;
            }
            match rustix::process::kill_process(pid, Signal::KILL) {
                Ok(()) => tracing::warn!(%pid, "ended the etcd that a killed proof had left running"),
                Err(rustix::io::Errno::SRCH) => {}
                Err(source) => {
                    let text = format!("an etcd of a killed proof still runs as process {pid}");
                    return Err(Error::new(Reason::HostPermission, text).hint("end it by hand").because(source));
                }
            }
        }
        Ok(())
    }

    /// Removes everything in it. The end of a proof calls this and reports a failure; dropping is only the safety net.
    pub fn wipe(&self) -> Result<()> {
        remove(&self.dir)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = self.wipe() {
            tracing::error!(%error, "plaintext may be left in the scratch dir: remove it by hand");
        }
    }
}

/// Bytes that files take on the disk, in a dir and below; what vanishes meanwhile takes none.
fn used_bytes(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let bytes = entries.map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => used_bytes(&entry.path()),
        Ok(metadata) => metadata.blocks().saturating_mul(512),
        Err(_) => 0,
    });
    bytes.fold(0, u64::saturating_add)
}

/// Removes a dir and everything in it.
pub fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(Error::io("wipe", dir.display(), source)),
    }
}

/// Plaintext in memory must not end in a core dump, from now on and in whatever this process starts.
pub fn no_core_dumps() -> Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    rustix::process::setrlimit(rustix::process::Resource::Core, none)
        .map_err(|source| Error::io("turn off", "core dumps", source.into()))
}

/// Lets all other work on this host go before this thread's, and before what it starts. The kernel derives the priority
/// of its disk work from that, where the disk's scheduler knows any.
pub fn lower_this_thread() {
    if let Err(error) = rustix::process::setpriority_process(None, NICENESS) {
        tracing::debug!(%error, "this thread could not be lowered");
    }
}

/// Fails unless the file system of `path` has `needed` bytes free; `what` names the use.
pub fn require_space(path: &Path, needed: u64, what: &str) -> Result<u64> {
    let free = free_bytes(path)?;
    if free < needed {
        let text = format!("{what} needs {needed} bytes, but {} has {free} bytes free", path.display());
        return Err(Error::new(Reason::NoSpace, text).hint("free space there, or use another file system"));
    }
    Ok(free)
}

/// Bytes that an unprivileged writer still has on the file system of `path`, or of its nearest parent that exists.
pub fn free_bytes(path: &Path) -> Result<u64> {
    let there = path.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    let stat = rustix::fs::statvfs(there)
        .map_err(|source| Error::io("ask the free space of", there.display(), source.into()))?;
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_leave_no_name_behind() {
        let dir = tempfile::tempdir().unwrap();
        let mut notes = Notes::new(dir.path());
        assert!(notes.read_exact_at(&mut [0; 1], 0).is_err());
        notes.append(b"abc").unwrap();
        let mut back = [0; 3];
        notes.read_exact_at(&mut back, 0).unwrap();
        assert_eq!(&back, b"abc");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_second_proof_waits_and_a_killed_ones_plaintext_is_wiped() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("proof")).unwrap();
        std::fs::write(dir.path().join("proof/db"), "secret").unwrap();
        let scratch = Scratch::claim(dir.path()).unwrap();
        assert_eq!(std::fs::read_dir(scratch.dir()).unwrap().count(), 0);
        assert_eq!(Scratch::claim(dir.path()).err().map(|e| e.reason), Some(Reason::Budget));
        drop(scratch);
        assert!(!dir.path().join("proof").exists());
        assert!(Scratch::claim(dir.path()).is_ok());
    }
}
