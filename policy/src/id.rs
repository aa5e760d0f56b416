//! Names of backups: `YYYYMMDDTHHMMSSZ-<16 lowercase hex>`, the capture time and a random half.
//!
//! Ids sort by time, are never reused, and two agents never collide. They are folder names in the store, so nothing else
//! than this form is ever accepted.

use chrono::{DateTime, NaiveDateTime, Utc};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

const TIME_FORMAT: &str = "%Y%m%dT%H%M%SZ";
const TIME_LEN: usize = 16;
const RANDOM_LEN: usize = 16;

/// What people see of an id at least: the first six digits of its random part.
const SHORT_MIN: usize = 6;

/// The name of one backup. Ordered by its text, so by capture time.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct BackupId {
    text: String,
    at: DateTime<Utc>,
}

/// Why a text is not a [`BackupId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not 33 characters: a time, a dash and 16 hex digits.
    #[error("`{0}` is not a backup id: it must look like 20261123T023004Z-7f3a9c0d51e2b846")]
    Form(String),
    /// The form is right, but there is no such day or time.
    #[error("`{0}` is not a backup id: its time does not exist")]
    Time(String),
}

impl BackupId {
    /// The id of a backup captured at `at` (cut to the second; kept within the years 0000 to 9999, which is what fits).
    #[must_use]
    pub fn new(at: DateTime<Utc>, random: u64) -> Self {
        // Seconds since 1970 of 0000-01-01T00:00:00Z and 9999-12-31T23:59:59Z.
        let seconds = at.timestamp().clamp(-62_167_219_200, 253_402_300_799);
        let at = DateTime::from_timestamp(seconds, 0).unwrap_or_default();
        let text = format!("{}-{random:016x}", at.format(TIME_FORMAT));
        BackupId { text, at }
    }

    /// Reads an id.
    ///
    /// # Errors
    /// [`IdError`] if the text has another form or names a time that does not exist.
    pub fn parse(text: &str) -> Result<Self, IdError> {
        let form = || IdError::Form(text.to_owned());
        let (time, random) = text.split_once('-').ok_or_else(form)?;
        let is_time = |(i, c): (usize, char)| match i {
            8 => c == 'T',
            15 => c == 'Z',
            _ => c.is_ascii_digit(),
        };
        let is_hex = |c: char| matches!(c, '0'..='9' | 'a'..='f');
        let well_formed = time.len() == TIME_LEN
            && time.chars().enumerate().all(is_time)
            && random.len() == RANDOM_LEN
            && random.chars().all(is_hex);
        if !well_formed {
            return Err(form());
        }
        let no_time = |_| IdError::Time(text.to_owned());
        let at = NaiveDateTime::parse_from_str(time, TIME_FORMAT).map_err(no_time)?.and_utc();
        // chrono reads second 60 as a leap second; we never write one, and one instant must have one name.
        if at.format(TIME_FORMAT).to_string() != time || at.timestamp_subsec_nanos() != 0 {
            return Err(IdError::Time(text.to_owned()));
        }
        Ok(BackupId { text: text.to_owned(), at })
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When the capture began, to the second, by the clock of the node that took it.
    #[must_use]
    pub fn captured_at(&self) -> DateTime<Utc> {
        self.at
    }

    /// The 16 hex digits that make the id unique.
    #[must_use]
    pub fn random_part(&self) -> &str {
        self.text.split_once('-').map_or("", |(_, random)| random)
    }

    /// The first `len` digits of the random part, as lists show them. See [`short_len`].
    #[must_use]
    pub fn short(&self, len: usize) -> &str {
        let random = self.random_part();
        random.get(..len).unwrap_or(random)
    }
}

impl fmt::Display for BackupId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.text)
    }
}

impl FromStr for BackupId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        BackupId::parse(text)
    }
}

impl TryFrom<String> for BackupId {
    type Error = IdError;

    fn try_from(text: String) -> Result<Self, IdError> {
        BackupId::parse(&text)
    }
}

impl From<BackupId> for String {
    fn from(id: BackupId) -> String {
        id.text
    }
}

/// Why what a person typed names no single backup.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// More than one fits; oldest first.
    #[error("`{text}` is ambiguous: it fits {}", join(matches))]
    Ambiguous {
        /// What was typed.
        text: String,
        /// The backups that it fits, oldest first.
        matches: Vec<BackupId>,
    },
    /// None fits.
    #[error("no backup is called `{text}`: `lifeboat list` shows those that there are")]
    NoMatch {
        /// What was typed.
        text: String,
    },
}

fn join(ids: &[BackupId]) -> String {
    let texts: Vec<&str> = ids.iter().map(BackupId::as_str).collect();
    texts.join(", ")
}

/// Finds the backup that a person means: its full id, the start of its id, or the start of its random part, whichever
/// fits exactly one of `ids`. Upper and lower case are the same; the same id given twice counts once.
///
/// # Errors
/// [`ResolveError`] if none or more than one fits.
pub fn resolve<'a>(text: &str, ids: impl Iterator<Item = &'a BackupId>) -> Result<&'a BackupId, ResolveError> {
    let wanted = text.to_ascii_lowercase();
    let fits = |id: &&BackupId| {
        !wanted.is_empty()
            && (id.text.to_ascii_lowercase().starts_with(&wanted) || id.random_part().starts_with(&wanted))
    };
    let matches: BTreeSet<&BackupId> = ids.filter(fits).collect();
    let mut in_order = matches.iter();
    match (in_order.next(), in_order.next()) {
        (None, _) => Err(ResolveError::NoMatch { text: text.to_owned() }),
        (Some(only), None) => Ok(only),
        (Some(_), Some(_)) => {
            let matches = matches.into_iter().cloned().collect();
            Err(ResolveError::Ambiguous { text: text.to_owned(), matches })
        }
    }
}

