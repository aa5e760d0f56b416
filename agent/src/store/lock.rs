//! S3 object lock on every object that is created. object_store has no call for it, so this stands between it and the
//! network: it adds two headers to the requests that create objects, and signs those again.

use super::s3::{self, ObjectLock, Retention};
use crate::clock::{Clock as _, SystemClock};
use crate::config::{Lock, LockMode};
use chrono::{DateTime, Days, SecondsFormat, Utc};
use futures::future::BoxFuture;
use object_store::HeaderValue;
use object_store::aws::{AmazonS3, AwsAuthorizer};
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest, HttpResponse, HttpService};
use object_store::path::Path;
use object_store::signer::Method;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use tokio::sync::Mutex;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const DIGEST: &str = "x-amz-content-sha256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";

/// A bucket's default may be changed while an agent runs.
const DEFAULT_HOLDS_FOR: chrono::Duration = chrono::Duration::hours(1);

/// What an object is sent with: nothing where the bucket's own default already gives as much, and never less than it
/// gives, neither in days nor in strictness.
pub(super) fn retention(
    now: DateTime<Utc>,
    lock: Lock,
    default: Option<Retention>,
) -> Option<(LockMode, DateTime<Utc>)> {
    let strict = |mode: LockMode| mode == LockMode::Compliance;
    let (mut mode, mut days) = (lock.mode, lock.days);
    if let Some(default) = default {
        if default.days >= days && (strict(default.mode) || !strict(mode)) {
            return None;
        }
        days = days.max(default.days);
        if strict(default.mode) {
            mode = default.mode;
        }
    }
    Some((mode, now.checked_add_days(Days::new(days.into())).unwrap_or(DateTime::<Utc>::MAX_UTC)))
}

/// Makes clients lock what they create.
#[derive(Clone, Debug)]
pub(super) struct Locking(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    lock: Lock,
    /// Requests carry no signature.
    anonymous: bool,
    /// The store that these requests are of, once it is built; weak, since the store owns this.
    store: OnceLock<Weak<AmazonS3>>,
    default: Mutex<Option<Known>>,
    told: AtomicBool,
}

/// The bucket's default retention, and when it was read.
#[derive(Clone, Copy, Debug)]
struct Known {
    at: DateTime<Utc>,
    default: Option<Retention>,
}

impl Locking {
    pub fn new(lock: Lock, anonymous: bool) -> Locking {
        let (store, default, told) = (OnceLock::new(), Mutex::new(None), AtomicBool::new(false));
        Locking(Arc::new(Shared { lock, anonymous, store, default, told }))
    }

    /// The client that stands between object_store and this one.
    pub fn around(&self, plain: HttpClient) -> HttpClient {
        HttpClient::new(Service { plain, shared: self.0.clone() })
    }

    /// Hands over the store whose credentials sign; before that nothing can be created.
    pub fn of(&self, store: &Arc<AmazonS3>) {
        // Called once, right after the store was built.
        let _ = self.0.store.set(Arc::downgrade(store));
    }
}

#[derive(Debug)]
struct Service {
    plain: HttpClient,
    shared: Arc<Shared>,
}

impl HttpService for Service {
    fn call<'a, 'async_trait>(
        &'a self,
        mut request: HttpRequest,
    ) -> BoxFuture<'async_trait, Result<HttpResponse, HttpError>>
    where
        'a: 'async_trait,
        Self: 'async_trait,
    {
        Box::pin(async move {
            if creates(&request, self.shared.anonymous) {
                self.shared.lock(&self.plain, &mut request).await?;
            }
            self.plain.execute(request).await
        })
    }
}

/// A whole object in one request, or the beginning of one in parts. A part of an upload, a request to the machine's own
/// credentials and every question is something else.
fn creates(request: &HttpRequest, anonymous: bool) -> bool {
    let creates = match (request.method().as_str(), request.uri().query()) {
        ("PUT", None) => true,
        ("POST", Some(query)) => query.split('&').any(|pair| pair == "uploads" || pair == "uploads="),
        _ => false,
    };
    creates && (anonymous || scope(request).is_some())
}

