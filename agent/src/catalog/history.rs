//! Whether a store still holds what signed words say that it held: parents named by later backups, backups that were proven,
//! and the catalogs that provers saw. Pure: of one reading.
//!
//! What nobody signed contradicts nothing here; it is found on its own, as not to be believed. A deletion that was signed is
//! none of it. What cannot be seen this way is told in `agent/docs/history.md`.

use super::Catalog;
use super::seen::{Known, add_line};
use crate::digest::{Digest, Hasher};
use crate::keys::Distrust;
use chrono::{DateTime, Utc};
use lifeboat_policy::id::BackupId;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt;

/// Signed words that the store contradicts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Contradiction {
    /// A backup was there and is not any more, and nobody signed its deletion.
    Gone { id: BackupId, named: Vec<Named>, instead: Instead },
    /// A prover counted more backups than can be accounted for. Which ones they are nobody who is left says.
    Fewer { verdict: String, read_at: DateTime<Utc>, lacking: usize },
    /// As many are there as a prover counted, but other ones.
    Others { verdict: String, read_at: DateTime<Utc> },
}

/// Who says that a backup was there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    /// A later backup.
    Parent(BackupId),
    /// A verdict on it, of this time.
    Proven(DateTime<Utc>),
    /// A prover that saw it as the newest, at this time.
    Tip(DateTime<Utc>),
}

/// What stands at its name now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Instead {
    Nothing,
    /// A trusted manifest, but another one.
    Another,
    /// Something that does not count.
    Untrusted,
}

impl Contradiction {
    /// What an acknowledgement names.
    pub fn subject(&self) -> String {
        match self {
            Contradiction::Gone { id, .. } => id.to_string(),
            Contradiction::Fewer { verdict, .. } | Contradiction::Others { verdict, .. } => verdict.clone(),
        }
    }

    pub fn hint(&self) -> &'static str {
        match self {
            Contradiction::Gone { instead: Instead::Nothing, .. } => {
                "somebody or something else deleted it; check who may delete in this store, and whether it keeps versions"
            }
            Contradiction::Gone { .. } => {
                "somebody wrote over it; check who may write in this store, and whether it keeps versions"
            }
            Contradiction::Fewer { .. } | Contradiction::Others { .. } => {
                "the store was put back to an older state, or some of it was deleted; check its versions and who may write there"
            }
        }
    }
}

impl fmt::Display for Contradiction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Contradiction::Gone { id, named, instead } => {
                let named: Vec<String> = named.iter().map(ToString::to_string).collect();
                write!(f, "backup {id} is named by {}, but ", named.join(" and by "))?;
                match instead {
                    Instead::Nothing => f.write_str("is gone without a signed tombstone"),
                    Instead::Another => f.write_str("another manifest stands at its name: it was replaced"),
                    Instead::Untrusted => f.write_str("what stands at its name does not count"),
                }
            }
            Contradiction::Fewer { read_at, lacking, .. } => write!(
                f,
                "{lacking} more of the backups that the prover saw here at {} are gone without a signed tombstone",
                utc(read_at)
            ),
            Contradiction::Others { read_at, .. } => {
                write!(f, "the backups of before {} are not those that the prover saw here then", utc(read_at))
            }
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Named::Parent(child) => write!(f, "a later one, {child}"),
            Named::Proven(at) => write!(f, "a verdict of {}", utc(at)),
            Named::Tip(at) => write!(f, "the catalog that the prover saw at {}", utc(at)),
        }
    }
}

fn utc(at: &DateTime<Utc>) -> impl fmt::Display {
    at.format("%Y-%m-%d %H:%M:%S UTC")
}

