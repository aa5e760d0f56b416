//! Which backup to restore, and what a person must consent to first.
//!
//! By default the newest proven backup of the newest lineage. Anything else must be named, and what speaks against it must
//! be consented to, each by its own word: `unproven` (no proof, or a failed one), `diverged` (its cluster contradicts it, so no
//! proof counts), `older` (a newer proven one exists), `late` (it came long after the time it claims), `unverified` (nothing
//! trusted vouches for it).

mod text;

use crate::id::{BackupId, short_len};
use crate::moment;
use crate::proof::Standing;
use chrono::{DateTime, Utc};
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;

/// One backup that could be restored.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Its name.
    pub id: BackupId,
    /// Which history of the cluster it belongs to.
    pub lineage: String,
    /// etcd's revision in it.
    pub revision: i64,
    /// When it was captured, by the clock of the node that took it.
    pub captured_at: DateTime<Utc>,
    /// What its verdicts come to.
    pub standing: Standing,
    /// Whether its manifest carries a trusted signature.
    pub trusted: Trusted,
    /// Whether it came into the store long after the time it claims, and nobody accepted that: see [`crate::late`].
    pub late: bool,
}

impl Candidate {
    /// How much it may decide for others: nothing vouches for it, it is late, or neither.
    fn weight(&self) -> u8 {
        match (self.trusted.is_yes(), self.late) {
            (false, _) => 0,
            (true, true) => 1,
            (true, false) => 2,
        }
    }
}

/// Whether a trusted key vouches for a backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trusted {
    /// One does.
    Yes,
    /// None does, and why: `no signature`, `signed by a key that is not trusted`.
    No(String),
}

impl Trusted {
    /// Whether a trusted key vouches for it.
    #[must_use]
    pub fn is_yes(&self) -> bool {
        *self == Trusted::Yes
    }
}

/// What a person asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Want {
    /// The newest proven backup: the default.
    NewestProven,
    /// This one.
    This(BackupId),
    /// The newest proven one up to a bound: for what was noticed late, such as a namespace that somebody deleted.
    UpTo(Bound),
}

/// How far a state may go that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Captured then or before, whichever history the cluster lived in at that time.
    Time(DateTime<Utc>),
    /// At this revision or before, in the history that the cluster lives in.
    Revision(i64),
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Bound::Time(at) => write!(f, "{}", at.format("%Y-%m-%d %H:%M:%S UTC")),
            Bound::Revision(revision) => write!(f, "revision {revision}"),
        }
    }
}

/// What a person consents to (`--allow`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// A backup that is not proven or failed its proof.
    pub unproven: bool,
    /// A backup that most of its cluster, or its own source, contradicted.
    pub diverged: bool,
    /// A backup older than the newest proven one.
    pub older: bool,
    /// A backup that came long after the time it claims.
    pub late: bool,
    /// A backup that no trusted key vouches for.
    pub unverified: bool,
}

/// What to restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// Which backup.
    pub id: BackupId,
    /// Why this one: `the newest, and the newest proven`. Never empty.
    pub why: Vec<String>,
    /// What a person should know before saying yes: `2 newer backups are not proven`.
    pub notes: Vec<String>,
}

/// Why nothing is restored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}: {hint}")]
pub struct Refusal {
    /// Which backup was asked for, if one was.
    pub id: Option<BackupId>,
    /// What kind of refusal.
    pub kind: RefusalKind,
    /// What is in the way.
    pub text: String,
    /// What to do next.
    pub hint: String,
}

/// The kinds of refusal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No such backup, or none at all.
    NoBackup,
    /// There are backups, but none that is taken without being named.
    NotUsable,
    /// It may be restored after consent to each of these: `unproven`, `diverged`, `older`, `late`, `unverified`.
    NeedsConsent {
        /// The words for `--allow` that are missing.
        missing: Vec<&'static str>,
    },
}

/// Chooses what to restore.
///
/// Order is (lineage, revision, capture time). How new a lineage is says its latest capture time that is not ahead of `now`
/// (if all are, its latest): lineages have no order of their own. A backup dated in the future is not hidden, only named:
/// when a cluster is down, a wrong clock is no reason to lose its newest state. Backups that nothing vouches for, and late
/// ones, decide nothing for others, unless there are no others.
///
/// # Errors
/// [`Refusal`] says what is missing and what to do next.
pub fn choose(candidates: &[Candidate], want: &Want, allow: &Allow, now: DateTime<Utc>) -> Result<Choice, Refusal> {
    let field = Field::new(candidates, now);
    let chosen = match want {
        Want::This(id) => field.named(id, *allow)?,
        Want::NewestProven => field.default(*allow)?,
        Want::UpTo(bound) => field.up_to(*bound, *allow)?,
    };
    Ok(Choice { id: chosen.id.clone(), why: field.why(chosen, want), notes: field.notes(chosen) })
}

