//! What the verdicts on one backup come to, and which proofs are due. See the design, section 7.

mod due;

pub use due::{ProofFacts, Rules, Task, Why, due, overdue};

use crate::moment;
use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// Between two records of proofs that could not tell.
const RECORD_EVERY: Duration = Duration::from_secs(86_400);

/// How deep a proof goes; each level includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Fetched back from the store; digests equal the signed ones.
    Stored,
    /// Decrypted and decompressed; trailer and digest hold.
    Opened,
    /// The page tree and the MVCC records are whole, and their hash is the manifest's.
    Sound,
    /// A real etcd started from it and answered with the same hash.
    Booted,
}

impl Level {
    /// All levels, shallowest first.
    pub const ALL: [Level; 4] = [Level::Stored, Level::Opened, Level::Sound, Level::Booted];

    /// The level's name, as in configs and verdicts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Stored => "stored",
            Level::Opened => "opened",
            Level::Sound => "sound",
            Level::Booted => "booted",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A text that names no [`Level`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a level of proof: it is one of stored, opened, sound, booted")]
pub struct LevelError(pub String);

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(text: &str) -> Result<Self, LevelError> {
        let named = Level::ALL.into_iter().find(|level| level.as_str() == text);
        named.ok_or_else(|| LevelError(text.to_owned()))
    }
}

/// How a proof ended. Only `failed` condemns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// The backup did what the level asks.
    Passed,
    /// The backup did not: it is damaged.
    Failed,
    /// The prover could not tell: no space, no identity that opens it, no etcd binary.
    Inconclusive,
}

impl Outcome {
    /// The outcome's name, as in verdicts.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Outcome::Passed => "passed",
            Outcome::Failed => "failed",
            Outcome::Inconclusive => "inconclusive",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// One trusted verdict, reduced to what decides.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct VerdictFact {
    /// For a pass the deepest level reached; for a failure the level that failed.
    pub level: Level,
    /// How it ended.
    pub outcome: Outcome,
    /// When it ended, by the prover's clock.
    pub at: DateTime<Utc>,
    /// How long fetching and restoring took, in seconds: a measured restore time.
    pub took_seconds: f64,
}

/// What the verdicts on a backup come to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Standing {
    /// Nothing speaks against it, but it may not be relied on.
    Unproven {
        /// Why not.
        because: Because,
    },
    /// It was restored from the store, at the required level or deeper.
    Proven {
        /// The level of the verdict that proves it.
        level: Level,
        /// When that was.
        at: DateTime<Utc>,
        /// How long that took, in seconds.
        took_seconds: f64,
    },
    /// Its newest conclusive verdict found it damaged.
    Failed {
        /// The level that failed.
        level: Level,
        /// When that was.
        at: DateTime<Utc>,
    },
}

/// Why a backup is not proven.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Because {
    /// No verdict yet.
    NotTried,
    /// Only proofs that could not tell; the newest of them.
    Inconclusive {
        /// When it ended.
        at: DateTime<Utc>,
    },
    /// It passed, but less deep than required.
    TooShallow {
        /// The deepest level that it passed.
        level: Level,
    },
    /// Its source member disagreed with the majority of the cluster when it was taken.
    Diverged,
}

impl fmt::Display for Because {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Because::NotTried => f.write_str("not yet"),
            Because::Inconclusive { .. } => f.write_str("inconclusive"),
            Because::TooShallow { level } => write!(f, "only {level}"),
            Because::Diverged => f.write_str("its cluster contradicts it"),
        }
    }
}

