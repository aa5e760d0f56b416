//! Real texts of real servers, each through the real client of its kind.

mod rows;

use super::classify;
use crate::error::Error;
use bytes::Bytes;
use futures::TryStreamExt as _;
use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _, PutMode, PutOptions, RetryConfig};
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

#[derive(Clone, Copy, Debug)]
enum Kind {
    S3,
    Gcs,
    Azure,
}

use crate::error::Reason::*;
use Kind::*;
use rows::{ROWS, Row};

/// The first byte of whoever speaks TLS.
const TLS_HANDSHAKE: u8 = 0x16;

/// Answers every request alike.
async fn serve(listener: TcpListener, status: u16, body: &'static str) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(answer(stream, status, body));
    }
}

async fn answer(mut stream: TcpStream, status: u16, body: &'static str) -> std::io::Result<()> {
    let mut request = Vec::new();
    let mut wanted = usize::MAX;
    while request.len() < wanted {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
        if request.first() == Some(&TLS_HANDSHAKE) {
            break;
        }
        let text = String::from_utf8_lossy(&request).to_lowercase();
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            wanted = head.len() + 4 + length.map_or(0, |length| length.trim().parse().unwrap());
        }
    }
    let head = format!("HTTP/1.1 {status} So\r\ncontent-length: {}\r\nconnection: close\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).await?;
    if !request.starts_with(b"HEAD") {
        stream.write_all(body.as_bytes()).await?;
    }
    stream.shutdown().await
}

fn store(kind: Kind, endpoint: &str) -> Arc<dyn ObjectStore> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    match kind {
        S3 => {
            let builder = AmazonS3Builder::new().with_bucket_name("bucket").with_endpoint(endpoint);
            let builder = builder.with_allow_http(true).with_access_key_id("key").with_secret_access_key("secret");
            Arc::new(builder.with_retry(retry).build().unwrap())
        }
        Gcs => {
            let account = format!(
                "{{\"gcs_base_url\":\"{endpoint}\",\"disable_oauth\":true,\"client_email\":\"\",\
                 \"private_key\":\"\",\"private_key_id\":\"\"}}"
            );
            let client = object_store::ClientOptions::new().with_allow_http(true);
            let builder = GoogleCloudStorageBuilder::new().with_bucket_name("bucket").with_client_options(client);
            Arc::new(builder.with_service_account_key(account).with_retry(retry).build().unwrap())
        }
        Azure => {
            let builder = MicrosoftAzureBuilder::new().with_container_name("bucket").with_account("account");
            let builder = builder.with_access_key("c2VjcmV0").with_endpoint(endpoint.to_owned()).with_allow_http(true);
            Arc::new(builder.with_retry(retry).build().unwrap())
        }
    }
}

async fn fail(kind: Kind, operation: &'static str, endpoint: &str) -> Error {
    let store = store(kind, endpoint);
    let path = Path::from("prod/manifest.json");
    let failed = match operation {
        "list" => store.list(None).try_collect::<Vec<_>>().await.map(drop),
        "read" => store.get(&path).await.map(drop),
        "head" => store.head(&path).await.map(drop),
        "delete" => store.delete(&path).await,
        _ => {
            let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
            store.put_opts(&path, Bytes::from_static(b"{}").into(), options).await.map(drop)
        }
    };
    let url = match kind {
        S3 => "s3://bucket",
        Gcs => "gs://bucket",
        Azure => "az://bucket",
    };
    classify(operation, "prod/manifest.json", url, failed.expect_err("the server refuses"))
}

#[tokio::test]
async fn every_refusal_is_told_by_the_next_move_of_its_reader() {
    for Row(kind, operation, status, body, reason, hint) in ROWS {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let server = tokio::spawn(serve(listener, *status, body));
        let error = fail(*kind, operation, &endpoint).await;
        server.abort();
        let row = format!("{kind:?} {operation} {status} {body}\n{error}\n{:?}", error.hint);
        assert_eq!(error.reason, *reason, "{row}");
        assert!(error.hint.as_deref().is_some_and(|told| told.contains(hint)), "{row}");
        assert_eq!(error.operation, Some(*operation), "{row}");
        assert!(error.to_string().contains("prod/manifest.json in"), "{row}");
    }
}