/// The candidates in order, and what the default is.
struct Field<'a> {
    /// All, newest first, the newest lineage first.
    all: Vec<&'a Candidate>,
    /// The lineage that the cluster lived in last.
    lineage: Option<&'a str>,
    /// Digits of the random part that tell all apart.
    short: usize,
    now: DateTime<Utc>,
}

impl<'a> Field<'a> {
    fn new(candidates: &'a [Candidate], now: DateTime<Utc>) -> Self {
        let mut by_id: BTreeMap<&BackupId, &Candidate> = BTreeMap::new();
        for candidate in candidates {
            by_id.entry(&candidate.id).or_insert(candidate);
        }
        let mut ranks: BTreeMap<&str, (u8, bool, DateTime<Utc>)> = BTreeMap::new();
        for c in by_id.values() {
            let rank = (c.weight(), !moment::is_future(c.captured_at, now), c.captured_at);
            let known = ranks.entry(&c.lineage).or_insert(rank);
            *known = rank.max(*known);
        }
        // Which lineage is newest: by those that may decide, then by time, where only a lineage's own present counts.
        let rank = |lineage: &str| ranks.get(lineage).map(|(weight, _, latest)| (*weight, *latest));
        let short = short_len(by_id.keys().copied());
        let mut all: Vec<&Candidate> = by_id.into_values().collect();
        all.sort_by_key(|c| Reverse((rank(&c.lineage), &c.lineage, c.revision, c.captured_at, &c.id)));
        let lineage = all.first().map(|c| c.lineage.as_str());
        Field { all, lineage, short, now }
    }

    /// The backups that may decide for others: those of the most weight that there is.
    fn vouched(&self) -> impl Iterator<Item = &'a Candidate> {
        let most = self.all.iter().map(|c| c.weight()).max();
        self.all.iter().copied().filter(move |c| Some(c.weight()) == most)
    }

    fn current(&self) -> impl Iterator<Item = &'a Candidate> {
        self.vouched().filter(|c| Some(c.lineage.as_str()) == self.lineage)
    }

    fn newest_proven(&self) -> Option<&'a Candidate> {
        self.current().find(|c| c.standing.is_proven())
    }

    fn place(&self, wanted: &Candidate) -> Option<usize> {
        self.all.iter().position(|c| c.id == wanted.id)
    }

    /// Whether a newer proven one exists, or the cluster has since begun a new lineage.
    fn is_older(&self, wanted: &Candidate) -> bool {
        let vouched_lineage = self.current().next().is_some();
        let other_lineage = vouched_lineage && Some(wanted.lineage.as_str()) != self.lineage;
        let behind = self.newest_proven().is_some_and(|newest| self.place(wanted) > self.place(newest));
        other_lineage || behind
    }

    fn missing(&self, wanted: &Candidate, allow: Allow) -> Vec<&'static str> {
        let diverged = wanted.standing.is_diverged();
        let needs = [
            ("diverged", diverged, allow.diverged),
            ("unproven", !diverged && !wanted.standing.is_proven(), allow.unproven),
            ("older", self.is_older(wanted), allow.older),
            ("late", wanted.late, allow.late),
            ("unverified", !wanted.trusted.is_yes(), allow.unverified),
        ];
        needs.into_iter().filter(|(_, needed, allowed)| *needed && !allowed).map(|(word, _, _)| word).collect()
    }

    fn named(&self, id: &BackupId, allow: Allow) -> Result<&'a Candidate, Refusal> {
        let Some(wanted) = self.all.iter().copied().find(|c| c.id == *id) else {
            return Err(self.unknown(id));
        };
        let missing = self.missing(wanted, allow);
        if missing.is_empty() { Ok(wanted) } else { Err(self.needs_consent(wanted, missing)) }
    }

    /// The newest proven one within the bound, or the newest at all where none is proven: what speaks against either has to
    /// be consented to as if it had been named.
    fn up_to(&self, bound: Bound, allow: Allow) -> Result<&'a Candidate, Refusal> {
        let within = |c: &&Candidate| match bound {
            // To the second, as it is shown and typed.
            Bound::Time(at) => c.captured_at.timestamp() <= at.timestamp(),
            Bound::Revision(revision) => Some(c.lineage.as_str()) == self.lineage && c.revision <= revision,
        };
        let mut within: Vec<&Candidate> = self.vouched().filter(within).collect();
        if let Bound::Time(_) = bound {
            // The sort is stable: within one second the order of the histories stays.
            within.sort_by_key(|c| Reverse(c.captured_at));
        }
        let wanted = within.iter().find(|c| c.standing.is_proven()).or(within.first());
        let wanted = wanted.ok_or_else(|| self.none_up_to(bound))?;
        self.named(&wanted.id, allow)
    }

    fn default(&self, allow: Allow) -> Result<&'a Candidate, Refusal> {
        match self.newest_proven() {
            Some(newest) if (newest.trusted.is_yes() || allow.unverified) && (!newest.late || allow.late) => Ok(newest),
            _ if self.all.is_empty() => Err(self.no_backup()),
            _ => Err(self.none_by_default()),
        }
    }
}

#[cfg(test)]
mod tests;
