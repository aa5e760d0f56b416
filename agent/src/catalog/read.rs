//! Reading the catalog: one listing, then every signed object in it, verified. The list alone says what exists.

use super::manifest::{self, Manifest, Tombstone, Verdict};
use super::signed::signatures;
use super::trust_list::TrustList;
use super::wish::{Ack, Hold};
use super::{Amiss, Catalog, Orphan, Stray, Trusted, Untrusted, Wrong, note};
use crate::digest::Digest;
use crate::error::{Error, Reason, Result};
use crate::keys::{Distrust, Trust};
use crate::store::{Found, Kind, Layout, ObjectKey, Store};
use bytes::Bytes;
use chrono::{DateTime, Utc};
use futures::{StreamExt as _, TryStreamExt as _};
use lifeboat_policy::hold::{self, Held, HoldFact};
use lifeboat_policy::id::BackupId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The finding that a backup came long after its time.
pub(super) const LATE: &str = "late";

/// Small objects read at a time.
const READS_AT_A_TIME: usize = 8;

/// Reads one cluster's catalog, again and again: objects are immutable, so what was read once is not fetched twice.
pub struct Reader {
    store: Store,
    layout: Layout,
    /// What the config or flags name.
    local: Trust,
    /// What counts with the trust list and the verdicts of the last reading.
    trust: Mutex<Arc<Trust>>,
    lists: Mutex<Lists>,
    /// By name; valid while size, time and version mark in the listing are the same.
    cache: Mutex<HashMap<String, (Found, Bytes)>>,
}

/// The trust lists that were seen so far: a lower one than these counts no more.
#[derive(Default)]
struct Lists {
    counts: Option<Arc<TrustList>>,
    /// The highest that stood in this store; another store may have a higher one.
    here: u32,
}

/// One listing, sorted by what the names are.
#[derive(Default)]
struct Listing {
    trust_lists: Vec<(ObjectKey, Found)>,
    blobs: BTreeMap<BackupId, Found>,
    sums: BTreeMap<BackupId, Found>,
    /// What belongs to a backup beside its manifest, in the order of deletion: signature, blob, sums, then what was proven.
    parts: BTreeMap<BackupId, BTreeMap<(u8, ObjectKey), Found>>,
    manifests: BTreeMap<BackupId, (ObjectKey, Found)>,
    verdicts: Vec<(ObjectKey, Found)>,
    tombstones: Vec<(ObjectKey, Found)>,
    holds: Vec<(ObjectKey, Found)>,
    acks: Vec<(ObjectKey, Found)>,
    signatures: BTreeMap<String, Found>,
    foreign: usize,
}

impl Listing {
    fn sort(layout: &Layout, found: Vec<Found>) -> Self {
        let mut listing = Listing::default();
        for found in found {
            if let Some((signature, key)) = layout.parse_ack(&found.name) {
                match signature {
                    true => drop(listing.signatures.insert(found.name.clone(), found)),
                    false => listing.acks.push((key, found)),
                }
                continue;
            }
            if let Some((signature, _, key)) = layout.parse_trust_list(&found.name) {
                match signature {
                    true => drop(listing.signatures.insert(found.name.clone(), found)),
                    false => listing.trust_lists.push((key, found)),
                }
                continue;
            }
            let Some((id, kind, key)) = layout.parse(&found.name) else {
                listing.foreign += usize::from(layout.parse_canary(&found.name).is_none());
                continue;
            };
            listing.add(id, kind, key, found);
        }
        listing
    }

    fn add(&mut self, id: BackupId, kind: Kind, key: ObjectKey, found: Found) {
        let place = match kind {
            Kind::ManifestSignature => Some(0),
            Kind::Blob => Some(1),
            Kind::Sums => Some(2),
            Kind::Verdict => Some(3),
            Kind::VerdictSignature => Some(4),
            _ => None,
        };
        if let Some(place) = place {
            self.parts.entry(id.clone()).or_default().insert((place, key.clone()), found.clone());
        }
        match kind {
            Kind::Blob => drop(self.blobs.insert(id, found)),
            Kind::Sums => drop(self.sums.insert(id, found)),
            Kind::Manifest => drop(self.manifests.insert(id, (key, found))),
            Kind::Verdict => self.verdicts.push((key, found)),
            Kind::Tombstone => self.tombstones.push((key, found)),
            Kind::Hold => self.holds.push((key, found)),
            Kind::ManifestSignature | Kind::VerdictSignature | Kind::TombstoneSignature | Kind::HoldSignature => {
                self.signatures.insert(found.name.clone(), found);
            }
        }
    }