impl Catalog {
    /// Everything in which this store contradicts signed words, each backup once.
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let gone = self.gone();
        let mut found: Vec<Contradiction> = gone
            .iter()
            .map(|((id, _), named)| (id, named))
            .fold(BTreeMap::new(), |mut by_id: BTreeMap<&BackupId, BTreeSet<&Named>>, (id, named)| {
                by_id.entry(id).or_default().extend(named);
                by_id
            })
            .into_iter()
            .map(|(id, named)| Contradiction::Gone {
                id: (*id).clone(),
                named: shortened(named),
                instead: self.instead(id),
            })
            .collect();
        found.extend(self.miscounted(&gone.into_keys().collect()));
        found
    }

    /// What signed words name and what is neither there nor signed away, with who names it.
    fn gone(&self) -> BTreeMap<(BackupId, Digest), Vec<Named>> {
        let there: BTreeSet<Digest> = self.trusted.iter().map(|entry| entry.manifest_sha256).collect();
        let mut gone: BTreeMap<(BackupId, Digest), Vec<Named>> = BTreeMap::new();
        let uncounted = |why: &Distrust| {
            matches!(why, Distrust::NoKey(_) | Distrust::Revoked { .. } | Distrust::OutsideValidity { .. })
        };
        let undecided = self.untrusted.iter().filter(|entry| uncounted(&entry.why)).map(|entry| &entry.id);
        // Whether what stands there counts is a matter of keys, not of what happened to the store.
        let undecided: BTreeSet<&BackupId> = undecided.chain(&self.unjudged).collect();
        let mut name = |id: &BackupId, sha256: Digest, named: Named| {
            let judged = !undecided.contains(id);
            if judged && !there.contains(&sha256) && !self.tombstoned.contains(&sha256) {
                gone.entry((id.clone(), sha256)).or_default().push(named);
            }
        };
        for entry in &self.trusted {
            // A parent that stands in another store only is no finding: this one is behind.
            for parent in entry.manifest.parents.iter().filter(|parent| self.missing_parents.contains(&parent.id)) {
                name(&parent.id, parent.manifest_sha256, Named::Parent(entry.id().clone()));
            }
        }
        for verdict in &self.unmatched {
            name(&verdict.id, verdict.manifest_sha256, Named::Proven(verdict.at));
        }
        for (_, seen) in self.seen() {
            for tip in &seen.tips {
                name(&tip.id, tip.manifest_sha256, Named::Tip(seen.read_at));
            }
        }
        gone
    }

    fn instead(&self, id: &BackupId) -> Instead {
        if self.find(id).is_some() {
            Instead::Another
        } else if self.untrusted.iter().any(|entry| entry.id == *id) {
            Instead::Untrusted
        } else {
            Instead::Nothing
        }
    }

    /// The latest account of a prover that what is here, what was signed away and what is known to be `gone` do not make up.
    ///
    /// Nothing that was there then can be newer than the newest that was, so everything up to that which is accounted for now
    /// is at least as much: a shortfall is a loss, and equal numbers with another digest are another set. What cannot be
    /// judged here (a manifest or tombstone by an unknown key) is taken for accounted for: it is a finding of its own.
    fn miscounted(&self, gone: &BTreeSet<(BackupId, Digest)>) -> Option<Contradiction> {
        let known = Known::of(self);
        // In the order of their names, so that those up to a time come first.
        let all: BTreeSet<(&BackupId, Digest)> =
            known.0.into_keys().chain(gone.iter().map(|(id, sha256)| (id, *sha256))).collect();
        let all: Vec<_> = all.into_iter().collect();
        let named: BTreeSet<&BackupId> = all.iter().map(|(id, _)| *id).collect();
        let unsure = self.untrusted.iter().map(|entry| &entry.id).chain(&self.unjudged);
        let unsure: BTreeSet<&BackupId> = unsure.filter(|id| !named.contains(id)).collect();
        let unsure: Vec<&BackupId> = unsure.into_iter().collect();
        let upto = |at: DateTime<Utc>| all.partition_point(|(id, _)| id.captured_at() <= at);
        let digests = digests(&all, self.seen().map(|(_, seen)| upto(seen.newest)).collect());
        let mut seen: Vec<_> = self.seen().collect();
        seen.sort_by_key(|(_, seen)| std::cmp::Reverse(seen.read_at));
        seen.into_iter().find_map(|(verdict, seen)| {
            let sure = upto(seen.newest);
            let unsure = unsure.partition_point(|id| id.captured_at() <= seen.newest);
            let (verdict, read_at) = (verdict.binding.path.clone(), seen.read_at);
            match seen.known().checked_sub(sure.saturating_add(unsure)) {
                Some(0) if unsure == 0 && digests.get(&sure) != Some(&seen.sha256) => {
                    Some(Contradiction::Others { verdict, read_at })
                }
                None | Some(0) => None,
                Some(lacking) => Some(Contradiction::Fewer { verdict, read_at, lacking }),
            }
        })
    }
}

