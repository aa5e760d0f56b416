//! The capture stage against a fake member that misbehaves, and against real ones.

mod auth;
mod cluster;
mod stream;
mod survey;
mod tls;

use lifeboat::capture::{Capture, Member, open, survey};
use lifeboat::config::{Compare, Etcd, Limits, Members, SlowStore};
use lifeboat::error::{Error, Result};
use std::time::Duration;

const MINUTE: Duration = Duration::from_secs(60);

fn etcd(endpoints: &[&str]) -> Etcd {
    Etcd {
        endpoints: endpoints.iter().map(|&endpoint| endpoint.to_owned()).collect(),
        members: Members::Discover,
        tls: None,
        user: None,
        password_file: None,
        compare: Compare::All,
    }
}

fn limits() -> Limits {
    Limits {
        backup: 10 * MINUTE,
        stall: Duration::from_millis(300),
        stream: MINUTE,
        compare: MINUTE,
        prove: MINUTE,
        slow_store: SlowStore::Spool,
    }
}

/// Surveys and returns the first member to try.
async fn first(etcd: &Etcd) -> Result<Member> {
    Ok(survey(etcd).await?.members.remove(0))
}

/// Reads to the end.
async fn drain(capture: &mut Capture) -> Result<Vec<u8>> {
    let mut all = Vec::new();
    while let Some(chunk) = capture.next().await? {
        assert!(!chunk.is_empty(), "a chunk without bytes was handed out");
        all.extend_from_slice(&chunk);
    }
    Ok(all)
}

/// Opens the member's snapshot and reads it to the end.
async fn take(etcd: &Etcd, member: &Member, limits: &Limits) -> Result<Vec<u8>> {
    let mut capture = open(etcd, member, limits, MINUTE).await?;
    drain(&mut capture).await
}

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let text = format!("{error} / {}", error.hint.as_deref().unwrap_or("no hint"));
    for word in words {
        assert!(text.contains(word), "{word:?} is missing in: {text}");
    }
    assert!(error.hint.is_some(), "no next step in: {text}");
}
