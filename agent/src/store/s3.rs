//! What S3 can do and object_store has no call for: questions about a bucket, and uploads that nobody finished. Each
//! request is signed by object_store's own signer, with the store's own credentials.

use super::lock::Locking;
use super::{Store, fault};
use crate::config::LockMode;
use crate::error::{Error, Reason, Result};
use object_store::aws::AmazonS3;
use object_store::client::ReqwestConnector;
use object_store::client::{HttpClient, HttpConnector, HttpError, HttpErrorKind, HttpRequest, HttpRequestBody};
use object_store::path::Path;
use object_store::signer::{Method, SignedUrlOptions, Signer as _};
use object_store::{ClientOptions, HeaderValue};
use serde::Deserialize;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How long a signature holds: one request with its tries.
const SIGNED_FOR: Duration = Duration::from_secs(300);
const TRIES: u32 = 3;
/// Before the second try; twice that before the third.
const PAUSE: Duration = Duration::from_millis(300);

/// The view of a bucket that only S3 has.
#[derive(Clone, Debug)]
pub(super) struct S3 {
    pub store: Arc<AmazonS3>,
    pub http: HttpClient,
}

/// Makes the clients of a store and keeps the last one: the builder makes that of the store itself last, from all options.
#[derive(Clone, Debug, Default)]
pub(super) struct Keeping {
    pub locking: Option<Locking>,
    kept: Arc<Mutex<Option<HttpClient>>>,
}

impl Keeping {
    pub fn new(locking: Option<Locking>) -> Keeping {
        Keeping { locking, ..Keeping::default() }
    }

    pub fn kept(&self) -> Option<HttpClient> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl HttpConnector for Keeping {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = ReqwestConnector::default().connect(options)?;
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(plain.clone());
        Ok(match &self.locking {
            Some(locking) => locking.around(plain),
            None => plain,
        })
    }
}

/// What the store said, whatever it was.
#[derive(Debug)]
pub(super) struct Answer {
    pub status: u16,
    pub body: String,
}

impl Answer {
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// How a bucket keeps older versions of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versioning {
    /// It never did: what is overwritten or deleted is gone.
    Off,
    On,
    /// It did once; what is written now is not kept.
    Suspended,
}

/// A bucket that was made with object lock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLock {
    /// How it locks objects that say nothing themselves.
    pub default: Option<Retention>,
}

/// A bucket's default for objects that are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub mode: LockMode,
    pub days: u32,
}

impl Store {
    /// Whether the bucket keeps older versions. `None`: this kind of store cannot tell.
    pub async fn versioning(&self) -> Result<Option<Versioning>> {
        const OPERATION: &str = "read the versioning of";
        let Some(s3) = self.source.client().s3 else {
            return Ok(None);
        };
        self.count("get_versioning");
        let answer = self.own(OPERATION, s3.ask(Method::GET, &Path::default(), &[("versioning", "")]).await)?;
        let versioning: VersioningXml = self.parsed(OPERATION, &answer)?;
        Ok(Some(match versioning.status.as_deref() {
            Some("Enabled") => Versioning::On,
            Some("Suspended") => Versioning::Suspended,
            Some(_) | None => Versioning::Off,
        }))
    }

    /// The bucket's object lock. The outer `None`: this kind of store cannot tell; the inner: made without it.
    pub async fn object_lock(&self) -> Result<Option<Option<ObjectLock>>> {
        const OPERATION: &str = "read the object lock of";
        let Some(s3) = self.source.client().s3 else {
            return Ok(None);
        };
        self.count("get_object_lock");
        let asked = s3.ask(Method::GET, &Path::default(), &[("object-lock", "")]).await;
        if matches!(&asked, Ok(answer) if has_no_lock(answer)) {
            return Ok(Some(None));
        }
        let answer = self.own(OPERATION, asked)?;
        let found = parse_object_lock(&answer.body).map_err(|why| self.unreadable(OPERATION, why))?;
        Ok(Some(found))
    }

    /// A successful answer, or the error that it is.
    pub(super) fn own(&self, operation: &'static str, asked: object_store::Result<Answer>) -> Result<Answer> {
        let error = match asked {
            Ok(answer) if answer.is_success() => return Ok(answer),
            Ok(answer) => fault::refused(operation, &self.url, &self.url, answer.status, &answer.body),
            Err(source) => fault::classify(operation, &self.url, &self.url, source),
        };
        Err(self.counted(operation, error))
    }

    pub(super) fn parsed<T: for<'de> Deserialize<'de>>(&self, operation: &'static str, answer: &Answer) -> Result<T> {
        quick_xml::de::from_str(&answer.body).map_err(|why| self.unreadable(operation, why))
    }

    fn unreadable(&self, operation: &'static str, why: quick_xml::DeError) -> Error {
        let text = format!("cannot {operation} {}: its answer is not what S3 answers", self.url);
        Error::new(Reason::StoreUnreachable, text)
            .on(operation, &self.url)
            .hint("check that `endpoint` is an S3 endpoint, not a console or a proxy's page")
            .because(why)
    }
}

impl S3 {
    /// One request to the bucket (an empty path) or to an object.
    pub async fn ask(&self, method: Method, path: &Path, query: &[(&str, &str)]) -> object_store::Result<Answer> {
        ask(&self.store, &self.http, method, path, query).await
    }
}