/// The digests of the first so many of these, in one pass.
fn digests(all: &[(&BackupId, Digest)], lengths: BTreeSet<usize>) -> BTreeMap<usize, Digest> {
    let (mut hasher, mut done, mut digests) = (Hasher::default(), 0, BTreeMap::new());
    for length in lengths {
        for line in all.iter().take(length).skip(done) {
            add_line(&mut hasher, line);
        }
        done = length;
        digests.insert(length, hasher.clone().finish());
    }
    digests
}

/// The first of each kind of witness: a hundred children say no more than one.
fn shortened(named: BTreeSet<&Named>) -> Vec<Named> {
    let mut kinds = HashSet::new();
    named.into_iter().filter(|named| kinds.insert(std::mem::discriminant(*named))).cloned().collect()
}

/// A short word for what is wrong with an object that does not count: the way in which it came to stand there.
pub fn nature(why: &Distrust) -> &'static str {
    match why {
        Distrust::NoSignature | Distrust::BadSignature => "unsigned",
        Distrust::NoKey(_) => "unknown signer",
        Distrust::WrongKey(_) => "forged, damaged, or by a key that is not trusted here",
        Distrust::NotAllowed(_) => "signed by the wrong role",
        Distrust::Revoked { .. } | Distrust::OutsideValidity { .. } => "signed by a key that counts no more",
        Distrust::FromTheFuture(_) => "dated in the future",
        Distrust::Unbound(_) => "put here from another place: replayed or mixed",
        Distrust::Unreadable(_) => "unreadable",
    }
}

