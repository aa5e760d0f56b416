//! What etcd's buckets say, read while their trees are walked, and the report made of it.

use std::collections::{BTreeMap, HashSet};
use std::io;

use crate::bolt::{BUCKET_FLAG, Bucket, Header, LEAF, LeafItems};
use crate::crc::Joined;
use crate::identity::bootstrap_cluster_id;
use crate::io::Spill;
use crate::mvcc::{Flaw, Revision};
use crate::num::wide;
use crate::small::{eight, lease, mark, member, text};

use super::count::{KeyTree, MAX_LEASE_IDS, Records};
use super::notes::{Revisions, RevisionsNote};
use super::report::{Finding, Member, Report};
use super::stream::{self, Shape};
use super::walk::{EachLeaf, Findings, Leaf, Walk};
use super::{Checked, Read};

/// An entry of the root: a bucket's name, and its value with the page that it stands in.
struct Entry {
    name: Vec<u8>,
    value: Vec<u8>,
    page: u64,
}

/// What the small buckets say.
#[derive(Debug, Clone, Default)]
struct Small {
    members: Vec<Member>,
    leases: HashSet<i64>,
    alarms: u64,
    /// Members that were removed since the cluster began.
    removed: u64,
    consistent_index: u64,
    term: Option<u64>,
    scheduled: Option<i64>,
    finished: Option<i64>,
    storage_version: Option<String>,
    cluster_version: Option<String>,
    auth_enabled: bool,
}

impl Small {
    fn compact_revision(&self) -> i64 {
        self.scheduled.unwrap_or(-1).max(self.finished.unwrap_or(-1))
    }

    /// Takes in one item of a small bucket.
    fn item(&mut self, bucket: &[u8], key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        match (bucket, key) {
            (b"meta", b"consistent_index") => self.consistent_index = eight(value)?,
            (b"meta", b"term") => self.term = Some(eight(value)?),
            (b"meta", b"scheduledCompactRev") => self.scheduled = Some(mark(value)?),
            (b"meta", b"finishedCompactRev") => self.finished = Some(mark(value)?),
            (b"meta", b"storageVersion") => self.storage_version = Some(text(value)?),
            (b"cluster", b"clusterVersion") => self.cluster_version = Some(text(value)?),
            (b"auth", b"authEnabled") => self.auth_enabled = value == [1],
            (b"members_removed", _) => self.removed = self.removed.saturating_add(1),
            (b"alarm", _) => self.alarms = self.alarms.saturating_add(1),
            (b"members", _) => self.members.push(member(key, value)?),
            (b"lease", _) => {
                self.leases.insert(lease(key, value)?.id);
            }
            _ => {}
        }
        Ok(())
    }
}

/// The `key` bucket, as far as it was walked.
struct Keys {
    tree: KeyTree,
    tombstones: u64,
    /// Up to here revisions may be missing.
    compact: i64,
    last: Option<(i64, u32)>,
    content: Joined,
}

impl Keys {
    fn leaf(&mut self, findings: &mut Findings, page: u64, leaf: Leaf<'_>) {
        take_in(&mut self.content, leaf);
        let revisions = match leaf {
            Leaf::Items(_, 0) => return,
            Leaf::Items(..) => return findings.at(page, "an item of bucket key is not named by a revision"),
            Leaf::Revisions(revisions) => revisions,
        };
        let (number, flaw) = revisions.flaw;
        if let Some(flaw) = Flaw::from_code(flaw) {
            findings.at(page, format!("record {number} of this page {}", flaw.describe()));
        }
        for record in revisions.records() {
            self.follow(findings, page, record.revision);
            self.tree.newest = self.tree.newest.max(record.revision.main);
        }
        self.tree.leased |= revisions.leases().next().is_some();
        self.tree.records = self.tree.records.saturating_add(revisions.len());
    }

    /// Above the compact revision there is every revision, and every change of it.
    fn follow(&mut self, findings: &mut Findings, page: u64, revision: Revision) {
        let Revision { main, sub, tombstone } = revision;
        self.tombstones = self.tombstones.saturating_add(u64::from(tombstone));
        if main > self.compact {
            let floor = self.compact.max(1);
            let (last_main, last_sub) = self.last.filter(|last| last.0 > floor).unwrap_or((floor, u32::MAX));
            let next = last_main.saturating_add(1);
            if main == last_main {
                if sub != last_sub.saturating_add(1) && main > floor {
                    findings.at(page, format!("changes of revision {main} are missing before its change {sub}"));
                }
            } else if main > next {
                let end = main.saturating_sub(1);
                findings.at(page, format!("revisions {next} to {end} are missing before it, and none was compacted"));
            } else if main == next && sub != 0 {
                findings.at(page, format!("revision {main} begins with its change {sub} instead of 0"));
            }
        }
        self.last = Some((main, sub));
    }
}

