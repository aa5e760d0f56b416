//! Fills an etcd with objects like Kubernetes' own, fast: `fill ENDPOINT DB_BYTES`. For `tests/bench`.
//!
//! Every value follows from its number alone, so two fills differ only in the order in which transactions met.

use std::fmt::Write as _;

use etcd_client::{Client, Txn, TxnOp};
use futures::{StreamExt as _, TryStreamExt as _};

/// Puts of one transaction; etcd takes 128 at most.
const PUTS: u64 = 100;
const IN_FLIGHT: usize = 8;
/// Transactions between two looks at the database's size.
const ROUND: u64 = 200;
/// One put in so many writes an existing key again, as status updates do.
const UPDATE_EVERY: u64 = 8;
/// The rounds after which half of the history is compacted, so that the file has free and reused pages.
const COMPACT_EVERY: u64 = 8;

/// What objects are made of: the parts that repeat, with places for those that do not: 16 hex digits, a small number,
/// a key or certificate. Together they compress to about a third.
const PARTS: [&str; 12] = [
    "\"metadata\":{\"name\":\"web-@\",\"namespace\":\"team-#\",\"uid\":\"@-@\",\"resourceVersion\":\"#\",\"generation\":1,",
    "\"labels\":{\"app.kubernetes.io/name\":\"web\",\"app.kubernetes.io/instance\":\"web-#\",\"pod-template-hash\":\"@\"},",
    "\"ownerReferences\":[{\"apiVersion\":\"apps/v1\",\"kind\":\"ReplicaSet\",\"name\":\"web-@\",\"uid\":\"@-@\"}],",
    "\"managedFields\":[{\"manager\":\"kube-controller-manager\",\"operation\":\"Update\",\"fieldsType\":\"FieldsV1\",",
    "\"fieldsV1\":{\"f:metadata\":{\"f:generateName\":{},\"f:labels\":{\".\":{},\"f:app\":{},\"f:pod-template-hash\":{}}}}}],",
    "\"containers\":[{\"name\":\"web\",\"image\":\"registry.example/team-#/web@sha256:@@@@\",\"ports\":[{\"containerPort\":80#}],",
    "\"resources\":{\"limits\":{\"cpu\":\"#m\",\"memory\":\"#Mi\"},\"requests\":{\"cpu\":\"#m\",\"memory\":\"#Mi\"}},",
    "\"env\":[{\"name\":\"POD_IP\",\"valueFrom\":{\"fieldRef\":{\"fieldPath\":\"status.podIP\"}}},{\"name\":\"TOKEN\",\"value\":\"@@@\"}],",
    "\"tolerations\":[{\"key\":\"node.kubernetes.io/not-ready\",\"operator\":\"Exists\",\"effect\":\"NoExecute\"}],",
    "\"conditions\":[{\"type\":\"Ready\",\"status\":\"True\",\"lastTransitionTime\":\"2026-11-23T02:#:#Z\",\"observedGeneration\":#}],",
    "\"containerStatuses\":[{\"containerID\":\"containerd://@@@@\",\"imageID\":\"sha256:@@@@\",\"ready\":true,\"restartCount\":#}],",
    "\"data\":{\"ca.crt\":\"$$\",\"tls.key\":\"$$$$$\"},",
];

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
    let mut random = Random::of(number);
    // Within a transaction no key may come twice: an update takes the key of the transaction before.
    let object = if number >= PUTS && number.is_multiple_of(UPDATE_EVERY) { number - PUTS } else { number };
    let key = format!("/registry/pods/team-{}/web-{object:08x}", object % 97);
    TxnOp::put(key, value(&mut random), None)
}

/// 200 bytes to 8 KiB, small ones more often than large ones.
fn value(random: &mut Random) -> String {
    let large = 200 + random.below((8 << 10) - 200);
    let length = 200 + usize::try_from(random.below(large)).unwrap_or(0);
    let mut text = String::with_capacity(length + 256);
    text.push_str("{\"kind\":\"Pod\",\"apiVersion\":\"v1\",");
    while text.len() < length {
        let part = PARTS[usize::try_from(random.below(12)).unwrap_or(0)];
        for letter in part.chars() {
            // Writing to a String cannot fail.
            let _ = match letter {
                '@' => write!(text, "{:016x}", random.next()),
                '$' => (0..20).try_for_each(|_| write!(text, "{:016x}", random.next())),
                '#' => write!(text, "{}", random.below(1000)),
                other => text.write_char(other),
            };
        }
    }
    text.truncate(length);
    text
}

/// splitmix64.
struct Random(u64);

impl Random {
    /// A sequence of its own for every number: neighbours must share nothing that a compressor could find.
    fn of(number: u64) -> Self {
        Random(Random(number).next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }
}
