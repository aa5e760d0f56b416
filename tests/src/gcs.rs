//! A stand-in for Google Cloud Storage: an in-memory server of ours, for want of a real one.
//!
//! object_store speaks GCS' XML dialect, and no emulator in a package registry does (they speak the JSON one). So this
//! speaks exactly the exchanges that object_store makes, as Google documents them: PUT with
//! `x-goog-if-generation-match`, GET and HEAD with ranges, ETag and `x-goog-generation`, `list-type=2`, DELETE, and the
//! XML multipart upload. It shows that our side is right in these; that Google's is, it cannot show. It checks no token.

mod answers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use chrono::{DateTime, Utc};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpListener;

use crate::bucket::{Bucket, Kind, fresh_name};
use crate::runtime;
use answers::{Page, Refusal, answer, deleted, object, pages};

/// Stands in the account that clients are given, and must show nowhere.
pub(crate) const SECRET: &str = "canary-service-account-key";

/// A service account's JSON that leads object_store here and asks nobody for a token.
pub(crate) fn account(endpoint: &str) -> String {
    serde_json::json!({
        "gcs_base_url": endpoint,
        "disable_oauth": true,
        "client_email": "",
        "private_key": "",
        "private_key_id": SECRET,
    })
    .to_string()
}

/// The running server. It ends with this value.
#[derive(Debug)]
pub struct Gcs {
    endpoint: String,
    buckets: Shared,
    task: tokio::task::JoinHandle<()>,
}

type Shared = Arc<Mutex<BTreeMap<String, Contents>>>;

#[derive(Debug, Default)]
struct Contents {
    objects: BTreeMap<String, Object>,
    uploads: BTreeMap<String, Parts>,
    /// Of the newest object or upload.
    generation: u64,
    /// Whether a rule drops uploads that nobody finished.
    drops_uploads: bool,
}

#[derive(Clone, Debug)]
struct Object {
    bytes: Bytes,
    generation: u64,
    e_tag: String,
    modified: DateTime<Utc>,
}

/// An upload under way: its object's name, and its parts by number, each with its tag.
#[derive(Debug)]
struct Parts {
    name: String,
    parts: BTreeMap<u32, (String, Bytes)>,
}

impl Gcs {
    pub fn start() -> Self {
        let buckets = Shared::default();
        let listener = runtime::block_on(TcpListener::bind(("127.0.0.1", 0))).expect("loopback has a free port");
        let endpoint = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
        let router = Router::new().fallback(serve).with_state(buckets.clone());
        let task = runtime::handle().spawn(async move { axum::serve(listener, router).await.expect("it serves") });
        Self { endpoint, buckets, task }
    }

    /// One server for all tests of this binary: each takes a bucket of its own.
    pub fn shared() -> &'static Self {
        static SHARED: OnceLock<Gcs> = OnceLock::new();
        SHARED.get_or_init(Self::start)
    }

    /// A fresh, empty bucket.
    pub fn bucket(&self) -> Bucket {
        let name = fresh_name();
        lock(&self.buckets).insert(name.clone(), Contents::default());
        Bucket { kind: Kind::Gcs, name, endpoint: self.endpoint.clone() }
    }

    /// Gives a bucket the lifecycle rule that drops uploads which nobody finished.
    pub fn drop_unfinished_uploads(&self, bucket: &Bucket) {
        lock(&self.buckets).get_mut(&bucket.name).expect("the bucket is there").drops_uploads = true;
    }

    /// How many uploads of a bucket are neither finished nor aborted.
    pub fn uploads(&self, bucket: &Bucket) -> usize {
        lock(&self.buckets).get(&bucket.name).map_or(0, |contents| contents.uploads.len())
    }
}

