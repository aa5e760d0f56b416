//! One sealed object up to a bucket, or down from it, as a backup sends it and a fetch reads it. For `tests/bench`.
//!
//!     transfer up|down FILE NAME URL [OPTION=VALUE...]
//!
//! `up` sends FILE in the pieces that the sealer hands on. `down` reads the object and holds each chunk against FILE.sums,
//! which stands in for the sums that a manifest signs; what was checked is dropped. NAME is the blob of a backup of the
//! cluster `bench`.

use std::collections::BTreeMap;
use std::io::Read as _;

use bytes::BytesMut;
use futures::TryStreamExt as _;
use lifeboat::config::{ClusterName, StoreConfig};
use lifeboat::seal::{CHUNK_BYTES, Sums};
use lifeboat::store::{Kind, Layout, ObjectKey, Store};
use lifeboat_tests::runtime;

/// As long as those of the sealer.
const PIECE_BYTES: usize = 256 << 10;

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    runtime::use_ring();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [way, file, name, url, options @ ..] = arguments.as_slice() else {
        return Err("usage: transfer up|down FILE NAME URL [OPTION=VALUE...]".into());
    };
    let options: Option<BTreeMap<String, String>> = options
        .iter()
        .map(|pair| pair.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect();
    let options = options.ok_or("an option is written NAME=VALUE")?;
    let store = Store::open(&StoreConfig { options, ..StoreConfig::plain("main", url.as_str()) })?;
    let key = match Layout::new(&ClusterName::parse("bench")?).parse(name) {
        Some((_, Kind::Blob, key)) => key,
        _ => return Err(format!("{name} is not the name of a blob").into()),
    };
    match way.as_str() {
        "up" => up(&store, &key, file).await,
        "down" => down(&store, &key, file).await,
        other => Err(format!("{other} is neither up nor down").into()),
    }
}

async fn up(store: &Store, key: &ObjectKey, file: &str) -> Result<(), Failed> {
    let mut file = std::fs::File::open(file)?;
    let mut upload = store.upload(key).await?;
    loop {
        let mut piece = BytesMut::zeroed(PIECE_BYTES);
        // A cached file, and a short wait for the thread that does it: as short as for the sealer's channel.
        let count = file.read(&mut piece)?;
        if count == 0 {
            break;
        }
        piece.truncate(count);
        upload.write(piece.freeze()).await?;
    }
    Ok(upload.finish().await?)
}

async fn down(store: &Store, key: &ObjectKey, file: &str) -> Result<(), Failed> {
    let bytes = std::fs::metadata(file)?.len();
    let sums = Sums::parse(&std::fs::read_to_string(format!("{file}.sums"))?, bytes)?;
    let checked = store.read_checked(key, bytes, CHUNK_BYTES, move |index, chunk| sums.matches(index, chunk));
    let came = checked.try_fold(0, |came, chunk| std::future::ready(Ok(came + chunk.len() as u64))).await?;
    if came == bytes { Ok(()) } else { Err(format!("{came} bytes came of {bytes}").into()) }
}
