//! The commit itself.

use crate::bolt::{BUCKET_FLAG, Bucket, Builder, Child, Item, Meta, NO_FREELIST, ReadError, Source, TooLarge};
use crate::check::Report;
use crate::io::{ReadAt, WriteAt};
use crate::mvcc::Revision;
use crate::num::wide;

use super::{Committed, Edits, RewriteError};

impl From<ReadError> for RewriteError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::Io { offset, source } => RewriteError::Io { doing: "read", offset, source },
            ReadError::Page { page, what } => RewriteError::Changed { page, what },
        }
    }
}

impl From<TooLarge> for RewriteError {
    fn from(_: TooLarge) -> Self {
        RewriteError::Changed { page: 0, what: "a new page would be larger than a page can be".to_owned() }
    }
}

/// A commit under way.
struct Commit<'a, F> {
    source: Source<'a, F>,
    builder: Builder,
    /// The root's items: the buckets.
    root: Vec<Item>,
    done: Committed,
}

pub(super) fn commit<F: ReadAt + WriteAt>(file: &F, report: &Report, edits: &Edits) -> Result<Committed, RewriteError> {
    if !report.sound() {
        return Err(RewriteError::NotSound { findings: report.findings.len() });
    }
    if edits.members.is_empty() {
        return Err(RewriteError::NoMembers);
    }
    let revision = bumped(report.revision, edits.bump)?;
    let source = Source::open(file)?;
    let builder = Builder::new(source.page_size(), source.meta.high_water);
    let root = source.tree(source.meta.root)?;
    let done = Committed { revision, db_bytes: 0, dropped_members: 0, dropped_alarms: 0, dropped_downgrade: false };
    let mut commit = Commit { source, builder, root, done };
    commit.members(edits)?;
    commit.cluster()?;
    commit.meta(edits, revision)?;
    if edits.disable_auth {
        commit.auth()?;
    }
    if edits.bump.is_some() {
        commit.ghost(Revision { main: revision, sub: 0, tombstone: false })?;
    }
    commit.write(file)
}

fn bumped(revision: i64, bump: Option<u64>) -> Result<i64, RewriteError> {
    let Some(bump) = bump else { return Ok(revision) };
    let raised = if bump == 0 { None } else { revision.checked_add_unsigned(bump) };
    raised.filter(|raised| *raised < i64::MAX).ok_or(RewriteError::Bump { revision, bump })
}

