//! How long writes take while something else goes on: puts at a steady pace, each timed, until standard input ends.
//!
//!     latency ENDPOINT PUTS_PER_SECOND
//!
//! Prints one line of JSON: how many, and p50, p90, p99 and the longest in milliseconds. A put is timed from when it was due,
//! not from when it could be sent, so that one that holds up the next ones counts for all of them.

#![allow(clippy::disallowed_methods)] // it is about time

use std::io::Read as _;
use std::process::ExitCode;
use std::time::Duration;

use etcd_client::Client;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// Keys written in turn.
const KEYS: u64 = 100;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [endpoint, rate] = arguments.as_slice() else {
        eprintln!("usage: latency ENDPOINT PUTS_PER_SECOND");
        return ExitCode::from(2);
    };
    let Some(rate) = rate.parse::<u32>().ok().filter(|rate| *rate > 0) else {
        eprintln!("latency: {rate:?} is no number of puts per second");
        return ExitCode::from(2);
    };
    match measure(endpoint, rate).await {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("latency: etcd at {endpoint}: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn measure(endpoint: &str, rate: u32) -> Result<String, etcd_client::Error> {
    let mut client = Client::connect([endpoint], None).await?;
    let mut over = until_input_ends();
    let mut ticks = interval(Duration::from_secs(1) / rate);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut took = Vec::new();
    let mut number = 0;
    loop {
        let due: Instant = tokio::select! {
            _ = &mut over => break,
            due = ticks.tick() => due,
        };
        client.put(format!("/latency/{:03}", number % KEYS), number.to_string(), None).await?;
        took.push(due.elapsed().as_secs_f64() * 1000.0);
        number += 1;
    }
    took.sort_by(f64::total_cmp);
    let at = |share: f64| took.get(((took.len() as f64 * share) as usize).min(took.len().saturating_sub(1)));
    let [p50, p90, p99, longest] = [0.5, 0.9, 0.99, 1.0].map(|share| at(share).copied().unwrap_or_default());
    let line = serde_json::json!({ "puts": took.len(), "p50": p50, "p90": p90, "p99": p99, "longest": longest });
    Ok(line.to_string())
}

fn until_input_ends() -> oneshot::Receiver<()> {
    let (send, receive) = oneshot::channel();
    std::thread::spawn(move || {
        let mut rest = Vec::new();
        let ended = std::io::stdin().read_to_end(&mut rest);
        drop(ended);
        // Whoever waited may be gone already.
        let _ = send.send(());
    });
    receive
}