impl Standing {
    /// Whether it is proven.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        matches!(self, Standing::Proven { .. })
    }

    /// Whether its cluster contradicts it, so that no proof counts.
    #[must_use]
    pub fn is_diverged(&self) -> bool {
        matches!(self, Standing::Unproven { because: Because::Diverged })
    }

    /// Whether it is known to be damaged.
    #[must_use]
    pub fn is_failed(&self) -> bool {
        matches!(self, Standing::Failed { .. })
    }

    /// Whether a proof to come can still make it proven: untried, inconclusive or too shallow.
    #[must_use]
    pub fn may_be_proven(&self) -> bool {
        matches!(self, Standing::Unproven { because } if *because != Because::Diverged)
    }
}

/// `booted`, `FAILED at sound`, `not yet`, as lists show it.
impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Unproven { because } => because.fmt(f),
            Standing::Proven { level, .. } => level.fmt(f),
            Standing::Failed { level, .. } => write!(f, "FAILED at {level}"),
        }
    }
}

/// What `verdicts` (in any order, all trusted) come to, where `required` is the level that proves and `diverged` says that
/// the cluster's members differed in a way that speaks against this backup.
///
/// The newest conclusive verdict decides. A pass below `required` is a re-read: it keeps an older proof alive, because
/// bytes equal to proven bytes are proven, but it neither makes a proof nor lifts a failure. Of two at the same instant the
/// failure counts.
#[must_use]
pub fn standing(verdicts: &[VerdictFact], required: Level, diverged: bool) -> Standing {
    let mut newest_first: Vec<&VerdictFact> = verdicts.iter().collect();
    newest_first.sort_by(|a, b| decides_before(a, b));
    let weighty = |v: &&&VerdictFact| match v.outcome {
        Outcome::Passed => v.level >= required,
        Outcome::Failed => true,
        Outcome::Inconclusive => false,
    };
    match newest_first.iter().find(weighty) {
        Some(v) if v.outcome == Outcome::Failed => Standing::Failed { level: v.level, at: v.at },
        _ if diverged => Standing::Unproven { because: Because::Diverged },
        Some(v) => Standing::Proven { level: v.level, at: v.at, took_seconds: v.took_seconds },
        None => Standing::Unproven { because: lacking(&newest_first) },
    }
}

/// Whether another proof that could not tell is worth a record at `now`: one a day says as much as one a minute, and a prover
/// that tries again all day must not fill the store.
#[must_use]
pub fn worth_recording(verdicts: &[VerdictFact], now: DateTime<Utc>) -> bool {
    let unsure = verdicts.iter().filter(|verdict| verdict.outcome == Outcome::Inconclusive);
    unsure.map(|verdict| verdict.at).max().is_none_or(|last| moment::after(last, RECORD_EVERY) <= now || last > now)
}

/// Newest first; at one instant a failure first, then the deeper, then the slower: any total order will do.
fn decides_before(a: &VerdictFact, b: &VerdictFact) -> Ordering {
    let failed = |v: &VerdictFact| v.outcome == Outcome::Failed;
    b.at.cmp(&a.at)
        .then(failed(b).cmp(&failed(a)))
        .then(b.level.cmp(&a.level))
        .then(b.took_seconds.total_cmp(&a.took_seconds))
}