impl Drop for Gcs {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(buckets: &Shared) -> MutexGuard<'_, BTreeMap<String, Contents>> {
    buckets.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a request asks for.
struct Asked {
    bucket: String,
    /// Empty: the bucket itself.
    name: String,
    query: BTreeMap<String, String>,
    headers: HeaderMap,
    body: Bytes,
}

impl Asked {
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

async fn serve(State(buckets): State<Shared>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // A client that is cut off while it sends has sent nothing.
    let Ok(body) = axum::body::to_bytes(body, usize::MAX).await else {
        return Refusal(StatusCode::BAD_REQUEST, "IncompleteBody").into();
    };
    let path = parts.uri.path().trim_start_matches('/');
    let (bucket, name) = path.split_once('/').unwrap_or((path, ""));
    let query = url::form_urlencoded::parse(parts.uri.query().unwrap_or("").as_bytes()).into_owned().collect();
    let asked = Asked { bucket: decoded(bucket), name: decoded(name), query, headers: parts.headers, body };
    let mut buckets = lock(&buckets);
    let Some(contents) = buckets.get_mut(&asked.bucket) else {
        return Refusal(StatusCode::NOT_FOUND, "NoSuchBucket").into();
    };
    contents.serve(&parts.method, &asked).unwrap_or_else(Response::from)
}

/// Undoes percent signs. object_store writes everything else that is special with them too, a plus sign among it.
fn decoded(text: &str) -> String {
    url::form_urlencoded::parse(format!("x={text}").as_bytes()).next().map_or(String::new(), |(_, value)| value.into())
}

impl Contents {
    fn serve(&mut self, method: &Method, asked: &Asked) -> Result<Response, Refusal> {
        let upload = asked.query.get("uploadId");
        match (method.as_str(), upload) {
            ("GET", _) if asked.name.is_empty() && asked.query.contains_key("lifecycle") => Ok(self.lifecycle()),
            ("GET", _) if asked.name.is_empty() => Ok(self.list(&asked.query)),
            ("GET" | "HEAD", _) => self.get(asked),
            ("PUT", Some(id)) => self.put_part(id, asked),
            ("PUT", None) => self.put(asked),
            ("POST", Some(id)) => self.complete(id, asked),
            ("POST", None) if asked.query.contains_key("uploads") => Ok(self.initiate(asked)),
            ("DELETE", Some(id)) => self.abort(id),
            ("DELETE", None) => self.delete(&asked.name),
            _ => Err(Refusal(StatusCode::NOT_IMPLEMENTED, "NotImplemented")),
        }
    }

    fn list(&self, query: &BTreeMap<String, String>) -> Response {
        let text = |name: &str| query.get(name).map_or("", String::as_str);
        let after = text("continuation-token").max(text("start-after"));
        let limit = query.get("max-keys").and_then(|keys| keys.parse().ok()).unwrap_or(1000).min(1000);
        let page = Page { prefix: text("prefix"), delimiter: text("delimiter"), after, limit };
        pages(&self.objects, &page)
    }

    fn lifecycle(&self) -> Response {
        let action = "<Action><AbortIncompleteMultipartUpload/></Action><Condition><Age>2</Age></Condition>";
        let rules = if self.drops_uploads { format!("<Rule>{action}</Rule>") } else { String::new() };
        answer(&[], Body::from(format!("<LifecycleConfiguration>{rules}</LifecycleConfiguration>")))
    }

