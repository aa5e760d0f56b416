//! The exchange of the old data dir for the new one: each rename can be cut short and be done again.

use crate::error::{Error, Result};
use crate::restore::sync_dir;
use chrono::{DateTime, Utc};
use rustix::fs::{AtFlags, CWD, RenameFlags, StatxFlags, renameat_with, statx};
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Which names the old and the new one have before and after.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Swap {
    /// What etcd opens: the data dir, or `member` in it where the data dir is a mount point and cannot be renamed.
    pub live: PathBuf,
    /// Where the new one is built.
    pub fresh: PathBuf,
    /// Where the old one is kept.
    pub kept: PathBuf,
    /// Where the new one goes if all is undone.
    pub undone: PathBuf,
    /// Tells the new one from the old one, whatever its name is; 0 until it is built.
    pub inode: u64,
}

impl Swap {
    /// The names carry the time, which tells the dirs of several restores apart.
    pub fn plan(data_dir: &Path, now: DateTime<Utc>) -> Result<Swap> {
        let stamp = now.format("%Y%m%dT%H%M%SZ");
        let is_mount = is_mount_point(data_dir)?;
        let named = |suffix: String| {
            if is_mount {
                return data_dir.join(suffix.trim_start_matches('.')).join("member");
            }
            let mut name = OsString::from(data_dir.file_name().unwrap_or_default());
            name.push(suffix);
            data_dir.with_file_name(name)
        };
        Ok(Swap {
            live: if is_mount { data_dir.join("member") } else { data_dir.to_path_buf() },
            fresh: named(".new".to_owned()),
            kept: named(format!(".before-{stamp}")),
            undone: named(format!(".undone-{stamp}")),
            inode: 0,
        })
    }

    /// The data dir to build, which ends up as or around `fresh`.
    pub fn to_build<'a>(&'a self, data_dir: &Path) -> &'a Path {
        match self.fresh.parent() {
            Some(parent) if self.live != data_dir => parent,
            _ => &self.fresh,
        }
    }

    /// What a person is told to keep or remove: the dir with the old data.
    pub fn kept_dir(&self, data_dir: &Path) -> PathBuf {
        match self.kept.parent() {
            Some(parent) if self.live != data_dir => parent.to_path_buf(),
            _ => self.kept.clone(),
        }
    }

    pub fn is_done(&self) -> Result<bool> {
        Ok(inode(&self.live)? == Some(self.inode))
    }

    /// Puts the new one in place and the old one, if there is any, under its dated name.
    pub fn forward(&self) -> Result<()> {
        if !self.is_done()? {
            match inode(&self.live)? {
                Some(_) => self.exchange(&self.live, &self.fresh, &self.kept)?,
                None => rename(&self.fresh, &self.live)?,
            }
        }
        match inode(&self.fresh)? {
            Some(_) => rename(&self.fresh, &self.kept),
            None => Ok(()),
        }
    }

    /// Puts the old one back, or nothing where there was none, and the new one aside.
    pub fn back(&self) -> Result<()> {
        let mut old = None;
        for name in [&self.kept, &self.fresh] {
            if inode(name)?.is_some_and(|found| found != self.inode) {
                old = Some(name);
            }
        }
        match (self.is_done()?, old) {
            (true, Some(old)) => self.exchange(&self.live, old, &self.undone)?,
            (true, None) => rename(&self.live, &self.undone)?,
            // The exchange was cut between two plain renames.
            (false, Some(old)) if inode(&self.live)?.is_none() => rename(old, &self.live)?,
            (false, _) => {}
        }
        for name in [&self.kept, &self.fresh] {
            if inode(name)? == Some(self.inode) {
                rename(name, &self.undone)?;
            }
        }
        Ok(())
    }

    /// Atomic where the file system can; else two renames, with `aside` as the first one's name.
    fn exchange(&self, live: &Path, other: &Path, aside: &Path) -> Result<()> {
        use rustix::io::Errno;
        match renameat_with(CWD, live, CWD, other, RenameFlags::EXCHANGE) {
            Ok(()) => sync_parents(live, other),
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
                rename(live, aside)?;
                rename(other, live)
            }
            Err(source) => {
                Err(Error::io("exchange", format!("{} and {}", live.display(), other.display()), source.into()))
            }
        }
    }
}