impl<F: ReadAt + WriteAt> Commit<'_, F> {
    fn items(&self, bucket: &str) -> Result<Option<Vec<Item>>, RewriteError> {
        let found = self.root.iter().find(|item| item.key == bucket.as_bytes());
        found.map(|item| Ok(self.source.bucket(&item.value)?)).transpose()
    }

    fn replace(&mut self, bucket: &str, items: &[Item]) -> Result<(), RewriteError> {
        let value = self.builder.bucket(items)?;
        self.set_value(bucket, value);
        Ok(())
    }

    fn set_value(&mut self, bucket: &str, value: Vec<u8>) {
        put(&mut self.root, bucket.as_bytes(), BUCKET_FLAG, value);
    }

    /// The new members replace the old ones; nobody was removed yet, and no alarm is raised.
    fn members(&mut self, edits: &Edits) -> Result<(), RewriteError> {
        self.done.dropped_members = self.items("members")?.map_or(0, |items| items.len());
        let mut items = Vec::new();
        for member in &edits.members {
            put(&mut items, member.hex_id().as_bytes(), 0, member.json());
        }
        self.replace("members", &items)?;
        if self.items("members_removed")?.is_some() {
            self.replace("members_removed", &[])?;
        }
        if let Some(alarms) = self.items("alarm")? {
            self.done.dropped_alarms = alarms.len();
            self.replace("alarm", &[])?;
        }
        Ok(())
    }

    fn cluster(&mut self) -> Result<(), RewriteError> {
        let Some(mut items) = self.items("cluster")? else {
            return Ok(());
        };
        let before = items.len();
        items.retain(|item| item.key != b"downgrade");
        self.done.dropped_downgrade = items.len() < before;
        if self.done.dropped_downgrade {
            self.replace("cluster", &items)?;
        }
        Ok(())
    }

    fn auth(&mut self) -> Result<(), RewriteError> {
        if let Some(mut items) = self.items("auth")? {
            put(&mut items, b"authEnabled", 0, vec![0]);
            self.replace("auth", &items)?;
        }
        Ok(())
    }

    fn meta(&mut self, edits: &Edits, revision: i64) -> Result<(), RewriteError> {
        let mut items = self.items("meta")?.unwrap_or_default();
        let mut voters: Vec<u64> = edits.members.iter().map(|member| member.id).collect();
        voters.sort_unstable();
        let conf_state = serde_json::json!({ "voters": voters, "auto_leave": false }).to_string();
        put(&mut items, b"consistent_index", 0, edits.consistent_index.to_be_bytes().to_vec());
        put(&mut items, b"term", 0, edits.term.to_be_bytes().to_vec());
        put(&mut items, b"confState", 0, conf_state.into_bytes());
        if edits.bump.is_some() {
            let mark = Revision { main: revision, sub: 0, tombstone: false };
            put(&mut items, b"scheduledCompactRev", 0, mark.encode());
        }
        self.replace("meta", &items)
    }

    /// Appends the record that carries the raised revision: a put of nothing, as etcd's own restore writes it.
    ///
    /// It gets a leaf of its own at the right edge of the tree, so that only branches are read and written again.
    fn ghost(&mut self, revision: Revision) -> Result<(), RewriteError> {
        let ghost = Item { flags: 0, key: revision.encode(), value: Vec::new() };
        let value = self.root.iter().find(|item| item.key == b"key").map(|item| item.value.clone());
        let root = match value.as_deref().map(Bucket::parse) {
            Some(Some(Bucket::Root(root))) => root,
            Some(None) => {
                let what = "the header of bucket key is cut off".to_owned();
                return Err(RewriteError::Changed { page: self.source.meta.root, what });
            }
            None | Some(Some(Bucket::Inline(_))) => {
                let mut items = self.items("key")?.unwrap_or_default();
                items.push(ghost);
                return self.replace("key", &items);
            }
        };
        let (levels, leaf) = self.source.right_edge(root)?;
        if levels.is_empty() && leaf.is_none() {
            return self.replace("key", &[ghost]);
        }
        let mut right = vec![self.builder.leaf(&[ghost])?];
        for (height, mut children) in (0u32..).zip(levels.into_iter().rev()) {
            // The new leaf comes beside the old one; above it, what is new replaces what it was made from.
            if height > 0 {
                children.pop();
            }
            children.append(&mut right);
            right = self.builder.branches(&children)?;
        }
        let mut top: Vec<Child> = leaf.into_iter().chain(right).collect();
        while top.len() > 1 {
            top = self.builder.branches(&top)?;
        }
        let root = top.first().map(|child| child.page).ok_or(TooLarge)?;
        self.set_value("key", Builder::header(root));
        Ok(())
    }

    /// Writes the new pages, then the metas: the root becomes visible last.
    fn write(mut self, file: &F) -> Result<Committed, RewriteError> {
        let root = self.builder.tree(&self.root)?;
        let page_bytes = wide(self.source.page_size());
        let put = |page: u64, bytes: &[u8]| {
            let offset = page.saturating_mul(page_bytes);
            let written = file.write_all_at(bytes, offset);
            written.map_err(|source| RewriteError::Io { doing: "write", offset, source })
        };
        for (page, bytes) in self.builder.pages() {
            put(*page, bytes)?;
        }
        let high_water = self.builder.high_water();
        let old = self.source.meta;
        for step in [1, 2] {
            let txid = old.txid.saturating_add(step);
            let meta = Meta { root, high_water, txid, freelist: NO_FREELIST, ..old };
            put(txid % 2, &meta.encode(txid % 2))?;
        }
        Ok(Committed { db_bytes: high_water.saturating_mul(page_bytes), ..self.done })
    }
}

/// Sets an item, keeping the order by key.
fn put(items: &mut Vec<Item>, key: &[u8], flags: u32, value: Vec<u8>) {
    let item = Item { flags, key: key.to_vec(), value };
    match items.binary_search_by(|have| have.key.as_slice().cmp(key)) {
        Ok(at) => {
            if let Some(have) = items.get_mut(at) {
                *have = item;
            }
        }
        Err(at) => items.insert(at, item),
    }
}
