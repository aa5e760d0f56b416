//! The leases and members that a database lists.

use std::ops::ControlFlow;

use crate::check::Member;
use crate::io::ReadAt;
use crate::small;

use super::{Database, DbError, bad_item, each_item, find};

/// A lease as it was stored: granted, and neither expired nor revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The lease's id; etcd prints it in lowercase hex.
    pub id: i64,
    /// Seconds that it was granted for. A server that starts from this database grants them anew.
    pub ttl_seconds: i64,
    /// Seconds that were left at the last checkpoint, 0 where etcd keeps none: it does so only when told to.
    pub remaining_ttl_seconds: i64,
}

/// What a database records of versions; see [`crate::line`].
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Versions {
    /// The schema's, since etcd 3.6.
    pub storage: Option<String>,
    /// The cluster's, as its members agreed on it.
    pub cluster: Option<String>,
}

impl<F: ReadAt + ?Sized> Database<'_, F> {
    /// The versions that are recorded.
    pub fn versions(&self) -> Result<Versions, DbError> {
        Ok(Versions {
            storage: self.text("meta", b"storageVersion")?,
            cluster: self.text("cluster", b"clusterVersion")?,
        })
    }

    /// An item of a small bucket that holds text.
    fn text(&self, bucket: &'static str, key: &[u8]) -> Result<Option<String>, DbError> {
        let mut found = None;
        let Some(entry) = find(&self.source, bucket)? else { return Ok(found) };
        each_item(&self.source, &entry, key, |page, item| {
            if item.key == key {
                found = Some(small::text(item.value).map_err(|what| bad_item(bucket, item.key, page, what))?);
            }
            Ok(ControlFlow::Break(()))
        })?;
        Ok(found)
    }

    /// The leases, ascending by id.
    pub fn leases(&self) -> Result<Vec<Lease>, DbError> {
        let mut leases = self.list("lease", small::lease)?;
        leases.sort_unstable_by_key(|lease| lease.id);
        Ok(leases)
    }

    /// The members, ascending by id.
    pub fn members(&self) -> Result<Vec<Member>, DbError> {
        let mut members = self.list("members", small::member)?;
        members.sort_by_key(|member| member.id);
        Ok(members)
    }

    /// Decodes every item of a small bucket; a bucket that is not there is as good as an empty one.
    fn list<T>(
        &self,
        bucket: &'static str,
        decode: fn(&[u8], &[u8]) -> Result<T, &'static str>,
    ) -> Result<Vec<T>, DbError> {
        let mut all = Vec::new();
        let Some(entry) = find(&self.source, bucket)? else { return Ok(all) };
        each_item(&self.source, &entry, &[], |page, item| {
            all.push(decode(item.key, item.value).map_err(|what| bad_item(bucket, item.key, page, what))?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(all)
    }
}