/// On disk when it returns: what the journal says next is not true before.
pub(super) fn rename(from: &Path, to: &Path) -> Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).map_err(|source| Error::io("create", parent.display(), source))?;
    }
    std::fs::rename(from, to).map_err(|source| Error::io("move to", to.display(), source))?;
    sync_parents(from, to)
}

fn sync_parents(one: &Path, other: &Path) -> Result<()> {
    [one, other].into_iter().filter_map(Path::parent).try_for_each(sync_dir)
}

pub(super) fn inode(path: &Path) -> Result<Option<u64>> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(Some(found.ino())),
        Err(source) if source.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::io("look at", path.display(), source)),
    }
}

/// A disk of etcd's own, or a bind mount.
fn is_mount_point(dir: &Path) -> Result<bool> {
    use rustix::fs::StatxAttributes;
    match statx(CWD, dir, AtFlags::empty(), StatxFlags::BASIC_STATS) {
        Ok(found) => Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT)),
        Err(rustix::io::Errno::NOENT) => Ok(false),
        Err(source) => Err(Error::io("look at", dir.display(), source.into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Ground {
        dir: tempfile::TempDir,
        swap: Swap,
    }

    fn ground(old: bool) -> Ground {
        let dir = tempfile::tempdir().unwrap();
        let data = dir.path().join("etcd");
        let mut swap = Swap::plan(&data, DateTime::UNIX_EPOCH).unwrap();
        for (path, content, there) in [(&swap.live, "old", old), (&swap.fresh, "new", true)] {
            if there {
                std::fs::create_dir(path).unwrap();
                std::fs::write(path.join("is"), content).unwrap();
            }
        }
        swap.inode = inode(&swap.fresh).unwrap().unwrap();
        Ground { dir, swap }
    }

    fn is(path: &Path) -> Option<String> {
        std::fs::read_to_string(path.join("is")).ok()
    }

    #[test]
    fn an_exchange_is_undone_and_either_may_be_done_twice() {
        for old in [true, false] {
            let ground = ground(old);
            let (swap, was) = (&ground.swap, old.then(|| "old".to_owned()));
            for _ in 0..2 {
                swap.forward().unwrap();
                assert_eq!((is(&swap.live).as_deref(), is(&swap.kept)), (Some("new"), was.clone()));
                assert!(!swap.fresh.exists() && swap.is_done().unwrap());
            }
            for _ in 0..2 {
                swap.back().unwrap();
                assert_eq!((is(&swap.live), is(&swap.undone).as_deref()), (was.clone(), Some("new")));
                assert!(!swap.kept.exists() && !swap.is_done().unwrap());
            }
        }
    }

    /// Every state that a kill between two renames leaves, on file systems with and without an atomic exchange.
    #[test]
    fn an_exchange_that_was_cut_short_goes_on_or_back() {
        let cuts: [fn(&Swap); 3] = [
            |swap| renameat_with(CWD, &swap.live, CWD, &swap.fresh, RenameFlags::EXCHANGE).unwrap(),
            |swap| std::fs::rename(&swap.live, &swap.kept).unwrap(),
            |swap| {
                std::fs::rename(&swap.live, &swap.kept).unwrap();
                std::fs::rename(&swap.fresh, &swap.live).unwrap();
            },
        ];
        for cut in cuts {
            let forward = ground(true);
            cut(&forward.swap);
            forward.swap.forward().unwrap();
            assert_eq!(is(&forward.swap.live).as_deref(), Some("new"));
            assert_eq!(is(&forward.swap.kept).as_deref(), Some("old"));
            let back = ground(true);
            cut(&back.swap);
            back.swap.back().unwrap();
            let left: Vec<_> = std::fs::read_dir(back.dir.path()).unwrap().collect();
            assert_eq!(is(&back.swap.live).as_deref(), Some("old"), "{left:?}");
            assert_eq!(is(&back.swap.undone).as_deref(), Some("new"));
        }
    }
}