#[cfg(test)]
mod tests {
    use super::super::manifest::Parent;
    use super::super::sample::{self, verdict};
    use super::super::seen::Seen;
    use super::super::{Trusted, Untrusted};
    use super::*;

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(hour * 3600, 0).unwrap()
    }

    /// A line of backups, each the child of the one before, newest first.
    fn line(hours: &[i64]) -> Vec<Trusted> {
        let mut line: Vec<Trusted> = Vec::new();
        for hour in hours {
            let mut entry = sample::trusted("a", "a", hour * 3600, *hour, 1);
            if let Some(parent) = line.first() {
                entry.manifest.parents =
                    vec![Parent { id: parent.id().clone(), manifest_sha256: parent.manifest_sha256 }];
            }
            line.insert(0, entry);
        }
        line
    }

    fn catalog(trusted: Vec<Trusted>) -> Catalog {
        let tombstoned = BTreeSet::new();
        let missing_parents = super::super::read::missing_parents(&trusted, &tombstoned);
        Catalog { store: "s3://b".to_owned(), read_at: at(99), missing_parents, ..sample::catalog(trusted) }
    }

    /// The store after `whole` was seen by a prover that left a verdict on the entry at `on`, and without those at `without`.
    fn after(whole: &[Trusted], on: usize, without: &[usize]) -> Catalog {
        let mut whole = whole.to_vec();
        let mut found = verdict(&whole[on], at(50));
        found.learnt.catalog = Seen::of(&Catalog { read_at: at(50), ..catalog(whole.clone()) });
        whole[on].verdicts.push(found);
        let unmatched = without.iter().flat_map(|at| whole[*at].verdicts.clone()).collect();
        let left = whole.iter().enumerate().filter(|(at, _)| !without.contains(at)).map(|(_, entry)| entry.clone());
        Catalog { unmatched, ..catalog(left.collect()) }
    }

    fn gone(entry: &Trusted, named: Vec<Named>) -> Contradiction {
        Contradiction::Gone { id: entry.id().clone(), named, instead: Instead::Nothing }
    }

    #[test]
    fn a_whole_history_contradicts_nothing_nor_does_one_that_went_on() {
        let whole = line(&[1, 2, 3, 4]);
        for on in 0..4 {
            assert_eq!(after(&whole, on, &[]).contradictions(), []);
        }
        let mut longer = after(&whole, 0, &[]);
        longer.trusted.insert(0, line(&[9]).remove(0));
        assert_eq!(longer.contradictions(), []);
        // One that came late adds to what is accounted for, and is another matter.
        longer.trusted.push(line(&[2]).remove(0));
        assert_eq!(longer.contradictions(), []);
    }

    #[test]
    fn what_went_is_named_by_whoever_knew_it() {
        let whole = line(&[1, 2, 3, 4]);
        let child = |of: usize| Named::Parent(whole[of].id().clone());
        assert_eq!(after(&whole, 3, &[1]).contradictions(), [gone(&whole[1], vec![child(0)])]);
        assert_eq!(after(&whole, 3, &[0]).contradictions(), [gone(&whole[0], vec![Named::Tip(at(50))])]);
        let named = vec![Named::Proven(at(50)), Named::Tip(at(50))];
        assert_eq!(after(&whole, 0, &[0]).contradictions(), [gone(&whole[0], named)]);
    }

    #[test]
    fn what_nobody_names_is_counted() {
        let whole = line(&[1, 2, 3, 4, 5]);
        let found = after(&whole, 0, &[2, 3]).contradictions();
        let [named, Contradiction::Fewer { read_at, lacking: 1, .. }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((named, read_at), (&gone(&whole[2], vec![Named::Parent(whole[1].id().clone())]), &at(50)));
        // Rolled back to before: the tip is named, the others between are counted.
        let found = after(&whole, 4, &[0, 1, 2]).contradictions();
        let [named, Contradiction::Fewer { lacking: 2, .. }] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!(named, &gone(&whole[0], vec![Named::Tip(at(50))]));
    }

    #[test]
    fn a_signed_deletion_is_no_contradiction_and_one_that_cannot_be_judged_neither() {
        let whole = line(&[1, 2, 3, 4]);
        let mut pruned = after(&whole, 0, &[1, 2]);
        let buried = [1, 2].map(|at: usize| (whole[at].id().clone(), whole[at].manifest_sha256));
        let mut unjudged = pruned.clone();
        pruned.tombstoned = buried.iter().map(|(_, sha256)| *sha256).collect();
        pruned.deleted = buried.iter().cloned().collect();
        assert_eq!(pruned.contradictions(), []);
        unjudged.unjudged = buried.into_iter().map(|(id, _)| id).collect();
        assert_eq!(unjudged.contradictions(), []);
    }

    #[test]
    fn one_that_took_the_place_of_another_is_found() {
        let whole = line(&[1, 2, 3, 4]);
        let mut replaced = after(&whole, 0, &[]);
        replaced.trusted[1].manifest_sha256 = Digest::of(b"another");
        replaced.missing_parents = vec![whole[1].id().clone()];
        let named = vec![Named::Parent(whole[0].id().clone())];
        let instead = Instead::Another;
        assert_eq!(replaced.contradictions(), [Contradiction::Gone { id: whole[1].id().clone(), named, instead }]);
        // One that nobody names, with another of its time in its stead: the digest tells.
        let mut orphaned = whole.clone();
        orphaned[0].manifest.parents.clear();
        let mut swapped = after(&orphaned, 0, &[]);
        swapped.trusted.retain(|entry| entry.id() != whole[3].id());
        swapped.trusted.push(sample::trusted("a", "a", 3700, 7, 1));
        swapped.missing_parents.clear();
        let found = swapped.contradictions();
        assert!(matches!(found.as_slice(), [Contradiction::Others { .. }]), "{found:?}");
    }

    #[test]
    fn what_does_not_count_is_taken_for_accounted_for_in_numbers_and_named_where_signed_words_name_it() {
        let whole = line(&[1, 2, 3, 4]);
        let untrusted = |why: Distrust| {
            let mut after = after(&whole, 0, &[1]);
            after.untrusted = vec![Untrusted { id: whole[1].id().clone(), why }];
            after.contradictions()
        };
        let found = untrusted(Distrust::WrongKey("backup"));
        assert!(matches!(found.as_slice(), [Contradiction::Gone { instead: Instead::Untrusted, .. }]), "{found:?}");
        assert_eq!(untrusted(Distrust::NoKey("backup")), [], "that is for whoever has the key to say");
    }

    #[test]
    fn another_stores_words_say_nothing() {
        let whole = line(&[1, 2, 3, 4]);
        let elsewhere = Catalog { store: "s3://copy".to_owned(), ..after(&whole, 3, &[0, 1, 2]) };
        assert_eq!(elsewhere.contradictions(), []);
    }
}