/// Region and service that a request was signed for.
fn scope(request: &HttpRequest) -> Option<(String, String)> {
    let header = request.headers().get("authorization")?.to_str().ok()?;
    let (_, rest) = header.strip_prefix("AWS4-HMAC-SHA256 ")?.split_once("Credential=")?;
    let mut parts = rest.split(',').next()?.rsplit('/');
    let (_end, service, region) = (parts.next()?, parts.next()?, parts.next()?);
    Some((region.to_owned(), service.to_owned()))
}

impl Shared {
    async fn lock(&self, plain: &HttpClient, request: &mut HttpRequest) -> Result<(), HttpError> {
        let now = SystemClock.now();
        let store = self.store.get().and_then(Weak::upgrade).ok_or_else(|| failed(Gone))?;
        let default = self.default(&store, plain, now).await?;
        let Some((mode, until)) = retention(now, self.lock, default) else {
            return Ok(());
        };
        let until = until.to_rfc3339_opts(SecondsFormat::Secs, true);
        let until = HeaderValue::from_str(&until).map_err(failed)?;
        let mode = match mode {
            LockMode::Governance => HeaderValue::from_static("GOVERNANCE"),
            LockMode::Compliance => HeaderValue::from_static("COMPLIANCE"),
        };
        request.headers_mut().insert(MODE, mode);
        request.headers_mut().insert(UNTIL, until);
        sign_again(&store, request).await
    }

    /// What the bucket gives to objects that say nothing. Where it cannot be told, what the config says is sent.
    async fn default(
        &self,
        store: &AmazonS3,
        plain: &HttpClient,
        now: DateTime<Utc>,
    ) -> Result<Option<Retention>, HttpError> {
        if self.anonymous {
            return Ok(None);
        }
        let mut known = self.default.lock().await;
        if let Some(known) = known.filter(|known| (now - known.at).abs() < DEFAULT_HOLDS_FOR) {
            return Ok(known.default);
        }
        let answer = s3::ask(store, plain, Method::GET, &Path::default(), &[("object-lock", "")]).await;
        let answer = answer.map_err(failed)?;
        // A store that is busy will tell in a moment: object_store tries the whole request again.
        if answer.status == 429 || answer.status >= 500 && answer.status != 501 {
            return Err(HttpError::new(HttpErrorKind::Request, Busy(answer.status)));
        }
        // It would be refused, by most stores in words that help nobody.
        if s3::has_no_lock(&answer) {
            return Err(failed(NoObjectLock));
        }
        let default = match s3::parse_object_lock(&answer.body) {
            Ok(found) if answer.is_success() => found.and_then(|ObjectLock { default }| default),
            _ => {
                if !self.told.swap(true, Ordering::Relaxed) {
                    let (status, days) = (answer.status, self.lock.days);
                    tracing::warn!(
                        status,
                        days,
                        "the bucket's default retention cannot be read; objects are locked as the config says"
                    );
                }
                None
            }
        };
        *known = Some(Known { at: now, default });
        Ok(default)
    }
}

/// The same signature as before, over the new headers too: the digest of the body is the one that was signed already.
async fn sign_again(store: &AmazonS3, request: &mut HttpRequest) -> Result<(), HttpError> {
    let Some((region, service)) = scope(request) else {
        return Ok(());
    };
    let digest = request.headers().get(DIGEST).and_then(|digest| digest.to_str().ok()).unwrap_or_default();
    let (signs_payload, digest) = (digest != UNSIGNED, from_hex(digest));
    let credential = store.credentials().get_credential().await.map_err(failed)?;
    request.headers_mut().remove("authorization");
    AwsAuthorizer::new(&credential, &service, &region)
        .with_sign_payload(signs_payload)
        .try_authorize(request, digest.as_deref())
        .map_err(failed)
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    (text.len() == 64).then(|| pairs.collect())?
}

