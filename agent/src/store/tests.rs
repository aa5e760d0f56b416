//! What a store's own troubles look like from outside, told by a store in memory that has them on demand.

use super::*;
use crate::config::ClusterName;
use crate::store::key::Layout;
use futures::StreamExt as _;
use futures::stream::BoxStream;
use lifeboat_policy::id::BackupId;
use object_store::memory::InMemory;
use object_store::{
    CopyOptions, GetOptions, GetResult, GetResultPayload, ListResult, MultipartUpload, ObjectMeta, PutMultipartOptions,
    PutOptions, PutPayload, PutResult, UploadPart,
};
use std::collections::VecDeque;
use std::fmt;
use std::pin::Pin;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::time::Instant;

type Answer<'a, T> = Pin<Box<dyn Future<Output = object_store::Result<T>> + Send + 'a>>;

/// What becomes of the next request of a kind.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    None,
    /// Nothing is done and nothing is told but the failure.
    Fails,
    /// It is done, and the answer is lost.
    DoneThenFails,
    /// A "412" though nothing stands there.
    ConflictForNothing,
    Denied,
    /// An answer that ends after so many bytes, with an error or without.
    Cut(usize, bool),
    /// A body of which one byte is another.
    Spoilt,
}

#[derive(Debug, Default)]
struct Script {
    puts: Mutex<VecDeque<Trouble>>,
    gets: Mutex<VecDeque<Trouble>>,
    completes: Mutex<VecDeque<Trouble>>,
    /// Ranges that were asked for, and requests of each kind.
    asked: Mutex<Vec<Option<object_store::GetRange>>>,
    creates: AtomicUsize,
    multiparts: AtomicUsize,
    /// Parts under way now, and the most there were.
    flying: AtomicUsize,
    flew: AtomicUsize,
    aborts: AtomicUsize,
}

fn next(list: &Mutex<VecDeque<Trouble>>) -> Trouble {
    list.lock().unwrap().pop_front().unwrap_or(Trouble::None)
}

fn lost() -> object_store::Error {
    object_store::Error::Generic { store: "test", source: "operation timed out".into() }
}

#[derive(Debug, Clone)]
struct Troubled {
    inner: Arc<InMemory>,
    script: Arc<Script>,
}

impl fmt::Display for Troubled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("troubled")
    }
}

impl ObjectStore for Troubled {
    fn put_opts<'a, 'b, 'c>(&'a self, path: &'b Path, payload: PutPayload, options: PutOptions) -> Answer<'c, PutResult>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            self.script.creates.fetch_add(1, Ordering::SeqCst);
            match next(&self.script.puts) {
                Trouble::Fails => Err(lost()),
                Trouble::ConflictForNothing => {
                    Err(object_store::Error::AlreadyExists { path: path.to_string(), source: "412".into() })
                }
                Trouble::Denied => {
                    Err(object_store::Error::PermissionDenied { path: path.to_string(), source: "403".into() })
                }
                Trouble::DoneThenFails => {
                    self.inner.put_opts(path, payload, options).await?;
                    Err(lost())
                }
                _ => self.inner.put_opts(path, payload, options).await,
            }
        })
    }

    fn put_multipart_opts<'a, 'b, 'c>(
        &'a self,
        path: &'b Path,
        options: PutMultipartOptions,
    ) -> Answer<'c, Box<dyn MultipartUpload>>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            self.script.multiparts.fetch_add(1, Ordering::SeqCst);
            let inner = self.inner.put_multipart_opts(path, options).await?;
            tokio::time::sleep(ANSWERS_AFTER).await;
            let upload: Box<dyn MultipartUpload> = Box::new(TroubledUpload { inner, script: self.script.clone() });
            Ok(upload)
        })
    }

    fn get_opts<'a, 'b, 'c>(&'a self, path: &'b Path, options: GetOptions) -> Answer<'c, GetResult>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move {
            if options.head {
                return self.inner.get_opts(path, options).await;
            }
            self.script.asked.lock().unwrap().push(options.range.clone());
            let trouble = next(&self.script.gets);
            if let Trouble::Fails = trouble {
                return Err(lost());
            }
            let answer = self.inner.get_opts(path, options).await?;
            let (meta, range, attributes) = (answer.meta.clone(), answer.range.clone(), answer.attributes.clone());
            let extensions = answer.extensions.clone();
            let mut body = answer.bytes().await?.to_vec();
            let mut pieces = Vec::new();
            match trouble {
                Trouble::Spoilt => body[0] ^= 1,
                Trouble::Cut(at, _) => body.truncate(at),
                _ => {}
            }
            pieces.push(Ok(Bytes::from(body)));
            if let Trouble::Cut(_, true) = trouble {
                pieces.push(Err(lost()));
            }
            let payload = GetResultPayload::Stream(futures::stream::iter(pieces).boxed());
            Ok(GetResult { payload, meta, range, attributes, extensions })
        })
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    fn list_with_delimiter<'a, 'b, 'c>(&'a self, prefix: Option<&'b Path>) -> Answer<'c, ListResult>
    where
        'a: 'c,
        'b: 'c,
    {
        Box::pin(async move { self.inner.list_with_delimiter(prefix).await })
    }

    fn copy_opts<'a, 'b, 'c, 'd>(&'a self, from: &'b Path, to: &'c Path, options: CopyOptions) -> Answer<'d, ()>
    where
        'a: 'd,
        'b: 'd,
        'c: 'd,
    {
        Box::pin(async move { self.inner.copy_opts(from, to, options).await })
    }
}