/// One request, signed in its URL. Tried again, with a new signature, where it may succeed a moment later.
pub(super) async fn ask(
    store: &AmazonS3,
    http: &HttpClient,
    method: Method,
    path: &Path,
    query: &[(&str, &str)],
) -> object_store::Result<Answer> {
    let options = SignedUrlOptions::default().with_query(query.iter().copied());
    let mut tries = 0;
    loop {
        let url = store.signed_url_opts(method.clone(), path, SIGNED_FOR, &options).await?;
        let asked = send(http, method.clone(), url.as_str(), None).await;
        tries += 1;
        if !goes_again(&asked, tries).await {
            return asked.map_err(generic);
        }
    }
}

/// Whether to ask again after so many tries; if so, the pause is over.
pub(super) async fn goes_again(asked: &std::result::Result<Answer, HttpError>, tries: u32) -> bool {
    let worth_it = match asked {
        Ok(answer) => answer.status == 429 || answer.status >= 500,
        Err(error) => !matches!(error.kind(), HttpErrorKind::Decode | HttpErrorKind::Unknown),
    };
    if !worth_it || tries >= TRIES {
        return false;
    }
    tokio::time::sleep(PAUSE * tries).await;
    true
}

/// `bearer`: what shows who asks, where the URL does not.
pub(super) async fn send(
    http: &HttpClient,
    method: Method,
    url: &str,
    bearer: Option<&str>,
) -> std::result::Result<Answer, HttpError> {
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = method;
    *request.uri_mut() = url.parse().map_err(|why| HttpError::new(HttpErrorKind::Unknown, UriError(why)))?;
    if let Some(bearer) = bearer.filter(|bearer| !bearer.is_empty()) {
        let mut header = HeaderValue::try_from(format!("Bearer {bearer}"))
            .map_err(|why| HttpError::new(HttpErrorKind::Unknown, why))?;
        header.set_sensitive(true);
        request.headers_mut().insert("authorization", header);
    }
    let (head, body) = http.execute(request).await?.into_parts();
    let body = String::from_utf8_lossy(&body.bytes().await?).into_owned();
    Ok(Answer { status: head.status.as_u16(), body })
}

/// Keeps what is behind a signed URL, which holds a signature, out of messages.
#[derive(Debug, thiserror::Error)]
#[error("the bucket's address is not one that can be asked: {0}")]
struct UriError<E: std::error::Error>(E);

pub(super) fn generic(source: HttpError) -> object_store::Error {
    object_store::Error::Generic { store: "bucket", source: Box::new(source) }
}

/// Whether an answer to `?object-lock` says that the bucket was made without.
pub(super) fn has_no_lock(answer: &Answer) -> bool {
    answer.status == 404 && answer.body.contains("ObjectLockConfigurationNotFoundError")
}

pub(super) fn parse_object_lock(body: &str) -> std::result::Result<Option<ObjectLock>, quick_xml::DeError> {
    let read: ObjectLockXml = quick_xml::de::from_str(body)?;
    if read.enabled.as_deref() != Some("Enabled") {
        return Ok(None);
    }
    let default = read.rule.and_then(|rule| rule.default).and_then(|default| {
        let mode = match default.mode.as_deref()? {
            "COMPLIANCE" => LockMode::Compliance,
            "GOVERNANCE" => LockMode::Governance,
            _ => return None,
        };
        // Never fewer days than the calendar gives to that many years.
        let years = default.years.map(|years| years.saturating_mul(365).saturating_add(years / 4 + 1));
        Some(Retention { mode, days: default.days.filter(|days| *days > 0).or(years)? })
    });
    Ok(Some(ObjectLock { default }))
}

#[derive(Deserialize)]
struct VersioningXml {
    #[serde(rename = "Status")]
    status: Option<String>,
}

#[derive(Deserialize)]
struct ObjectLockXml {
    #[serde(rename = "ObjectLockEnabled")]
    enabled: Option<String>,
    #[serde(rename = "Rule")]
    rule: Option<RuleXml>,
}

#[derive(Deserialize)]
struct RuleXml {
    #[serde(rename = "DefaultRetention")]
    default: Option<RetentionXml>,
}

#[derive(Deserialize)]
struct RetentionXml {
    #[serde(rename = "Mode")]
    mode: Option<String>,
    #[serde(rename = "Days")]
    days: Option<u32>,
    #[serde(rename = "Years")]
    years: Option<u32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(rule: &str) -> Option<ObjectLock> {
        let head = "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ObjectLockConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">";
        let text = format!("{head}<ObjectLockEnabled>Enabled</ObjectLockEnabled>{rule}</ObjectLockConfiguration>");
        parse_object_lock(&text).unwrap()
    }

    #[test]
    fn a_buckets_lock_is_read_with_and_without_a_default() {
        assert_eq!(lock(""), Some(ObjectLock { default: None }));
        let rule = |inner: &str| format!("<Rule><DefaultRetention>{inner}</DefaultRetention></Rule>");
        let days = lock(&rule("<Mode>GOVERNANCE</Mode><Days>30</Days>"));
        let thirty = Retention { mode: LockMode::Governance, days: 30 };
        assert_eq!(days, Some(ObjectLock { default: Some(thirty) }));
        let years = lock(&rule("<Mode>COMPLIANCE</Mode><Years>4</Years>"));
        let four = Retention { mode: LockMode::Compliance, days: 1462 };
        assert_eq!(years, Some(ObjectLock { default: Some(four) }));
        assert_eq!(parse_object_lock("<ObjectLockConfiguration></ObjectLockConfiguration>").unwrap(), None);
        assert!(parse_object_lock("<html>").is_err());
    }
}