/// Walks everything, and keeps what later questions need.
pub(super) fn checked<S: Spill>(read: Read<S>) -> io::Result<Checked<S>> {
    let mut walk = Walk::new(&read);
    walk.metas()?;
    let mut entries = root(&mut walk)?;
    // The compaction marks in `meta` say what may be missing from `key`.
    entries.sort_by_key(|entry| entry.name != b"meta");
    let mut small = Small::default();
    let mut contents: BTreeMap<&[u8], Joined> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| entry.name != b"key") {
        let content = contents.entry(&entry.name).or_default();
        let mut each = |findings: &mut Findings, page: u64, leaf: Leaf<'_>| {
            take_in(content, leaf);
            small_leaf(&mut small, findings, page, &entry.name, leaf);
        };
        bucket(&mut walk, entry, &mut each)?;
    }
    small.members.sort_by_key(|member| member.id);
    let keys = key_bucket(&mut walk, &entries, small.compact_revision())?;
    if entries.iter().any(|entry| entry.name == b"key") {
        contents.insert(b"key", keys.content);
    }
    walk.freelist()?;
    let mut report = assemble(walk, small.clone(), &keys);
    let records = Records::new(keys.tree, read.notes, read.hash_of_empty)?;
    let alive = records.alive(report.revision)?;
    let dangling = records.dangling(&alive, &small.leases)?;
    if dangling.more {
        let what = format!("more than {MAX_LEASE_IDS} leases are named by keys and do not exist");
        report.findings.push(Finding { what, page: None, offset: None });
    }
    report.keys = alive.keys;
    report.dangling_leases = dangling.keys;
    report.dangling_lease_ids = dangling.ids;
    if report.sound() {
        report.status_hash = Some(status_hash(&contents));
        report.hash_kv = Some(records.hash_kv(&alive, report.revision, report.compact_revision)?);
    }
    Ok(Checked { report, records, alive })
}

/// Everything but what the records say as a whole.
fn assemble<S: Spill>(walk: Walk<'_, S>, small: Small, keys: &Keys) -> Report {
    let read = walk.read;
    let last = keys.last.map_or(1, |(main, _)| main);
    let page_bytes = u64::from(read.newest.page_size);
    let free_pages = read.newest.high_water.saturating_sub(2).saturating_sub(walk.live_pages());
    let agree = match &read.metas {
        [Some(a), Some(b)] => (a.root, a.freelist, a.high_water) == (b.root, b.freelist, b.high_water),
        _ => false,
    };
    Report {
        findings: walk.findings.list,
        more_findings: walk.findings.more,
        revision: last.max(small.compact_revision()).max(1),
        compact_revision: small.compact_revision(),
        scheduled_compact_revision: small.scheduled.unwrap_or(-1),
        finished_compact_revision: small.finished.unwrap_or(-1),
        records: keys.tree.records,
        keys: 0,
        tombstones: keys.tombstones,
        db_bytes: read.db_bytes,
        page_bytes: read.newest.page_size,
        free_bytes: free_pages.min(read.pages).saturating_mul(page_bytes),
        beyond_bytes: read.db_bytes.saturating_sub(read.newest.high_water.saturating_mul(page_bytes)),
        metas_agree: agree,
        leases: wide(small.leases.len()),
        cluster_id: bootstrap_cluster_id(&small.members, small.removed),
        members: small.members,
        dangling_leases: 0,
        dangling_lease_ids: Vec::new(),
        alarms: small.alarms,
        consistent_index: small.consistent_index,
        term: small.term,
        storage_version: small.storage_version,
        cluster_version: small.cluster_version,
        auth_enabled: small.auth_enabled,
        hash_kv: None,
        status_hash: None,
    }
}

/// Adds what a leaf's items hold, keys and values end to end.
fn take_in(content: &mut Joined, leaf: Leaf<'_>) {
    match leaf {
        Leaf::Revisions(revisions) => content.add(revisions.sum.crc, u64::from(revisions.sum.len)),
        Leaf::Items(page, count) => {
            let mut items = LeafItems::new(page, count);
            let begin = items.used();
            items.by_ref().for_each(drop);
            let data = page.get(begin..items.used()).unwrap_or_default();
            content.add(crc32c::crc32c(data), wide(data.len()));
        }
    }
}

/// CRC-32C over the name and the content of every bucket, in the order of their names.
fn status_hash(contents: &BTreeMap<&[u8], Joined>) -> u32 {
    let mut all = Joined::default();
    for (name, content) in contents {
        all.add(crc32c::crc32c(name), wide(name.len()));
        all.add(content.crc, content.len);
    }
    all.crc
}

