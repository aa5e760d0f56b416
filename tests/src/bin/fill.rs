//! Fills an etcd with objects like Kubernetes' own, fast: `fill ENDPOINT DB_BYTES`. For `tests/bench`.
//!
//! Every value follows from its number alone, so two fills differ only in the order in which transactions met.

use etcd_client::{Client, Txn, TxnOp};
use futures::{StreamExt as _, TryStreamExt as _};
use lifeboat_tests::objects::{self, PUTS};

const IN_FLIGHT: usize = 8;
/// Transactions between two looks at the database's size.
const ROUND: u64 = 200;
/// The rounds after which half of the history is compacted, so that the file has free and reused pages.
const COMPACT_EVERY: u64 = 8;

type Failed = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, wanted] = arguments.as_slice() else {
        return Err("usage: fill ENDPOINT DB_BYTES".into());
    };
    let wanted: i64 = wanted.parse()?;
    let mut client = Client::connect([endpoint], None).await?;
    let mut round = 0;
    loop {
        let status = client.status().await?;
        if status.db_size() >= wanted {
            let revision = status.header().map_or(0, |header| header.revision());
            println!("{} bytes, {} puts, revision {revision}", status.db_size(), round * ROUND * PUTS);
            return Ok(());
        }
        write_round(&client, round).await?;
        round += 1;
        if round % COMPACT_EVERY == 0 {
            let revision = client.status().await?.header().map_or(0, |header| header.revision());
            client.compact(revision / 2, None).await?;
        }
    }
}

async fn write_round(client: &Client, round: u64) -> Result<(), etcd_client::Error> {
    let numbers = round * ROUND..(round + 1) * ROUND;
    futures::stream::iter(numbers)
        .map(|number| {
            let mut kv = client.kv_client();
            async move {
                let first = number * PUTS;
                let puts: Vec<TxnOp> = (first..first + PUTS).map(put).collect();
                kv.txn(Txn::new().and_then(puts)).await.map(drop)
            }
        })
        .buffer_unordered(IN_FLIGHT)
        .try_collect()
        .await
}

fn put(number: u64) -> TxnOp {
    TxnOp::put(objects::key(objects::object(number)), objects::value(number), None)
}