    /// Which objects of a backup are not listed as its manifest signs them.
    fn amiss(&self, manifest: &Manifest) -> Vec<Amiss> {
        let size = |found: Option<&Found>, signed| Wrong::size(found.map(|found| found.bytes), signed);
        let objects = [
            ("data", size(self.blobs.get(&manifest.id), manifest.sealed.bytes)),
            ("sums", size(self.sums.get(&manifest.id), manifest.sums.bytes)),
        ];
        objects.into_iter().filter_map(|(what, wrong)| Some(Amiss { what, wrong: wrong? })).collect()
    }

    /// What stands without a manifest. Of a backup that is gone its verdicts alone are no orphan: they tell that it was
    /// there. Once its deletion was signed they go with the rest of it.
    fn orphans(&mut self, tombstones: &[Noted<Tombstone>]) -> Vec<Orphan> {
        let mut by_id: BTreeMap<&BackupId, Vec<(Tombstone, DateTime<Utc>)>> = BTreeMap::new();
        for (opened, _, stored) in tombstones {
            if let Ok((tombstone, _)) = opened {
                by_id.entry(&tombstone.id).or_default().push((tombstone.clone(), *stored));
            }
        }
        let mut orphans = Vec::new();
        for (id, parts) in std::mem::take(&mut self.parts) {
            if self.manifests.contains_key(&id) {
                continue;
            }
            let tombstones = by_id.get(&id).map(Vec::as_slice).unwrap_or_default();
            let deleted = tombstones.iter().any(|(tombstone, _)| tombstone.manifest_sha256.is_some());
            let parts = parts.into_iter().filter(|((place, _), _)| deleted || *place < 3);
            orphans.extend(Orphan::new(id, parts.map(|((_, key), found)| (key, found)).collect(), tombstones));
        }
        orphans
    }
}

/// A note that was read, and the store's time of it.
pub(super) type Noted<S> = (Result<(S, Digest), Distrust>, ObjectKey, DateTime<Utc>);

