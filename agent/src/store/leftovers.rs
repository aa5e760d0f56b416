//! Uploads that nobody finished: a crash leaves their parts in the bucket, invisible and paid for.

use super::s3::Answer;
use super::{Kind, Layout, Store, fault};
use crate::error::{Error, Reason, Result};
use chrono::{DateTime, Utc};
use object_store::path::Path;
use object_store::signer::Method;
use serde::Deserialize;
use std::time::Duration;

/// Younger ones may be another agent's that still runs: nobody's upload takes a day.
pub const LEFTOVER_GRACE: Duration = Duration::from_secs(24 * 3600);

const LIST: &str = "list uploads of";
const ABORT: &str = "abort";

/// An upload that was begun and neither finished nor dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leftover {
    /// The name below the prefix that it would have got.
    pub name: String,
    pub begun: DateTime<Utc>,
    upload_id: String,
}

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    pub aborted: usize,
    /// Ours and old, but the store did not let us.
    pub refused: usize,
}

impl Store {
    /// Uploads below the prefix that were begun before `older_than`. `None`: this kind of store cannot tell.
    pub async fn leftovers(&self, older_than: DateTime<Utc>) -> Result<Option<Vec<Leftover>>> {
        let Some(s3) = self.source.client().s3 else {
            return Ok(None);
        };
        let prefix = match self.prefix.as_ref() {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        let (mut found, mut key_marker, mut id_marker) = (Vec::new(), String::new(), String::new());
        loop {
            self.count("list_uploads");
            let mut query = vec![("uploads", ""), ("prefix", prefix.as_str())];
            if !key_marker.is_empty() {
                query.extend([("key-marker", key_marker.as_str()), ("upload-id-marker", id_marker.as_str())]);
            }
            let answer = self.own(LIST, s3.ask(Method::GET, &Path::default(), &query).await)?;
            let page: Page = self.parsed(LIST, &answer)?;
            found.extend(page.uploads.into_iter().filter(|upload| upload.initiated < older_than).filter_map(
                |upload| {
                    // Not every server heeds the prefix, and what lies beside it is none of ours.
                    let name = self.name_of(&Path::parse(&upload.key).ok()?)?;
                    Some(Leftover { name, begun: upload.initiated, upload_id: upload.upload_id })
                },
            ));
            let next = (page.next_key.unwrap_or_default(), page.next_id.unwrap_or_default());
            if !page.truncated {
                return Ok(Some(found));
            }
            if next.0.is_empty() || next == (key_marker, id_marker) {
                let text = format!("the store lists the uploads of {} without an end", self.url);
                return Err(Error::new(Reason::StoreUnreachable, text).on(LIST, &self.url));
            }
            (key_marker, id_marker) = next;
        }
    }

    /// Drops one of them with its parts. One that is gone already is fine.
    pub async fn abort_leftover(&self, leftover: &Leftover) -> Result<()> {
        let Some(s3) = self.source.client().s3 else {
            return Err(Error::new(Reason::Internal, "a leftover of a store that cannot tell leftovers"));
        };
        self.count("abort");
        let path = leftover.name.split('/').fold(self.prefix.clone(), |path, part| path.join(part));
        let query = [("uploadId", leftover.upload_id.as_str())];
        let error = match s3.ask(Method::DELETE, &path, &query).await {
            Ok(answer) if answer.is_success() || is_gone(&answer) => return Ok(()),
            Ok(answer) => fault::refused(ABORT, &leftover.name, &self.url, answer.status, &answer.body),
            Err(source) => fault::classify(ABORT, &leftover.name, &self.url, source),
        };
        Err(self.counted(ABORT, error))
    }
}

fn is_gone(answer: &Answer) -> bool {
    answer.status == 404 && !answer.body.contains("NoSuchBucket")
}

/// Drops what a cluster's crashed uploads left, if they are older than `grace`. Whoever may not is told so in the log;
/// that is no failure, since a lifecycle rule of the bucket does the same.
pub async fn sweep_leftovers(store: &Store, layout: &Layout, now: DateTime<Utc>, grace: Duration) -> Result<Swept> {
    let mut swept = Swept::default();
    let Some(older_than) = chrono::Duration::from_std(grace).ok().and_then(|grace| now.checked_sub_signed(grace))
    else {
        return Ok(swept);
    };
    let leftovers = match store.leftovers(older_than).await {
        Ok(leftovers) => leftovers.unwrap_or_default(),
        Err(error) if error.reason == Reason::StoreDenied => {
            let (store, hint) = (store.name(), &error.hint);
            tracing::warn!(store, %error, hint, "unfinished uploads cannot be listed; a lifecycle rule can drop them");
            return Ok(swept);
        }
        Err(error) => return Err(error),
    };
    for leftover in leftovers.iter().filter(|leftover| is_ours(layout, leftover)) {
        match store.abort_leftover(leftover).await {
            Ok(()) => {
                tracing::info!(store = store.name(), name = leftover.name, begun = %leftover.begun, "dropped an unfinished upload");
                swept.aborted += 1;
            }
            Err(error) if error.reason == Reason::StoreDenied => {
                let (store, hint) = (store.name(), &error.hint);
                tracing::warn!(store, %error, hint, "an unfinished upload cannot be dropped; a lifecycle rule can");
                swept.refused += 1;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(swept)
}

/// Only what this cluster's captures upload: a neighbour sweeps its own.
fn is_ours(layout: &Layout, leftover: &Leftover) -> bool {
    matches!(layout.parse(&leftover.name), Some((_, Kind::Blob | Kind::Sums, _)))
}

#[derive(Deserialize)]
struct Page {
    #[serde(rename = "IsTruncated", default)]
    truncated: bool,
    #[serde(rename = "NextKeyMarker")]
    next_key: Option<String>,
    #[serde(rename = "NextUploadIdMarker")]
    next_id: Option<String>,
    #[serde(rename = "Upload", default)]
    uploads: Vec<UploadXml>,
}

#[derive(Deserialize)]
struct UploadXml {
    #[serde(rename = "Key")]
    key: String,
    #[serde(rename = "UploadId")]
    upload_id: String,
    #[serde(rename = "Initiated")]
    initiated: DateTime<Utc>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ClusterName;
    use lifeboat_policy::id::BackupId;

    #[test]
    fn a_page_of_uploads_is_read_whatever_stands_between_them() {
        let text = "<?xml version=\"1.0\"?>
            <ListMultipartUploadsResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">
            <Bucket>b</Bucket><KeyMarker></KeyMarker><IsTruncated>true</IsTruncated>
            <NextKeyMarker>k</NextKeyMarker><NextUploadIdMarker>i</NextUploadIdMarker>
            <Upload><Key>etcd/a</Key><UploadId>1</UploadId><Initiator><ID>x</ID></Initiator>
            <Initiated>2026-11-20T10:00:00.000Z</Initiated></Upload>
            <CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes>
            <Upload><Key>etcd/b</Key><UploadId>2</UploadId><Initiated>2026-11-21T10:00:00Z</Initiated></Upload>
            </ListMultipartUploadsResult>";
        let page: Page = quick_xml::de::from_str(text).unwrap();
        assert!(page.truncated);
        assert_eq!((page.next_key.as_deref(), page.next_id.as_deref()), (Some("k"), Some("i")));
        let uploads: Vec<_> =
            page.uploads.iter().map(|upload| (upload.key.as_str(), upload.upload_id.as_str())).collect();
        assert_eq!(uploads, [("etcd/a", "1"), ("etcd/b", "2")]);
        let empty = "<ListMultipartUploadsResult><IsTruncated>false</IsTruncated></ListMultipartUploadsResult>";
        assert_eq!(quick_xml::de::from_str::<Page>(empty).unwrap().uploads.len(), 0);
    }

    #[test]
    fn only_this_clusters_own_uploads_are_swept() {
        let layout = Layout::new(&ClusterName::parse("prod").unwrap());
        let id = BackupId::new(DateTime::from_timestamp(1_795_400_000, 0).unwrap(), 7);
        let leftover =
            |name: &str| Leftover { name: name.to_owned(), begun: DateTime::UNIX_EPOCH, upload_id: "1".to_owned() };
        assert!(is_ours(&layout, &leftover(layout.blob(&id).as_str())));
        let neighbour = Layout::new(&ClusterName::parse("prod-2").unwrap());
        for foreign in [neighbour.blob(&id).as_str(), layout.manifest(&id).as_str(), "prod/backups/x/db.zst.age", "x"] {
            assert!(!is_ours(&layout, &leftover(foreign)), "{foreign}");
        }
    }
}
