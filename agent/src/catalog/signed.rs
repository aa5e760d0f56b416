//! Who signed what: of every signed object its kind, its signer, its date, and whether it counts.

use super::manifest::Signed as Object;
use super::read::{Noted, Signed};
use crate::digest::Digest;
use crate::keys::Distrust;
use crate::store::{Layout, ObjectKey};
use chrono::{DateTime, Utc};

/// What signed objects are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Manifest,
    Verdict,
    Tombstone,
    Hold,
    Ack,
}

impl Kind {
    pub const ALL: [Kind; 5] = [Kind::Manifest, Kind::Verdict, Kind::Tombstone, Kind::Hold, Kind::Ack];

    /// As JSON and tables call several of them.
    pub fn plural(self) -> &'static str {
        match self {
            Kind::Manifest => "manifests",
            Kind::Verdict => "verdicts",
            Kind::Tombstone => "tombstones",
            Kind::Hold => "holds",
            Kind::Ack => "acks",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub kind: Kind,
    pub path: String,
    /// The known key that signed it.
    pub signer: Option<Digest>,
    /// Its own date; of what cannot be believed the date in its name.
    pub at: Option<DateTime<Utc>>,
    /// Why it does not count.
    pub why: Option<Distrust>,
}

pub(super) fn signatures(layout: &Layout, signed: &Signed) -> Vec<Signature> {
    let mut found = Vec::new();
    let mut add = |all: Vec<Signature>| found.extend(all);
    add(of(layout, Kind::Manifest, &signed.manifests));
    add(of(layout, Kind::Verdict, &signed.verdicts));
    add(of(layout, Kind::Tombstone, &signed.tombstones));
    add(of(layout, Kind::Hold, &signed.holds));
    add(of(layout, Kind::Ack, &signed.acks));
    found
}

fn of<S: Object>(layout: &Layout, kind: Kind, noted: &[Noted<S>]) -> Vec<Signature> {
    let one = |(opened, key, _): &Noted<S>| {
        let path = key.to_string();
        match opened {
            Ok((object, _)) => {
                Signature { kind, path, signer: Some(object.binding().signer), at: Some(object.at()), why: None }
            }
            Err(why) => Signature { kind, path, signer: why.signer(), at: named(layout, key), why: Some(why.clone()) },
        }
    };
    noted.iter().map(one).collect()
}

/// The date in an object's name: `.../20261123T023004Z-9f0c2d1e.json`, else that of its backup.
fn named(layout: &Layout, key: &ObjectKey) -> Option<DateTime<Utc>> {
    let (_, file) = key.as_str().rsplit_once('/')?;
    let of_file = file.split_once('-').and_then(|(stamp, _)| {
        chrono::NaiveDateTime::parse_from_str(stamp, "%Y%m%dT%H%M%SZ").ok().map(|at| at.and_utc())
    });
    of_file.or_else(|| layout.parse(key.as_str()).map(|(id, ..)| id.captured_at()))
}