impl Reader {
    pub fn new(store: Store, layout: Layout, trust: Trust) -> Self {
        let (local, trust) = (trust.clone(), Mutex::new(Arc::new(trust)));
        Reader { store, layout, local, trust, lists: Mutex::default(), cache: Mutex::default() }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A backup's manifest and signature as they stand here, verified again: the very bytes to copy.
    pub async fn signed(&self, entry: &Trusted) -> Result<(Bytes, Bytes)> {
        let key = self.layout.manifest(entry.id());
        let signature = self.store.read(&key.signature(), note::SIGNATURE_CAP).await?;
        let json = self.store.read(&key, note::JSON_CAP).await?;
        match note::open::<Manifest>(&self.trust(), &self.layout, &key, &json, Some(&signature)) {
            Ok((_, sha256)) if sha256 == entry.manifest_sha256 => Ok((json, signature)),
            Ok(_) => Err(changed(&key, "it is another one than a moment ago")),
            Err(why) => Err(changed(&key, &why.to_string())),
        }
    }

    /// The digest of a manifest that a known key signed, whether or not that key still counts: what can be vouched for.
    pub async fn disowned(&self, id: &BackupId) -> Result<Option<Digest>> {
        let key = self.layout.manifest(id);
        let signature = self.store.read_if_there(&key.signature(), note::SIGNATURE_CAP).await?;
        let Some(json) = self.store.read_if_there(&key, note::JSON_CAP).await? else { return Ok(None) };
        let mut trust = (*self.trust()).clone();
        trust.vouch([Digest::of(&json)]);
        let opened = note::open::<Manifest>(&trust, &self.layout, &key, &json, signature.as_deref());
        Ok(opened.ok().map(|(_, sha256)| sha256))
    }

    pub async fn read(&self, now: DateTime<Utc>) -> Result<Catalog> {
        let listed = self.store.list(self.layout.cluster().as_str()).await?;
        self.forget_all_but(&listed);
        let mut listing = Listing::sort(&self.layout, listed);
        let lists =
            self.open_all(&self.local, std::mem::take(&mut listing.trust_lists), &listing.signatures, now).await?;
        let (list, here, strays) = self.trust_list(lists);
        let mut trust = list.as_ref().map_or_else(|| self.local.clone(), |list| list.applied_to(&self.local));
        // Verdicts before manifests: they vouch for what a key signed before it was revoked.
        let verdicts = self.open_all(&trust, std::mem::take(&mut listing.verdicts), &listing.signatures, now).await?;
        trust.prove(first_verdicts(&verdicts));
        let trust = self.set_trust(trust);
        let manifests = listing.manifests.values().cloned().collect();
        let signed = Signed {
            manifests: self.open_all(&trust, manifests, &listing.signatures, now).await?,
            verdicts,
            tombstones: self
                .open_all(&trust, std::mem::take(&mut listing.tombstones), &listing.signatures, now)
                .await?,
            holds: self.open_all(&trust, std::mem::take(&mut listing.holds), &listing.signatures, now).await?,
            acks: self.open_all(&trust, std::mem::take(&mut listing.acks), &listing.signatures, now).await?,
        };
        let mut catalog = assemble(&self.layout, now, listing, signed);
        catalog.store = self.store.url().trim_end_matches('/').to_owned();
        catalog.strays.extend(strays);
        catalog.lost_list = self.lost_list(&catalog, here);
        (catalog.trust_list, catalog.keys) = (list, trust);
        Ok(catalog)
    }

    /// Settles which trust list counts from now on, which of this store's is the highest, and which are not to be believed.
    fn trust_list(&self, opened: Vec<Noted<TrustList>>) -> (Option<Arc<TrustList>>, u32, Vec<Stray>) {
        let mut strays = Vec::new();
        let mut here: Option<TrustList> = None;
        for (opened, key, _) in opened {
            let n = self.layout.parse_trust_list(key.as_str()).map_or(0, |(_, n, _)| n);
            let opened = opened.and_then(|(list, _)| list.check(n).map(|()| list).map_err(Distrust::Unbound));
            match opened {
                Ok(list) if here.as_ref().is_none_or(|known| known.n < list.n) => here = Some(list),
                Ok(_) => {}
                Err(why) => strays.push(Stray { path: key.to_string(), why }),
            }
        }
        let n = here.as_ref().map_or(0, |list| list.n);
        let mut lists = self.lists();
        lists.here = lists.here.max(n);
        if let Some(here) = here {
            lists.adopt(Arc::new(here));
        }
        (lists.counts.clone().filter(|_| !self.local.is_by_consent()), n, strays)
    }

    /// Takes the list that another store of this cluster holds, if it is a higher one.
    pub fn adopt(&self, list: &Arc<TrustList>) {
        self.lists().adopt(list.clone());
    }

    /// A trust list that stood here, or that a trusted manifest names, and that is nowhere now.
    fn lost_list(&self, catalog: &Catalog, here: u32) -> Option<u32> {
        let lists = self.lists();
        let known = lists.counts.as_ref().map_or(0, |list| list.n);
        let named = catalog.trusted.iter().filter_map(|entry| entry.manifest.trust_list).max().unwrap_or(0);
        let gone = (here < lists.here).then_some(lists.here);
        if named > known { Some(named) } else { gone }
    }

    /// The hold that counts at `now`, asked of the store at this very moment.
    pub async fn held(&self, id: &BackupId, now: DateTime<Utc>) -> Result<Option<Held>> {
        let listed = self.store.list(&self.layout.holds(id)).await?;
        let listing = Listing::sort(&self.layout, listed);
        let holds: Vec<Noted<Hold>> = self.open_all(&self.trust(), listing.holds, &listing.signatures, now).await?;
        let facts: Vec<HoldFact> = holds.into_iter().filter_map(|(opened, ..)| Some(opened.ok()?.0.fact())).collect();
        Ok(hold::held(&facts, now))
    }

    /// Whom the config or flags name.
    pub fn local_trust(&self) -> &Trust {
        &self.local
    }

    /// Whose signatures count, as of the last reading.
    pub fn trust(&self) -> Arc<Trust> {
        self.trust.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_trust(&self, trust: Trust) -> Arc<Trust> {
        let trust = Arc::new(trust);
        *self.trust.lock().unwrap_or_else(PoisonError::into_inner) = trust.clone();
        trust
    }

    fn lists(&self) -> MutexGuard<'_, Lists> {
        // Each change is one assignment.
        self.lists.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn open_all<S: manifest::Signed>(
        &self,
        trust: &Trust,
        objects: Vec<(ObjectKey, Found)>,
        signatures: &BTreeMap<String, Found>,
        now: DateTime<Utc>,
    ) -> Result<Vec<Noted<S>>> {
        let read = futures::stream::iter(objects)
            .map(|(key, found)| async move {
                let signature = match signatures.get(key.signature().as_str()) {
                    Some(found) => self.cached(&key.signature(), found, note::SIGNATURE_CAP).await?,
                    None => self.unlisted_signature(&key).await?,
                };
                // Gone between the listing and now: somebody pruned it, and the next reading will not show it.
                let Some(json) = self.cached(&key, &found, note::JSON_CAP).await? else {
                    return Ok(None);
                };
                let opened = note::open::<S>(trust, &self.layout, &key, &json, signature.as_deref());
                let opened = opened.and_then(|(object, sha256)| match object.dated() {
                    Some(at) if hold::is_future(at, now) => Err(Distrust::FromTheFuture(at.to_rfc3339())),
                    _ => Ok((object, sha256)),
                });
                Ok::<_, crate::error::Error>(Some((opened, key, found.modified)))
            })
            .buffered(READS_AT_A_TIME)
            .try_collect::<Vec<_>>()
            .await?;
        Ok(read.into_iter().flatten().collect())
    }

    /// A listing is no snapshot: an object that appeared while it ran may stand in it without its signature, which was
    /// written before it. So the store is asked directly before anybody is alarmed.
    async fn unlisted_signature(&self, key: &ObjectKey) -> Result<Option<Bytes>> {
        match self.store.read_if_there(&key.signature(), note::SIGNATURE_CAP).await {
            Err(error) if error.reason == Reason::Damaged => Ok(None), // too large to be one
            read => read,
        }
    }

    async fn cached(&self, key: &ObjectKey, found: &Found, cap: u64) -> Result<Option<Bytes>> {
        if found.bytes > cap {
            // Too large to be ours: an empty body fails verification, which is what it deserves.
            return Ok(Some(Bytes::new()));
        }
        let hit = self.lock().get(key.as_str()).filter(|(known, _)| known == found).map(|(_, bytes)| bytes.clone());
        if hit.is_some() {
            return Ok(hit);
        }
        let bytes = self.store.read_if_there(key, cap).await?;
        if let Some(bytes) = &bytes {
            self.lock().insert(key.as_str().to_owned(), (found.clone(), bytes.clone()));
        }
        Ok(bytes)
    }

    fn forget_all_but(&self, listed: &[Found]) {
        let names: BTreeSet<&str> = listed.iter().map(|found| found.name.as_str()).collect();
        self.lock().retain(|name, _| names.contains(name.as_str()));
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (Found, Bytes)>> {
        // A panic elsewhere leaves whole entries only: each is inserted in one step.
        self.cache.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl Lists {
    fn adopt(&mut self, list: Arc<TrustList>) {
        if self.counts.as_ref().is_none_or(|known| known.n <= list.n) {
            self.counts = Some(list);
        }
    }
}

fn changed(key: &ObjectKey, why: &str) -> Error {
    Error::new(Reason::Damaged, format!("{key} changed while it was read: {why}"))
        .on("read", key)
        .hint("nobody should write here but lifeboat; find out who did")
}

/// The earliest verdict on each manifest.
fn first_verdicts(verdicts: &[Noted<Verdict>]) -> BTreeMap<Digest, DateTime<Utc>> {
    let mut proven: BTreeMap<Digest, DateTime<Utc>> = BTreeMap::new();
    for verdict in opened(verdicts) {
        let at = verdict.at;
        proven.entry(verdict.manifest_sha256).and_modify(|first| *first = at.min(*first)).or_insert(at);
    }
    proven
}

/// Every signed object of a listing, opened or not to be believed.
pub(super) struct Signed {
    pub(super) manifests: Vec<Noted<Manifest>>,
    pub(super) verdicts: Vec<Noted<Verdict>>,
    pub(super) tombstones: Vec<Noted<Tombstone>>,
    pub(super) holds: Vec<Noted<Hold>>,
    pub(super) acks: Vec<Noted<Ack>>,
}

fn opened<S>(notes: &[Noted<S>]) -> impl Iterator<Item = &S> {
    notes.iter().filter_map(|(opened, ..)| opened.as_ref().ok()).map(|(note, _)| note)
}

fn assemble(layout: &Layout, now: DateTime<Utc>, mut listing: Listing, signed: Signed) -> Catalog {
    let orphans = listing.orphans(&signed.tombstones);
    let signatures = signatures(layout, &signed);
    let proven: BTreeSet<BackupId> = opened(&signed.verdicts).map(|verdict| verdict.id.clone()).collect();
    let marked = opened(&signed.tombstones).filter(|tombstone| tombstone.manifest_sha256.is_some());
    let deleted: BTreeSet<BackupId> = marked.map(|tombstone| tombstone.id.clone()).collect();
    let mut strays = Vec::new();
    let verdicts = by_manifest(signed.verdicts, &mut strays, |verdict: &Verdict| Some(verdict.manifest_sha256));
    let buried = buried(&signed.tombstones);
    let unjudged = unjudged(layout, &signed.tombstones);
    let tombstones = by_manifest(signed.tombstones, &mut strays, |tombstone: &Tombstone| tombstone.manifest_sha256);
    let holds = by_manifest(signed.holds, &mut strays, |hold: &Hold| Some(hold.manifest_sha256));
    let acks = believed(signed.acks, &mut strays);
    let (mut trusted, mut untrusted) = (Vec::new(), Vec::new());
    for (opened, key, stored_at) in signed.manifests {
        match opened {
            Ok((manifest, sha256)) => trusted.push(Trusted {
                stored_at,
                late_accepted: false,
                present: listing.amiss(&manifest).is_empty(),
                amiss: listing.amiss(&manifest),
                verdicts: verdicts.get(&sha256).into_iter().flatten().map(|(verdict, _)| verdict.clone()).collect(),
                tombstones: tombstones.get(&sha256).cloned().unwrap_or_default(),
                holds: holds.get(&sha256).cloned().unwrap_or_default(),
                manifest_sha256: sha256,
                manifest,
            }),
            Err(why) => untrusted.extend(layout.parse(key.as_str()).map(|(id, ..)| Untrusted { id, why })),
        }
    }
    accept_late(&mut trusted, &acks);
    sort(&mut trusted);
    let there: BTreeSet<Digest> = trusted.iter().map(|entry| entry.manifest_sha256).collect();
    let unmatched = verdicts.into_iter().filter(|(sha256, _)| !there.contains(sha256)).flat_map(|(_, found)| found);
    untrusted.sort_by(|a, b| b.id.cmp(&a.id));
    let tombstoned: BTreeSet<Digest> = tombstones.keys().copied().collect();
    let missing_parents = missing_parents(&trusted, &tombstoned);
    let lost = |orphan: &Orphan| {
        let named = proven.contains(&orphan.id) || missing_parents.contains(&orphan.id);
        named && !deleted.contains(&orphan.id)
    };
    Catalog {
        cluster: layout.cluster().clone(),
        read_at: now,
        trusted,
        untrusted,
        strays,
        orphans: orphans.into_iter().map(|orphan| Orphan { lost: lost(&orphan), ..orphan }).collect(),
        acks,
        foreign: listing.foreign,
        missing_parents: missing_parents.clone(),
        tombstoned,
        deleted: buried.into_iter().filter(|(_, sha256)| !there.contains(sha256)).collect(),
        unmatched: unmatched.map(|(verdict, _)| verdict).collect(),
        unjudged,
        signatures,
        ..Catalog::empty(layout.cluster().clone(), now)
    }
}

/// Those that count; the others are strays.
fn believed<S>(notes: Vec<Noted<S>>, strays: &mut Vec<Stray>) -> Vec<S> {
    let mut believed = Vec::new();
    for (opened, key, _) in notes {
        match opened {
            Ok((note, _)) => believed.push(note),
            Err(why) => strays.push(Stray { path: key.to_string(), why }),
        }
    }
    believed
}

fn accept_late(trusted: &mut [Trusted], acks: &[Ack]) {
    for entry in trusted {
        let about = entry.finding(LATE);
        entry.late_accepted = acks.iter().any(|ack| ack.finding == about);
    }
}

/// Backups with a tombstone that nobody can judge here, for want of the pruner's key.
fn unjudged(layout: &Layout, tombstones: &[Noted<Tombstone>]) -> BTreeSet<BackupId> {
    let unjudged = tombstones.iter().filter(|(opened, ..)| matches!(opened, Err(Distrust::NoKey(_))));
    unjudged.filter_map(|(_, key, _)| Some(layout.parse(key.as_str())?.0)).collect()
}

/// Backups that a trusted tombstone names, to the bit.
fn buried(tombstones: &[Noted<Tombstone>]) -> BTreeSet<(BackupId, Digest)> {
    opened(tombstones).filter_map(|tombstone| Some((tombstone.id.clone(), tombstone.manifest_sha256?))).collect()
}

/// Newest first. Lineages have no order of their own: a lineage is as new as its latest capture. Within one, the revision
/// from the bytes decides, then the capture time: never the clock alone.
pub(super) fn sort(trusted: &mut [Trusted]) {
    let mut latest: BTreeMap<String, DateTime<Utc>> = BTreeMap::new();
    for entry in trusted.iter() {
        let at = entry.manifest.captured_at;
        latest.entry(entry.manifest.lineage.clone()).and_modify(|latest| *latest = at.max(*latest)).or_insert(at);
    }
    trusted.sort_by_cached_key(|entry| {
        let manifest = &entry.manifest;
        let lineage = (latest.get(&manifest.lineage).copied(), manifest.lineage.clone());
        Reverse((lineage, manifest.db.revision, manifest.captured_at, manifest.id.clone()))
    });
}

fn by_manifest<S>(
    notes: Vec<Noted<S>>,
    strays: &mut Vec<Stray>,
    of: impl Fn(&S) -> Option<Digest>,
) -> BTreeMap<Digest, Vec<(S, DateTime<Utc>)>> {
    let mut sorted: BTreeMap<Digest, Vec<(S, DateTime<Utc>)>> = BTreeMap::new();
    for (opened, key, modified) in notes {
        match opened {
            // That of an orphan has no manifest.
            Ok((note, _)) => {
                if let Some(manifest) = of(&note) {
                    sorted.entry(manifest).or_default().push((note, modified));
                }
            }
            Err(why) if why.is_settled(modified) => {}
            Err(why) => strays.push(Stray { path: key.to_string(), why }),
        }
    }
    sorted
}

/// Parents that are neither there nor tombstoned.
pub(super) fn missing_parents(trusted: &[Trusted], tombstoned: &BTreeSet<Digest>) -> Vec<BackupId> {
    let there: BTreeSet<Digest> = trusted.iter().map(|entry| entry.manifest_sha256).collect();
    let missing: BTreeSet<BackupId> = trusted
        .iter()
        .flat_map(|entry| &entry.manifest.parents)
        .filter(|parent| !there.contains(&parent.manifest_sha256) && !tombstoned.contains(&parent.manifest_sha256))
        .map(|parent| parent.id.clone())
        .collect();
    missing.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn a_lineage_is_as_new_as_its_latest_capture_and_within_one_the_revision_decides() {
        let mut entries = vec![
            sample::trusted("f", "f", 100, 900, 1),
            sample::trusted("a", "a", 300, 5, 1),
            sample::trusted("a", "a", 200, 7, 1), // an earlier capture by a clock that was wrong, of a later revision
        ];
        sort(&mut entries);
        let order: Vec<i64> = entries.iter().map(|entry| entry.manifest.db.revision).collect();
        assert_eq!(order, [7, 5, 900]);
    }
}