/// The buckets there are.
fn root<S: Spill>(walk: &mut Walk<'_, S>) -> io::Result<Vec<Entry>> {
    let mut entries = Vec::new();
    let mut each = |findings: &mut Findings, page: u64, leaf: Leaf<'_>| {
        let Leaf::Items(bytes, count) = leaf else {
            return findings.at(page, "the root holds revisions instead of buckets");
        };
        for item in LeafItems::new(bytes, count).filter_map(Result::ok) {
            if item.flags != BUCKET_FLAG {
                findings.at(page, format!("the root's item {} is not a bucket", shown(item.key)));
                continue;
            }
            entries.push(Entry { name: item.key.to_vec(), value: item.value.to_vec(), page });
        }
    };
    walk.tree(walk.read.newest.root, &mut each)?;
    for name in ["key", "meta"] {
        if !entries.iter().any(|entry| entry.name == name.as_bytes()) {
            walk.findings.at(walk.read.newest.root, format!("there is no bucket called {name} in the root"));
        }
    }
    Ok(entries)
}

fn key_bucket<S: Spill>(walk: &mut Walk<'_, S>, entries: &[Entry], compact: i64) -> io::Result<Keys> {
    let mut keys = Keys { tree: KeyTree::default(), tombstones: 0, compact, last: None, content: Joined::default() };
    let Some(entry) = entries.iter().find(|entry| entry.name == b"key") else {
        return Ok(keys);
    };
    if let Some(Bucket::Inline(page)) = Bucket::parse(&entry.value) {
        keys.tree.inline = inline(walk, entry, page, &mut |findings, at, leaf| keys.leaf(findings, at, leaf));
        return Ok(keys);
    }
    let mut leaves = Vec::new();
    let mut each = |findings: &mut Findings, page: u64, leaf: Leaf<'_>| {
        keys.leaf(findings, page, leaf);
        if matches!(leaf, Leaf::Revisions(_)) {
            match u32::try_from(page) {
                Ok(page) => leaves.push(page),
                Err(_) => findings.at(page, "it lies beyond what this check can count"),
            }
        }
    };
    bucket(walk, entry, &mut each)?;
    keys.tree.leaves = leaves;
    Ok(keys)
}

/// Walks a bucket's own tree, or reads it where it is inline.
fn bucket<S: Spill>(walk: &mut Walk<'_, S>, entry: &Entry, each: &mut EachLeaf<'_>) -> io::Result<()> {
    match Bucket::parse(&entry.value) {
        Some(Bucket::Root(root)) => walk.tree(root, each),
        Some(Bucket::Inline(page)) => {
            inline(walk, entry, page, each);
            Ok(())
        }
        None => {
            walk.findings.at(entry.page, format!("the header of bucket {} is damaged", shown(&entry.name)));
            Ok(())
        }
    }
}

/// How much of a name a finding shows.
const SHOWN_BYTES: usize = 80;

/// A name for people: of one that damage made a page long the beginning tells enough.
fn shown(name: &[u8]) -> String {
    match name.get(..SHOWN_BYTES) {
        Some(start) if name.len() > SHOWN_BYTES => format!("{}... ({} bytes)", start.escape_ascii(), name.len()),
        _ => name.escape_ascii().to_string(),
    }
}

/// Reads an inline bucket; gives the note on it if it holds revisions.
fn inline<S: Spill>(walk: &mut Walk<'_, S>, entry: &Entry, page: &[u8], each: &mut EachLeaf<'_>) -> Option<Vec<u8>> {
    let name = shown(&entry.name);
    let header = Header::parse(page).filter(|header| (header.id, header.flags, header.overflow) == (0, LEAF, 0));
    let Some(header) = header else {
        walk.findings.at(entry.page, format!("the inline bucket {name} has a damaged header"));
        return None;
    };
    let mut scratch = RevisionsNote::default();
    match stream::leaf(header, page, (&walk.read.keys, &mut *walk.read.classes.borrow_mut()), &mut scratch) {
        Ok((_, used)) if used != page.len() => {
            walk.findings.at(entry.page, format!("the inline bucket {name} is longer than its items"));
            None
        }
        Ok((Shape::Verbatim(_), _)) => {
            each(&mut walk.findings, entry.page, Leaf::Items(page, header.count));
            None
        }
        Ok((Shape::Revisions, _)) => {
            let note = scratch.to_vec(header);
            let revisions = Revisions::parse(&note)?;
            each(&mut walk.findings, entry.page, Leaf::Revisions(revisions));
            Some(note)
        }
        Err(how) => {
            walk.findings.at(entry.page, format!("in the inline bucket {name}: {}", how.describe()));
            None
        }
    }
}

fn small_leaf(small: &mut Small, findings: &mut Findings, page: u64, bucket: &[u8], leaf: Leaf<'_>) {
    // A bucket of users may have names that look like revisions; none that is read here has.
    let Leaf::Items(bytes, count) = leaf else { return };
    for item in LeafItems::new(bytes, count).filter_map(Result::ok) {
        // etcd puts no bucket into another, and does not find an item that says to be one.
        let read = match item.flags {
            0 => small.item(bucket, item.key, item.value),
            _ => Err("is marked as a bucket within the bucket"),
        };
        if let Err(why) = read {
            let (bucket, key) = (shown(bucket), shown(item.key));
            findings.at(page, format!("{bucket}/{key} {why}"));
        }
    }
}