/// How many digits of the random part lists must show so that each of `ids` is told apart: at least 6, at most 16.
#[must_use]
pub fn short_len<'a>(ids: impl Iterator<Item = &'a BackupId>) -> usize {
    let distinct: BTreeSet<&BackupId> = ids.collect();
    let mut randoms: Vec<&str> = distinct.iter().map(|id| id.random_part()).collect();
    randoms.sort_unstable();
    let pairs = randoms.iter().zip(randoms.iter().skip(1));
    let longest_shared = pairs.map(|(a, b)| a.chars().zip(b.chars()).take_while(|(x, y)| x == y).count()).max();
    longest_shared.map_or(SHORT_MIN, |shared| (shared + 1).clamp(SHORT_MIN, RANDOM_LEN))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeZone;

    fn id(text: &str) -> BackupId {
        BackupId::parse(text).unwrap()
    }

    #[test]
    fn an_id_says_when_and_is_read_back() {
        let at = Utc.with_ymd_and_hms(2026, 11, 23, 2, 30, 4).unwrap();
        let made = BackupId::new(at, 0x7f3a_9c0d_51e2_b846);
        assert_eq!(made.as_str(), "20261123T023004Z-7f3a9c0d51e2b846");
        assert_eq!(made, id(made.as_str()));
        assert_eq!(made.captured_at(), at);
        assert_eq!(made.random_part(), "7f3a9c0d51e2b846");
        assert_eq!(made.short(6), "7f3a9c");
        assert_eq!(made.short(99), "7f3a9c0d51e2b846");
    }

    #[test]
    fn a_wrong_form_or_a_day_that_does_not_exist_is_refused() {
        for text in [
            "",
            "latest",
            "20261123T023004Z",
            "20261123T023004Z-7f3a9c0d51e2b84",
            "20261123T023004Z-7f3a9c0d51e2b8466",
            "20261123T023004Z-7F3A9C0D51E2B846",
            "20261123t023004z-7f3a9c0d51e2b846",
            "2026112 T023004Z-7f3a9c0d51e2b846",
            "../../etc/passwd-7f3a9c0d51e2b846",
            "20261123T023004Z-7f3a9c0d51e2b846/",
        ] {
            assert!(matches!(BackupId::parse(text), Err(IdError::Form(_))), "{text}");
        }
        for text in [
            "20260230T000000Z-7f3a9c0d51e2b846",
            "20261123T240000Z-7f3a9c0d51e2b846",
            "20261231T235960Z-7f3a9c0d51e2b846",
        ] {
            assert!(matches!(BackupId::parse(text), Err(IdError::Time(_))), "{text}");
        }
    }

    #[test]
    fn a_time_that_does_not_fit_is_brought_within_the_years_that_do() {
        for at in [DateTime::<Utc>::MIN_UTC, DateTime::<Utc>::MAX_UTC] {
            let made = BackupId::new(at, 7);
            assert_eq!(BackupId::parse(made.as_str()).unwrap(), made);
        }
    }

    #[test]
    fn a_person_may_type_the_start_of_either_half() {
        let ids = [
            id("20261123T023004Z-7f3a9c0d51e2b846"),
            id("20261123T030004Z-b81e020000000000"),
            id("20261122T030004Z-b81e03ffffffffff"),
        ];
        let find = |text: &str| resolve(text, ids.iter().chain(ids.iter()));
        assert_eq!(find("7f3a"), Ok(&ids[0]));
        assert_eq!(find("7F3A9C"), Ok(&ids[0]));
        assert_eq!(find("20261123T02"), Ok(&ids[0]));
        assert_eq!(find(ids[1].as_str()), Ok(&ids[1]));
        let ambiguous = ResolveError::Ambiguous { text: "b81e".into(), matches: vec![ids[2].clone(), ids[1].clone()] };
        assert_eq!(find("b81e"), Err(ambiguous.clone()));
        assert!(ambiguous.to_string().contains("20261122T030004Z-b81e03ffffffffff, 20261123T030004Z-b81e020000000000"));
        assert!(matches!(find("ffff"), Err(ResolveError::NoMatch { .. })));
        assert!(matches!(find(""), Err(ResolveError::NoMatch { .. })));
    }

    #[test]
    fn short_ids_are_as_long_as_they_must_be() {
        let a = id("20261123T023004Z-7f3a9c0d51e2b846");
        let b = id("20261123T030004Z-7f3a9c0e51e2b846");
        assert_eq!(short_len([].into_iter()), 6);
        assert_eq!(short_len([&a, &a].into_iter()), 6);
        assert_eq!(short_len([&a, &b].into_iter()), 8);
        let same_random = id("20261124T030004Z-7f3a9c0d51e2b846");
        assert_eq!(short_len([&a, &same_random].into_iter()), 16);
    }
}
