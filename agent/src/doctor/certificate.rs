//! Until when certificates hold.

use super::Check;
use crate::error::{Error, Reason, Result};
use chrono::{DateTime, TimeDelta, Utc};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use std::path::Path;

/// Two weeks are enough to renew a certificate at leisure.
const SOON: TimeDelta = TimeDelta::days(14);
/// The name in kubeadm's certificate for the kubelet's probe.
const BORROWED: &str = "kube-etcd-healthcheck-client";

/// What is told of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Certificate {
    /// Its common name; may be empty.
    pub name: String,
    pub from: DateTime<Utc>,
    pub until: DateTime<Utc>,
}

/// Every certificate of a PEM file, in order.
pub(super) fn read(path: &Path) -> Result<Vec<Certificate>> {
    let pem = std::fs::read(path).map_err(|source| Error::io("read", path.display(), source))?;
    let broken = || {
        Error::new(Reason::Config, format!("{} holds no certificate that can be read", path.display()))
            .on("read", path.display())
            .hint("it is PEM text, -----BEGIN CERTIFICATE----- and so on; check that it was written in full")
    };
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(&pem) {
        let der = der.map_err(|_| broken())?;
        let (_, parsed) = x509_parser::parse_x509_certificate(&der).map_err(|source| broken().because(source))?;
        let time = |at: x509_parser::time::ASN1Time| DateTime::from_timestamp(at.timestamp(), 0).ok_or_else(broken);
        let name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let validity = parsed.validity();
        let (from, until) = (time(validity.not_before)?, time(validity.not_after)?);
        found.push(Certificate { name: name.to_owned(), from, until });
    }
    if found.is_empty() {
        return Err(broken());
    }
    Ok(found)
}

/// The certificate that this host shows: the first of its file.
pub(super) fn judge_own(what: &str, path: &Path, found: &Result<Vec<Certificate>>, now: DateTime<Utc>) -> Check {
    let own = match found.as_ref().map(|found| found.first()) {
        Ok(Some(own)) => own,
        Ok(None) => return Check::fail("etcd", format!("{what} {} is empty", path.display()), "issue it again"),
        Err(error) => return Check::of_error("etcd", super::Status::Fail, error),
    };
    let check = judge("etcd", what, path, own, now);
    if check.status == super::Status::Ok && own.name == BORROWED {
        return Check::warn(
            "etcd",
            format!("{what} {} belongs to kubeadm's own health check", path.display()),
            "sign one of its own for lifeboat with etcd's CA, so that each can be replaced alone: runbooks, Certificates",
        );
    }
    check
}

/// Authorities: while one is replaced its file holds the old and the new, so the one that lasts longest counts.
pub(super) fn judge_ca(
    area: &'static str,
    what: &str,
    path: &Path,
    found: &Result<Vec<Certificate>>,
    now: DateTime<Utc>,
) -> Check {
    match found.as_ref().map(|found| found.iter().max_by_key(|one| one.until)) {
        Ok(Some(last)) => judge(area, what, path, last, now),
        Ok(None) => Check::fail(area, format!("{what} {} is empty", path.display()), "copy it anew"),
        Err(error) => Check::of_error(area, super::Status::Fail, error),
    }
}

fn judge(area: &'static str, what: &str, path: &Path, one: &Certificate, now: DateTime<Utc>) -> Check {
    let day = |at: DateTime<Utc>| at.format("%Y-%m-%d").to_string();
    let renew = format!("renew {}; a running agent reads it anew: runbooks, Certificates", path.display());
    if one.from > now {
        let hint = "check this host's clock, and that of the machine that issued it";
        return Check::fail(area, format!("{what} is not valid before {}", day(one.from)), hint);
    }
    let left = one.until - now;
    if left < TimeDelta::zero() {
        return Check::fail(area, format!("{what} expired {} ago ({})", days(-left), day(one.until)), renew);
    }
    if left < SOON {
        return Check::warn(area, format!("{what} expires in {} ({})", days(left), day(one.until)), renew);
    }
    Check::ok(area, format!("{what} is valid until {}", day(one.until)))
}

fn days(span: TimeDelta) -> String {
    match span.num_days() {
        0 => format!("{} hours", span.num_hours()),
        1 => "1 day".to_owned(),
        days => format!("{days} days"),
    }
}