    fn get(&self, asked: &Asked) -> Result<Response, Refusal> {
        let found = self.objects.get(&asked.name).ok_or(Refusal(StatusCode::NOT_FOUND, "NoSuchKey"))?;
        if asked.header("if-match").is_some_and(|wanted| wanted != found.e_tag) {
            return Err(Refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
        }
        object(found, asked.header("range"))
    }

    /// Generation 0 means: only if there is none.
    fn put(&mut self, asked: &Asked) -> Result<Response, Refusal> {
        let there = self.objects.get(&asked.name).map_or(0, |object| object.generation);
        if let Some(wanted) = asked.header("x-goog-if-generation-match")
            && wanted != there.to_string()
        {
            return Err(Refusal(StatusCode::PRECONDITION_FAILED, "PreconditionFailed"));
        }
        let object = self.keep(&asked.name, asked.body.clone());
        Ok(answer(&[("etag", object.e_tag), ("x-goog-generation", object.generation.to_string())], Body::empty()))
    }

    fn keep(&mut self, name: &str, bytes: Bytes) -> Object {
        self.generation += 1;
        let (e_tag, generation) = (tag(&bytes), self.generation);
        let object = Object { bytes, generation, e_tag, modified: Utc::now() };
        self.objects.insert(name.to_owned(), object.clone());
        object
    }

    fn delete(&mut self, name: &str) -> Result<Response, Refusal> {
        self.objects.remove(name).map(|_| deleted()).ok_or(Refusal(StatusCode::NOT_FOUND, "NoSuchKey"))
    }

    fn initiate(&mut self, asked: &Asked) -> Response {
        self.generation += 1;
        let id = format!("upload-{}", self.generation);
        self.uploads.insert(id.clone(), Parts { name: asked.name.clone(), parts: BTreeMap::new() });
        let text = format!(
            "<InitiateMultipartUploadResult><Bucket>{}</Bucket><UploadId>{id}</UploadId></InitiateMultipartUploadResult>",
            asked.bucket
        );
        answer(&[], Body::from(text))
    }

    fn upload(&mut self, id: &str) -> Result<&mut Parts, Refusal> {
        self.uploads.get_mut(id).ok_or(Refusal(StatusCode::NOT_FOUND, "NoSuchUpload"))
    }

    fn put_part(&mut self, id: &str, asked: &Asked) -> Result<Response, Refusal> {
        let number = asked.query.get("partNumber").and_then(|number| number.parse().ok());
        let number = number.filter(|number| (1..=10_000).contains(number));
        let number: u32 = number.ok_or(Refusal(StatusCode::BAD_REQUEST, "InvalidArgument"))?;
        let e_tag = tag(&asked.body);
        self.upload(id)?.parts.insert(number, (e_tag.clone(), asked.body.clone()));
        Ok(answer(&[("etag", e_tag)], Body::empty()))
    }

    /// Every part but the last has at least 5 MiB, and those that the client names are those that came.
    fn complete(&mut self, id: &str, asked: &Asked) -> Result<Response, Refusal> {
        let named = String::from_utf8_lossy(&asked.body).into_owned();
        let upload = self.upload(id)?;
        let last = upload.parts.keys().next_back().copied().unwrap_or(0);
        if upload.parts.iter().any(|(number, (_, part))| *number != last && part.len() < 5 << 20) {
            return Err(Refusal(StatusCode::BAD_REQUEST, "EntityTooSmall"));
        }
        let missing = |(number, (tag, _)): (&u32, &(String, Bytes))| {
            !named.contains(&format!("<PartNumber>{number}</PartNumber>")) || !named.contains(tag.as_str())
        };
        if upload.parts.is_empty()
            || upload.parts.iter().any(missing)
            || named.matches("<Part>").count() != upload.parts.len()
        {
            return Err(Refusal(StatusCode::BAD_REQUEST, "InvalidPart"));
        }
        let whole: Vec<u8> = upload.parts.values().flat_map(|(_, part)| part.iter().copied()).collect();
        let name = upload.name.clone();
        self.uploads.remove(id);
        let object = self.keep(&name, whole.into());
        let text =
            format!("<CompleteMultipartUploadResult><ETag>{}</ETag></CompleteMultipartUploadResult>", object.e_tag);
        Ok(answer(&[("x-goog-generation", object.generation.to_string())], Body::from(text)))
    }

    fn abort(&mut self, id: &str) -> Result<Response, Refusal> {
        self.upload(id)?;
        self.uploads.remove(id);
        Ok(deleted())
    }
}

/// A quoted tag of the content.
fn tag(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    format!("\"{}\"", digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect::<String>())
}