#[tokio::test]
async fn nobody_listening_a_name_without_an_address_and_a_server_without_tls_are_told_apart() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(serve(listener, 400, "this is no TLS"));
    let error = fail(S3, "list", &format!("https://{address}")).await;
    assert_eq!(error.reason, StoreTls, "{error}");
    assert!(error.hint.unwrap().contains("speaks no TLS"));
    server.abort();
    assert!(server.await.unwrap_err().is_cancelled()); // nobody listens any more
    let error = fail(S3, "list", &format!("http://{address}")).await;
    assert_eq!(error.reason, StoreUnreachable, "{error}");
    assert!(error.hint.unwrap().contains("the network"));
    let error = fail(S3, "list", "http://no-such-host.invalid").await;
    assert_eq!(error.reason, StoreUnreachable, "{error}");
    assert!(error.hint.unwrap().contains("no address"));
}

#[tokio::test]
async fn a_store_that_does_not_answer_in_time_is_slow_not_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let client = object_store::ClientOptions::new().with_allow_http(true);
    let client = client.with_timeout(std::time::Duration::from_millis(200));
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = AmazonS3Builder::new().with_bucket_name("bucket").with_endpoint(endpoint).with_retry(retry);
    let builder = builder.with_client_options(client).with_access_key_id("key").with_secret_access_key("secret");
    let source = builder.build().unwrap().get(&Path::from("x")).await.unwrap_err();
    let error = classify("read", "x", "s3://bucket", source);
    assert_eq!(error.reason, StoreTimeout, "{error}");
    drop(listener);
}

#[tokio::test]
async fn without_any_credentials_the_machine_that_has_none_is_named_not_the_store() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let _ = rustls::crypto::ring::default_provider().install_default();
    let retry = RetryConfig { max_retries: 0, ..RetryConfig::default() };
    // 127.0.0.1 stands in front of the address that clouds use: no test may ask a cloud's machine for its role.
    let proxy = object_store::ClientOptions::new().with_proxy_url(format!("http://{address}"));
    let builder = AmazonS3Builder::new().with_bucket_name("bucket").with_client_options(proxy).with_retry(retry);
    let source = builder.build().unwrap().get(&Path::from("x")).await.unwrap_err();
    let error = classify("read", "x", "s3://bucket", source);
    assert_eq!(error.reason, StoreDenied, "{error}");
    let hint = error.hint.as_deref().unwrap();
    assert!(hint.contains("none were given"), "{error}");
}

#[test]
fn a_folders_errors_are_this_machines_own() {
    use std::io::ErrorKind;
    let rows = [
        (ErrorKind::StorageFull, NoSpace, "free space"),
        (ErrorKind::QuotaExceeded, NoSpace, "free space"),
        (ErrorKind::PermissionDenied, StoreDenied, "owner and mode"),
        (ErrorKind::ReadOnlyFilesystem, StoreDenied, "read-only"),
        (ErrorKind::StaleNetworkFileHandle, StoreUnreachable, "check the mount"),
        (ErrorKind::TimedOut, StoreTimeout, "check the mount"),
        (ErrorKind::InvalidData, HostIo, "the kernel's log"),
    ];
    for (kind, reason, hint) in rows {
        let cause = std::io::Error::from(kind);
        let source = object_store::Error::Generic { store: "LocalFileSystem", source: Box::new(cause) };
        let error = classify("create", "prod/x", "file:///backups", source);
        assert_eq!(error.reason, reason, "{kind:?}");
        assert!(error.hint.unwrap().contains(hint), "{kind:?}");
    }
}

#[test]
fn a_port_in_an_address_is_no_status() {
    let source = "Error performing GET http://127.0.0.1:45031/b in 1ms - HTTP error: error sending request";
    let source = object_store::Error::Generic { store: "S3", source: source.into() };
    assert_eq!(classify("list", "prod", "s3://b", source).reason, StoreUnreachable);
}

#[test]
fn the_limit_of_the_retries_in_an_error_is_no_timeout() {
    let source = "Error performing PUT http://127.0.0.1:1/b in 1s, after 5 retries, max_retries: 5, retry_timeout: 120s  - \
                  HTTP error: error sending request: connection closed before message completed";
    let source = object_store::Error::Generic { store: "S3", source: source.into() };
    assert_eq!(classify("upload", "prod", "s3://b", source).reason, StoreUnreachable);
}
