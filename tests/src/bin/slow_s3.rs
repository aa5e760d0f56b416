//! A SeaweedFS with an empty bucket, and a second way to it on which everything is late, until standard input ends.
//! For `tests/bench`.
//!
//!     slow_s3 MILLISECONDS_EACH_WAY
//!
//! Prints one line of JSON: `endpoint`, `late_endpoint`, `bucket`, and `options`, what a client needs beside an endpoint.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::time::Duration;

use lifeboat_tests::proxy::{Proxy, Weather};
use lifeboat_tests::s3::S3;

type Failed = Box<dyn std::error::Error>;

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [late] = arguments.as_slice() else {
        return Err("usage: slow_s3 MILLISECONDS_EACH_WAY".into());
    };
    let latency = Duration::from_millis(late.parse()?);
    let server = S3::start();
    let bucket = server.bucket();
    let proxy = Proxy::before(&bucket.endpoint);
    proxy.set(Weather { latency, ..Weather::default() });
    let options: BTreeMap<_, _> = bucket.options().into_iter().filter(|(name, _)| *name != "endpoint").collect();
    let line = serde_json::json!({
        "endpoint": bucket.endpoint, "late_endpoint": proxy.endpoint(), "bucket": bucket.name, "options": options,
    });
    println!("{line}");
    // The server ends with this process, and this process with whoever asked for it.
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
