//! The live members' answers held against the captured bytes: what `policy::equality` judges, and what the manifest says.

use crate::capture::{Asked, Comparison, Member, Reply, Survey};
use crate::catalog::manifest::{Compared, Equality, HashAnswer};
use crate::error::{Error, Reason, Result};
use crate::scratch::Notes;
use etcdfile::Checked;
use lifeboat_policy::equality::{Answer, Facts, Judgement, Outcome, Point, judge};
use std::collections::BTreeMap;

/// What the comparison came to, and whom a second backup is better taken from.
pub(super) struct Judged {
    pub compared: Compared,
    /// Members of the majority that this backup stands against.
    pub better: Vec<u64>,
}

/// Judges everything that was answered. It reads the notes of the check again for every point that was asked, so it
/// belongs on a thread that may block.
pub(super) fn judged(
    comparison: &Comparison,
    checked: &Checked<Notes>,
    survey: &Survey,
    source: &Member,
) -> Result<Judged> {
    let asked = comparison.answers();
    let mut file = File { checked, known: BTreeMap::new() };
    let mut answers = Vec::new();
    let mut silent = Vec::new();
    let mut recorded = Vec::new();
    for asked in &asked {
        recorded.push(file.recorded(asked)?);
        match &asked.reply {
            Reply::None(why) => silent.push((asked.name.clone(), why.clone())),
            Reply::Hash { hash, compact_revision } => {
                let point = Point { revision: asked.revision, compact_revision: *compact_revision };
                let name = asked.name.clone();
                answers.push(Answer { member: asked.member_id, name, point, hash: *hash, file: file.at(point)? });
            }
        }
    }
    let facts = Facts {
        source: source.member_id,
        voters: survey.voters.keys().copied().collect(),
        answers,
        silent,
        corrupt_alarm: source.alarms.iter().any(|alarm| alarm == "CORRUPT"),
    };
    let Judgement { outcome, unprovable, better } = judge(&facts);
    let equality = match outcome {
        Outcome::Equal { at, members } => Equality::Equal { revision: at.revision, members },
        Outcome::Differs { found } => Equality::Differs { found },
        Outcome::NotCompared { .. } if comparison.is_off() => {
            Equality::NotCompared { because: "etcd.compare is off".to_owned() }
        }
        Outcome::NotCompared { because } => Equality::NotCompared { because },
    };
    Ok(Judged { compared: Compared { equality, unprovable, answers: recorded }, better })
}

/// The captured bytes, asked once for each point.
struct File<'a> {
    checked: &'a Checked<Notes>,
    known: BTreeMap<Point, Result<u32, String>>,
}

impl File<'_> {
    fn at(&mut self, point: Point) -> Result<Result<u32, String>> {
        if let Some(known) = self.known.get(&point) {
            return Ok(known.clone());
        }
        // Where no key is alive, etcd gives two answers at one point: another one when it remembers the hash of a compaction.
        if self.checked.report().keys == 0 {
            return Ok(Err("no key is alive, and etcd's hashes of nothing are not always the same".to_owned()));
        }
        let hash = self.checked.hash_kv(point.revision, point.compact_revision).map_err(|source| {
            Error::new(Reason::HostIo, "the notes on the snapshot cannot be read again").because(source)
        })?;
        let hash = hash.map(|hash| hash.hash).map_err(|why| why.to_string());
        self.known.insert(point, hash.clone());
        Ok(hash)
    }

    fn recorded(&mut self, asked: &Asked) -> Result<HashAnswer> {
        let mut answer = HashAnswer {
            member_id: format!("{:x}", asked.member_id),
            name: asked.name.clone(),
            revision: asked.revision,
            compact_revision: None,
            hash: None,
            file_hash: None,
            because: None,
        };
        match &asked.reply {
            Reply::None(why) => answer.because = Some(why.clone()),
            Reply::Hash { hash, compact_revision } => {
                answer.compact_revision = Some(*compact_revision);
                answer.hash = Some(*hash);
                match self.at(Point { revision: asked.revision, compact_revision: *compact_revision })? {
                    Ok(own) => answer.file_hash = Some(own),
                    Err(why) => answer.because = Some(why),
                }
            }
        }
        Ok(answer)
    }
}