fn lacking(newest_first: &[&VerdictFact]) -> Because {
    let passed = newest_first.iter().filter(|v| v.outcome == Outcome::Passed);
    match (passed.map(|v| v.level).max(), newest_first.first()) {
        (Some(level), _) => Because::TooShallow { level },
        (None, Some(newest)) => Because::Inconclusive { at: newest.at },
        (None, None) => Because::NotTried,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(hour: i64, level: Level, outcome: Outcome) -> VerdictFact {
        VerdictFact { level, outcome, at: at(hour), took_seconds: 41.0 }
    }

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_790_000_000 + hour * 3600, 0).unwrap()
    }

    fn proven(level: Level, hour: i64) -> Standing {
        Standing::Proven { level, at: at(hour), took_seconds: 41.0 }
    }

    #[test]
    fn without_a_verdict_nothing_is_proven() {
        assert_eq!(standing(&[], Level::Stored, false), Standing::Unproven { because: Because::NotTried });
        let tried =
            [verdict(1, Level::Booted, Outcome::Inconclusive), verdict(2, Level::Booted, Outcome::Inconclusive)];
        let because = Because::Inconclusive { at: at(2) };
        assert_eq!(standing(&tried, Level::Sound, false), Standing::Unproven { because });
    }

    #[test]
    fn a_pass_counts_at_the_required_level_or_deeper() {
        let sound = [verdict(1, Level::Sound, Outcome::Passed)];
        assert_eq!(standing(&sound, Level::Sound, false), proven(Level::Sound, 1));
        assert_eq!(standing(&sound, Level::Opened, false), proven(Level::Sound, 1));
        let because = Because::TooShallow { level: Level::Sound };
        assert_eq!(standing(&sound, Level::Booted, false), Standing::Unproven { because });
    }

    #[test]
    fn a_shallow_re_read_keeps_an_older_proof_alive() {
        let verdicts = [verdict(1, Level::Booted, Outcome::Passed), verdict(9, Level::Stored, Outcome::Passed)];
        assert_eq!(standing(&verdicts, Level::Booted, false), proven(Level::Booted, 1));
    }

    #[test]
    fn a_failure_condemns_until_a_deep_enough_pass() {
        let boot = verdict(1, Level::Booted, Outcome::Passed);
        let fail = verdict(2, Level::Stored, Outcome::Failed);
        let reread = verdict(3, Level::Stored, Outcome::Passed);
        let unsure = verdict(4, Level::Booted, Outcome::Inconclusive);
        let again = verdict(5, Level::Booted, Outcome::Passed);
        let failed = Standing::Failed { level: Level::Stored, at: at(2) };
        assert_eq!(standing(&[boot, fail], Level::Booted, false), failed);
        assert_eq!(standing(&[unsure, reread, fail, boot], Level::Booted, false), failed);
        assert_eq!(standing(&[again, unsure, reread, fail, boot], Level::Booted, false), proven(Level::Booted, 5));
    }

    #[test]
    fn at_one_instant_the_failure_counts() {
        let both = [verdict(1, Level::Booted, Outcome::Passed), verdict(1, Level::Stored, Outcome::Failed)];
        assert!(standing(&both, Level::Booted, false).is_failed());
        let turned = [both[1], both[0]];
        assert!(standing(&turned, Level::Booted, false).is_failed());
    }

    #[test]
    fn a_diverged_backup_is_never_proven_but_can_fail() {
        let passed = [verdict(1, Level::Booted, Outcome::Passed)];
        let diverged = standing(&passed, Level::Booted, true);
        assert_eq!(diverged, Standing::Unproven { because: Because::Diverged });
        assert!(!diverged.may_be_proven());
        let failed = [verdict(1, Level::Opened, Outcome::Failed)];
        assert!(standing(&failed, Level::Booted, true).is_failed());
    }

    #[test]
    fn what_could_not_tell_is_recorded_once_a_day() {
        let unsure = [verdict(1, Level::Booted, Outcome::Inconclusive), verdict(30, Level::Booted, Outcome::Passed)];
        assert!(worth_recording(&[], at(1)) && worth_recording(&unsure[1..], at(31)));
        for (hour, wanted) in [(2, false), (24, false), (25, true), (0, true)] {
            assert_eq!(worth_recording(&unsure, at(hour)), wanted, "{hour}");
        }
    }

    #[test]
    fn levels_are_read_and_printed_in_lower_case() {
        for level in Level::ALL {
            assert_eq!(level.to_string().parse::<Level>(), Ok(level));
        }
        assert!("Booted".parse::<Level>().unwrap_err().to_string().contains("stored, opened, sound, booted"));
        assert_eq!(proven(Level::Booted, 1).to_string(), "booted");
        assert_eq!(Standing::Failed { level: Level::Sound, at: at(1) }.to_string(), "FAILED at sound");
    }
}