fn failed(source: impl std::error::Error + Send + Sync + 'static) -> HttpError {
    HttpError::new(HttpErrorKind::Unknown, source)
}

#[derive(Debug, thiserror::Error)]
#[error("the store was closed while an object was on its way")]
struct Gone;

#[derive(Debug, thiserror::Error)]
#[error("the bucket is missing object lock configuration")]
struct NoObjectLock;

#[derive(Debug, thiserror::Error)]
#[error("the store answered {0} when asked for the bucket's default retention")]
struct Busy(u16);

#[cfg(test)]
mod tests {
    use super::*;
    use LockMode::{Compliance, Governance};
    use object_store::client::HttpRequestBody;

    #[test]
    fn a_lock_is_never_weaker_or_shorter_than_what_the_bucket_gives_by_itself() {
        let now = DateTime::from_timestamp(1_795_400_000, 0).unwrap();
        let rows = [
            ((Compliance, 14), None, Some((Compliance, 14))),
            ((Governance, 14), Some((Governance, 14)), None),
            ((Governance, 14), Some((Governance, 30)), None),
            ((Governance, 14), Some((Compliance, 30)), None),
            ((Compliance, 14), Some((Compliance, 30)), None),
            ((Governance, 30), Some((Governance, 14)), Some((Governance, 30))),
            ((Compliance, 14), Some((Governance, 30)), Some((Compliance, 30))),
            ((Governance, 30), Some((Compliance, 14)), Some((Compliance, 30))),
            ((Compliance, 30), Some((Governance, 14)), Some((Compliance, 30))),
        ];
        for ((mode, days), default, wanted) in rows {
            let default = default.map(|(mode, days)| Retention { mode, days });
            let wanted = wanted.map(|(mode, days)| (mode, now + chrono::Duration::days(days)));
            assert_eq!(retention(now, Lock { mode, days }, default), wanted, "{mode:?} {days} {default:?}");
        }
    }

    fn request(method: &str, url: &str, signature: &str) -> HttpRequest {
        let mut request = HttpRequest::new(HttpRequestBody::empty());
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = url.parse().unwrap();
        if !signature.is_empty() {
            request.headers_mut().insert("authorization", HeaderValue::from_str(signature).unwrap());
        }
        request
    }

    #[test]
    fn exactly_the_requests_that_create_objects_are_locked() {
        let signed =
            "AWS4-HMAC-SHA256 Credential=AK/20261125/eu-central-1/s3/aws4_request, SignedHeaders=host, Signature=0";
        for (method, url, signature, anonymous, wanted) in [
            ("PUT", "http://h/b/k", signed, false, true),
            ("POST", "http://h/b/k?uploads=", signed, false, true),
            ("POST", "http://h/b/k?uploads", signed, false, true),
            ("PUT", "http://h/b/k?partNumber=1&uploadId=uploads", signed, false, false),
            ("POST", "http://h/b/k?uploadId=1", signed, false, false),
            ("POST", "http://h/b?delete", signed, false, false),
            ("GET", "http://h/b/k", signed, false, false),
            ("DELETE", "http://h/b/k", signed, false, false),
            ("PUT", "http://169.254.169.254/latest/api/token", "", false, false),
            ("PUT", "http://h/b/k", "", true, true),
        ] {
            let request = request(method, url, signature);
            assert_eq!(creates(&request, anonymous), wanted, "{method} {url} {signature}");
        }
        let region = scope(&request("PUT", "http://h/b/k", signed));
        assert_eq!(region, Some(("eu-central-1".to_owned(), "s3".to_owned())));
    }

    #[test]
    fn a_digest_is_read_from_its_digits() {
        assert_eq!(from_hex(&"0f".repeat(32)), Some(vec![15; 32]));
        for wrong in ["", "0f", "UNSIGNED-PAYLOAD", &"zz".repeat(32), "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"] {
            assert_eq!(from_hex(wrong), None);
        }
    }
}
