//! Whether the live members agree with a backup, and with each other.
//!
//! The agent asks members for HashKV at a revision and asks the captured file for the same. Two hashes can be compared
//! only at the same revision *and* the same compact revision: a point. Any difference is for a person to look at; the
//! backup itself is bad only where it stands against a majority of the voting members, or against its own source.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Where hashes are comparable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Point {
    /// The revision up to which records count.
    pub revision: i64,
    /// The revision at or below which only what is alive counts; -1: never compacted.
    pub compact_revision: i64,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.compact_revision {
            -1 => write!(f, "revision {}", self.revision),
            compacted => write!(f, "revision {} compacted at {compacted}", self.revision),
        }
    }
}

/// A member's hash, with the file's own at the same point.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its id.
    pub member: u64,
    /// What people call it.
    pub name: String,
    /// Where it was asked, and how far it was compacted when it answered.
    pub point: Point,
    /// What it answered.
    pub hash: u32,
    /// What the captured bytes say there, or why they cannot tell.
    pub file: Result<u32, String>,
}

/// What was learnt about one backup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The member that the backup was taken from.
    pub source: u64,
    /// Every voting member, those included that did not answer.
    pub voters: BTreeSet<u64>,
    /// Answers at any point, in any order.
    pub answers: Vec<Answer>,
    /// Members that were asked and gave none: name and reason.
    pub silent: Vec<(String, String)>,
    /// Whether etcd's CORRUPT alarm was raised against the source, or against nobody in particular.
    pub corrupt_alarm: bool,
}

/// What it comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Whether the members agree.
    pub outcome: Outcome,
    /// Why no proof can make this backup proven, if so.
    pub unprovable: Option<String>,
    /// Members of the majority that the backup stands against: a second backup is better taken from one of these.
    pub better: Vec<u64>,
}

/// Whether the members agree with the backup and with each other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// So many members agree with the file at this point, and nobody differs anywhere.
    Equal {
        /// The newest point at which somebody agrees.
        at: Point,
        /// How many members agree there.
        members: usize,
    },
    /// Somebody differs; who, from whom and where.
    Differs {
        /// For a person.
        found: String,
    },
    /// No answer could be held against the file.
    NotCompared {
        /// Why not.
        because: String,
    },
}

/// Judges the answers.
///
/// A majority is more than half of all voting members, answering or not: two that differ, or one of three that answers
/// alone, condemn nobody. A difference without a majority is still a difference, and a person is told.
#[must_use]
pub fn judge(facts: &Facts) -> Judgement {
    let points = points(&facts.answers);
    let differences: Vec<String> = points.iter().filter_map(|(point, answers)| difference(*point, answers)).collect();
    let agreeing = |answers: &[&Answer]| members(answers.iter().filter(|answer| answer.file == Ok(answer.hash)));
    let equal = points.iter().rev().find_map(|(point, answers)| match agreeing(answers).len() {
        0 => None,
        members => Some(Outcome::Equal { at: *point, members }),
    });
    let outcome = match (differences.is_empty(), equal) {
        (true, Some(equal)) => equal,
        (true, None) => Outcome::NotCompared { because: because(facts) },
        (false, _) => Outcome::Differs { found: differences.join("; ") },
    };
    let (unprovable, better) = condemn(facts, &points);
    Judgement { outcome, unprovable, better }
}

type Points<'a> = BTreeMap<Point, Vec<&'a Answer>>;

fn points(answers: &[Answer]) -> Points<'_> {
    let mut points = Points::new();
    for answer in answers {
        points.entry(answer.point).or_default().push(answer);
    }
    points
}

fn members<'a, 'b: 'a>(answers: impl Iterator<Item = &'a &'b Answer>) -> BTreeSet<u64> {
    answers.map(|answer| answer.member).collect()
}

/// Who says what, where not everybody says the same.
fn difference(point: Point, answers: &[&Answer]) -> Option<String> {
    let mut said: BTreeMap<u32, Vec<&str>> = BTreeMap::new();
    for answer in answers {
        said.entry(answer.hash).or_default().push(&answer.name);
    }
    if let Some(Ok(file)) = answers.first().map(|answer| &answer.file) {
        said.entry(*file).or_default().insert(0, "this backup");
    }
    if said.len() < 2 {
        return None;
    }
    let groups: Vec<String> = said.iter().map(|(hash, who)| format!("{} {hash}", who.join(", "))).collect();
    Some(format!("at {point}: {}", groups.join(" but ")))
}

/// What speaks against the backup, and who is right instead.
fn condemn(facts: &Facts, points: &Points<'_>) -> (Option<String>, Vec<u64>) {
    let enough = facts.voters.len() / 2;
    let voters = |answers: &[&Answer], hash: u32| -> BTreeSet<u64> {
        let same = answers.iter().filter(|answer| answer.hash == hash && facts.voters.contains(&answer.member));
        same.map(|answer| answer.member).collect()
    };
    let mut backed = false;
    let mut against_source = None;
    for (point, answers) in points.iter().rev() {
        let own = answers.iter().find(|answer| answer.member == facts.source).map(|answer| answer.hash);
        let file = answers.first().and_then(|answer| answer.file.clone().ok());
        // Where the file cannot tell, its source speaks for it.
        let Some(mine) = file.or(own) else { continue };
        let others: BTreeSet<u32> = answers.iter().map(|answer| answer.hash).filter(|hash| *hash != mine).collect();
        if let Some(right) = others.into_iter().map(|hash| voters(answers, hash)).find(|who| who.len() > enough) {
            let why = format!("most of the cluster ({} of {}) differs at {point}", right.len(), facts.voters.len());
            return (Some(why), right.into_iter().filter(|member| *member != facts.source).collect());
        }
        backed |= voters(answers, mine).len() > enough;
        if let (Some(file), Some(own)) = (file, own)
            && file != own
        {
            against_source = against_source.or(Some(format!("its own source answers {own} at {point}, not {file}")));
        }
    }
    match against_source {
        _ if backed => (None, Vec::new()),
        Some(why) => (Some(why), Vec::new()),
        None if facts.corrupt_alarm => {
            let why = "etcd raised CORRUPT against its source, and no majority of members agrees with it".to_owned();
            (Some(why), Vec::new())
        }
        None => (None, Vec::new()),
    }
}

/// Why nothing could be compared: what the members said, else why the file could not follow.
fn because(facts: &Facts) -> String {
    let file = facts.answers.iter().filter_map(|answer| {
        let why = answer.file.as_ref().err()?;
        Some(format!("{} at {}: {why}", answer.name, answer.point))
    });
    let silent = facts.silent.iter().map(|(name, why)| format!("{name}: {why}"));
    let told: Vec<String> = file.chain(silent).take(3).collect();
    if told.is_empty() { "no member was asked".to_owned() } else { told.join("; ") }
}

#[cfg(test)]
mod tests;