/// How long after an upload was begun its beginner hears of it.
const ANSWERS_AFTER: Duration = Duration::from_millis(30);

#[derive(Debug)]
struct TroubledUpload {
    inner: Box<dyn MultipartUpload>,
    script: Arc<Script>,
}

impl MultipartUpload for TroubledUpload {
    fn put_part(&mut self, payload: PutPayload) -> UploadPart {
        let (sent, script) = (self.inner.put_part(payload), self.script.clone());
        Box::pin(async move {
            let now = script.flying.fetch_add(1, Ordering::SeqCst) + 1;
            script.flew.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            script.flying.fetch_sub(1, Ordering::SeqCst);
            sent.await
        })
    }

    fn complete<'a, 'b>(&'a mut self) -> Answer<'b, PutResult>
    where
        'a: 'b,
    {
        Box::pin(async move {
            match next(&self.script.completes) {
                Trouble::Fails => Err(lost()),
                Trouble::DoneThenFails => {
                    self.inner.complete().await?;
                    Err(lost())
                }
                _ => self.inner.complete().await,
            }
        })
    }

    fn abort<'a, 'b>(&'a mut self) -> Answer<'b, ()>
    where
        'a: 'b,
    {
        self.script.aborts.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { self.inner.abort().await })
    }
}

fn troubled() -> (Store, Arc<Script>) {
    let script = Arc::new(Script::default());
    let objects = Troubled { inner: Arc::new(InMemory::new()), script: script.clone() };
    (Store::over("main", "memory:///", Arc::new(objects)), script)
}

fn key() -> ObjectKey {
    let at = DateTime::from_timestamp(1_800_000_000, 0).unwrap();
    Layout::new(&ClusterName::parse("prod").unwrap()).blob(&BackupId::new(at, 7))
}

fn noise(bytes: usize) -> Bytes {
    (0..bytes).map(|at| ((at as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8).collect()
}

async fn send(store: &Store, bytes: &Bytes) -> Result<()> {
    let mut upload = store.upload_expecting(&key(), bytes.len() as u64).await?;
    for piece in bytes.chunks(300_001) {
        upload.write(Bytes::copy_from_slice(piece)).await?;
    }
    upload.finish().await
}

#[tokio::test(start_paused = true)]
async fn a_create_whose_answer_was_lost_is_a_success_if_its_bytes_are_there() {
    let (store, script) = troubled();
    script.puts.lock().unwrap().extend([Trouble::DoneThenFails]);
    store.create(&key(), Bytes::from("ours")).await.unwrap();
    assert_eq!(script.creates.load(Ordering::SeqCst), 1);
    store.create(&key(), Bytes::from("ours")).await.unwrap();
    for theirs in ["theirs", "much longer than what stands there", "x"] {
        let error = store.create(&key(), Bytes::from(theirs)).await.unwrap_err();
        assert_eq!(error.reason, Reason::StoreConflict, "{error}");
    }
    script.puts.lock().unwrap().extend([Trouble::Fails]);
    let error = store.create(&key(), Bytes::from("theirs")).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreConflict, "{error}");
    assert_eq!(store.read(&key(), 100).await.unwrap(), "ours");
}

#[tokio::test(start_paused = true)]
async fn a_create_that_left_nothing_is_tried_again_and_one_that_cannot_be_looked_up_is_told_as_it_failed() {
    let (store, script) = troubled();
    script.puts.lock().unwrap().extend([Trouble::Fails, Trouble::ConflictForNothing]);
    store.create(&key(), Bytes::from("ours")).await.unwrap();
    assert_eq!(script.creates.load(Ordering::SeqCst), 3);

    let (store, script) = troubled();
    script.puts.lock().unwrap().extend([Trouble::Fails; 9]);
    let error = store.create(&key(), Bytes::from("ours")).await.unwrap_err();
    assert_eq!((error.reason, error.operation), (Reason::StoreTimeout, Some("create")));
    assert_eq!(script.creates.load(Ordering::SeqCst), 4);

    let (store, script) = troubled();
    script.puts.lock().unwrap().extend([Trouble::DoneThenFails]);
    script.gets.lock().unwrap().extend([Trouble::Fails; 9]);
    let error = store.create(&key(), Bytes::from("ours")).await.unwrap_err();
    assert_eq!((error.reason, error.operation), (Reason::StoreTimeout, Some("create")));

    let (store, script) = troubled();
    script.puts.lock().unwrap().extend([Trouble::Denied]);
    let error = store.create(&key(), Bytes::from("ours")).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreDenied);
    assert_eq!(script.creates.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn less_than_a_part_is_one_create_and_more_goes_in_parts_of_which_few_fly() {
    let (store, script) = troubled();
    let small = noise((5 << 20) - 1);
    send(&store, &small).await.unwrap();
    assert_eq!((script.creates.load(Ordering::SeqCst), script.multiparts.load(Ordering::SeqCst)), (1, 0));
    assert!(store.read(&key(), 5 << 20).await.unwrap() == small);

    let (store, script) = troubled();
    let large = noise((42 << 20) + 17);
    send(&store, &large).await.unwrap();
    assert_eq!((script.creates.load(Ordering::SeqCst), script.multiparts.load(Ordering::SeqCst)), (0, 1));
    assert_eq!(script.flew.load(Ordering::SeqCst), 3);
    assert!(store.read(&key(), 64 << 20).await.unwrap() == large);
    assert_eq!(script.aborts.load(Ordering::SeqCst), 0);
}

#[tokio::test(start_paused = true)]
async fn an_upload_never_completes_over_an_object_that_stands_there() {
    let (store, script) = troubled();
    store.create(&key(), Bytes::from("ours")).await.unwrap();
    for bytes in [noise(1000), noise(6 << 20)] {
        let error = send(&store, &bytes).await.unwrap_err();
        assert_eq!(error.reason, Reason::StoreConflict, "{error}");
    }
    assert_eq!(store.read(&key(), 100).await.unwrap(), "ours");
    tokio::time::sleep(Duration::from_secs(1)).await; // the abort is a task of its own
    assert_eq!(script.aborts.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_is_given_up_before_the_store_has_told_its_name_is_aborted_when_it_does() {
    let (store, script) = troubled();
    let mut upload = store.upload(&key()).await.unwrap();
    let given_up = tokio::time::timeout(ANSWERS_AFTER / 2, upload.write(noise(6 << 20))).await;
    assert!(given_up.is_err());
    drop(upload);
    tokio::time::sleep(ANSWERS_AFTER * 2).await;
    assert_eq!((script.multiparts.load(Ordering::SeqCst), script.aborts.load(Ordering::SeqCst)), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_end_whose_answer_was_lost_is_looked_up() {
    let (store, script) = troubled();
    let bytes = noise(6 << 20);
    script.completes.lock().unwrap().extend([Trouble::Fails, Trouble::DoneThenFails]);
    let error = send(&store, &bytes).await.unwrap_err();
    assert_eq!(error.reason, Reason::StoreTimeout);
    send(&store, &bytes).await.unwrap();
    assert!(store.read(&key(), 64 << 20).await.unwrap() == bytes);
}

#[tokio::test(start_paused = true)]
async fn a_range_that_was_cut_is_gone_on_with_where_it_stopped() {
    let (store, script) = troubled();
    let bytes = noise(10_000);
    store.create(&key(), bytes.clone()).await.unwrap();
    script.gets.lock().unwrap().extend([Trouble::Cut(1000, true), Trouble::Fails, Trouble::Cut(2000, false)]);
    assert_eq!(store.read_range(&key(), 500..9000).await.unwrap(), bytes.slice(500..9000));
    let asked = script.asked.lock().unwrap().clone();
    let wanted =
        [500..9000, 1500..9000, 1500..9000, 3500..9000].map(|range| Some(object_store::GetRange::Bounded(range)));
    assert_eq!(asked, wanted);
}

#[tokio::test(start_paused = true)]
async fn a_small_object_whose_answer_was_cut_is_read_to_its_end() {
    let (store, script) = troubled();
    let bytes = noise(10_000);
    store.create(&key(), bytes.clone()).await.unwrap();
    for trouble in [Trouble::Cut(1000, true), Trouble::Cut(0, false)] {
        script.gets.lock().unwrap().extend([trouble]);
        assert_eq!(store.read(&key(), 10_000).await.unwrap(), bytes);
    }
    let whole = |from| Some(object_store::GetRange::Bounded(from..10_000));
    assert_eq!(*script.asked.lock().unwrap(), [None, whole(1000), None, whole(0)]);
}

#[tokio::test(start_paused = true)]
async fn a_range_is_given_up_after_a_few_tries_and_a_truncated_object_at_once() {
    let (store, script) = troubled();
    store.create(&key(), noise(10_000)).await.unwrap();
    script.gets.lock().unwrap().extend([Trouble::Fails; 20]);
    assert_eq!(store.read_range(&key(), 0..9000).await.unwrap_err().reason, Reason::StoreTimeout);
    assert_eq!(script.asked.lock().unwrap().len(), 4);
    script.gets.lock().unwrap().clear();
    let error = store.read_range(&key(), 9000..10_001).await.unwrap_err();
    assert_eq!(error.reason, Reason::Damaged);
    assert!(error.message.contains("1000 bytes came where 1001 were asked for"), "{error}");
    assert_eq!(script.asked.lock().unwrap().len(), 5);
}

#[tokio::test]
async fn a_chunk_that_came_damaged_is_read_once_more_before_the_object_is_condemned() {
    let (store, script) = troubled();
    let bytes = noise(50_000);
    store.create(&key(), bytes.clone()).await.unwrap();
    let (key, sent) = (key(), bytes.clone());
    let good = move |index: usize, chunk: &[u8]| sent.chunks(10_000).nth(index) == Some(chunk);
    script.gets.lock().unwrap().extend([Trouble::Spoilt]);
    let read: Vec<Bytes> = store.read_checked(&key, 50_000, 10_000, good).try_collect().await.unwrap();
    assert!(read.concat() == bytes);
    assert_eq!(script.asked.lock().unwrap().len(), 6);

    let never = |index: usize, _: &[u8]| index != 2;
    let read: Vec<Result<Bytes>> = store.read_checked(&key, 50_000, 10_000, never).collect().await;
    let error = read[2].as_ref().unwrap_err();
    assert_eq!(error.reason, Reason::Damaged);
    assert!(error.message.contains("between bytes 20000 and 30000") && error.message.contains("again"), "{error}");
    assert_eq!(read.iter().filter(|chunk| chunk.is_ok()).count(), 4);
}

#[tokio::test(start_paused = true)]
async fn all_clones_of_a_store_share_its_bandwidth() {
    let (mut store, _) = troubled();
    store.pace = Some(Arc::new(Pace::new(1 << 20)));
    let (other, bytes, start) = (store.clone(), noise(10 << 20), Instant::now());
    send(&store, &bytes).await.unwrap();
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
    let start = Instant::now();
    let key = key();
    let read: Vec<Bytes> = other.read_chunks(&key, 10 << 20, 4 << 20).try_collect().await.unwrap();
    assert!(read.concat() == bytes);
    assert!(start.elapsed() >= Duration::from_secs(9), "{:?}", start.elapsed());
}

#[test]
fn only_a_store_that_sums_what_arrives_is_believed_by_its_head() {
    // The program does it when it begins; another test of this process may have.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let store = |url: &str, options: &[(&str, &str)], read_back| {
        let options = options.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config =
            crate::config::StoreConfig { options, read_back, ..crate::config::StoreConfig::plain("main", url) };
        Store::open(&config).unwrap()
    };
    let s3 = "s3://backups/etcd";
    let (region, sum) = (("region", "eu-central-1"), ("checksum_algorithm", "sha256"));
    assert!(!store(s3, &[region, sum], ReadBack::Head).reads_back_all());
    assert!(store(s3, &[region], ReadBack::Head).reads_back_all());
    assert!(store(s3, &[region, sum], ReadBack::Full).reads_back_all());
    assert!(store("az://backups/etcd", &[("account_name", "a")], ReadBack::Head).reads_back_all());
}
