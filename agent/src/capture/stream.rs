//! One open snapshot stream, watched: bytes must keep coming, all that were announced must come, and in time.

use super::connect::reach;
use super::explain::{Chain, explain, inner, refusal, told};
use super::member::{Member, ids};
use crate::config::{Etcd, Limits};
use crate::error::{Error, Reason, Result};
use bytes::Bytes;
use etcd_client::{Client, SnapshotResponse, SnapshotStreaming};
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Sleep;

/// etcd appends the SHA-256 of the database to the database.
const TRAILER: u64 = 32;
/// A healthy member sends none at all; a broken one sends them for ever.
const MAX_EMPTY_IN_A_ROW: u32 = 3;

/// An open stream. Dropping it cancels the call at once, which is also a kindness to a member that spins.
///
/// The limits are looked at inside `next`: a caller that may be held up elsewhere bounds its own work and drops this.
pub struct Capture {
    etcd: Etcd,
    member: Member,
    state: State,
    first: Option<Bytes>,
    storage_version: String,
    expected: u64,
    received: u64,
    empty_in_a_row: u32,
    stall: Duration,
    within: Duration,
    out_of_time: Pin<Box<Sleep>>,
}

enum State {
    Live(Box<Live>),
    Complete,
    Failed,
}

/// The stream, and the client whose connection it lives on.
struct Live {
    stream: SnapshotStreaming,
    _client: Client,
}

/// Opens the member's snapshot stream and waits for its first bytes.
///
/// `deadline` is what the caller's run has left; the stream ends at it or after `limits.stream`, whichever is first.
/// The member must still be the one that was surveyed, in the same cluster, on this very connection.
pub async fn open(etcd: &Etcd, member: &Member, limits: &Limits, deadline: Duration) -> Result<Capture> {
    let within = limits.stream.min(deadline);
    let mut out_of_time = Box::pin(tokio::time::sleep(within));
    tokio::select! {
        biased;
        () = &mut out_of_time => Err(over_time(member, within, 0, None)),
        opened = start(etcd, member, limits) => {
            let (live, head) = opened?;
            Capture::begin(etcd, member, limits, within, out_of_time, live, head)
        }
    }
}

async fn start(etcd: &Etcd, member: &Member, limits: &Limits) -> Result<(Live, SnapshotResponse)> {
    let endpoint = member.endpoint.as_str();
    let (mut client, status) = reach(etcd, endpoint).await?;
    same_member(member, ids(&status))?;
    let opening = async {
        let mut stream = client.snapshot().await?;
        let head = stream.message().await?;
        Ok::<_, etcd_client::Error>((stream, head))
    };
    match tokio::time::timeout(limits.stall, opening).await {
        Ok(Ok((stream, Some(head)))) => Ok((Live { stream, _client: client }, head)),
        Ok(Ok((_, None))) => Err(stalled(member, "ended its snapshot before the first byte".to_owned())),
        Ok(Err(error)) => Err(explain(etcd, endpoint, "snapshot", error).await),
        Err(_) => Err(stalled(member, format!("sent no byte of a snapshot for {:?}", limits.stall))),
    }
}

fn same_member(member: &Member, (cluster_id, member_id): (u64, u64)) -> Result<()> {
    if (cluster_id, member_id) == (member.cluster_id, member.member_id) {
        return Ok(());
    }
    let message = format!(
        "{} now answers as member {member_id:x} of cluster {cluster_id:x}, not as {:x} of {:x}",
        member.endpoint, member.member_id, member.cluster_id
    );
    Err(Error::new(Reason::EtcdUnhealthy, message)
        .on("snapshot", &member.endpoint)
        .hint("the endpoint was given to another member or cluster: check etcd.endpoints"))
}

impl Capture {
    fn begin(
        etcd: &Etcd,
        member: &Member,
        limits: &Limits,
        within: Duration,
        out_of_time: Pin<Box<Sleep>>,
        live: Live,
        mut head: SnapshotResponse,
    ) -> Result<Capture> {
        let blob = std::mem::take(&mut head.0.blob);
        let announced = count(&blob).saturating_add(head.0.remaining_bytes);
        let mut capture = Capture {
            etcd: etcd.clone(),
            member: member.clone(),
            state: State::Live(Box::new(live)),
            first: None,
            storage_version: std::mem::take(&mut head.0.version),
            expected: announced.saturating_add(TRAILER),
            received: 0,
            empty_in_a_row: 0,
            stall: limits.stall,
            within,
            out_of_time,
        };
        capture.first = capture.take_in(blob)?;
        Ok(capture)
    }

    /// The member this comes from.
    pub fn member(&self) -> &Member {
        &self.member
    }

    /// All bytes the member announced: the database, and the 32 bytes of its SHA-256.
    pub fn expected_bytes(&self) -> u64 {
        self.expected
    }

    /// The bytes that came so far.
    pub fn received_bytes(&self) -> u64 {
        self.received
    }

    /// The storage schema version that the member announced, `3.6.0`; empty before etcd 3.6.
    pub fn storage_version(&self) -> &str {
        &self.storage_version
    }

    /// The next bytes; `None` when exactly the announced number came and the member ended the stream itself.
    ///
    /// After an error the call is already cancelled, and asking again is an error again.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let outcome = self.advance().await;
        match &outcome {
            Ok(Some(_)) => {}
            Ok(None) => self.state = State::Complete,
            Err(_) => self.state = State::Failed,
        }
        outcome
    }

    async fn advance(&mut self) -> Result<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        let Capture { state, out_of_time, stall, .. } = self;
        let live = match state {
            State::Live(live) => live,
            State::Complete => return Ok(None),
            State::Failed => return Err(self.stalled("had already failed in this snapshot")),
        };
        let mut empty = self.empty_in_a_row;
        let got = tokio::select! {
            biased;
            () = out_of_time => return Err(over_time(&self.member, self.within, self.received, Some(self.expected))),
            got = tokio::time::timeout(*stall, bytes_of(live, &mut empty)) => got,
        };
        self.empty_in_a_row = empty;
        match got {
            Err(_) => Err(self.stalled(&format!("sent no new bytes for {:?}", self.stall))),
            Ok(Err(error)) => Err(self.broken(error)),
            Ok(Ok(None)) => self.ended(),
            Ok(Ok(Some(blob))) => self.take_in(blob),
        }
    }

    /// Counts what came. `None` stands for an empty message that is still tolerated.
    fn take_in(&mut self, blob: Vec<u8>) -> Result<Option<Bytes>> {
        if blob.is_empty() {
            self.empty_in_a_row += 1;
            if self.empty_in_a_row >= MAX_EMPTY_IN_A_ROW {
                return Err(self.stalled(&format!("sent {MAX_EMPTY_IN_A_ROW} empty messages in a row")));
            }
            return Ok(None);
        }
        self.empty_in_a_row = 0;
        self.received = self.received.saturating_add(count(&blob));
        if self.received > self.expected {
            let message =
                format!("member {} announced {} bytes and has sent {}", self.member, self.expected, self.received);
            return Err(Error::new(Reason::Damaged, message)
                .on("snapshot", &self.member.endpoint)
                .hint("nothing of it is kept; look into this member's log, and prefer another member"));
        }
        Ok(Some(Bytes::from(blob)))
    }

    fn ended(&self) -> Result<Option<Bytes>> {
        match self.received == self.expected {
            true => Ok(None),
            false => Err(self.stalled("ended its snapshot early")),
        }
    }

    fn broken(&self, error: etcd_client::Error) -> Error {
        let endpoint = self.member.endpoint.as_str();
        if let Some(mut refusal) = refusal(&self.etcd, endpoint, "snapshot", &error) {
            refusal.message = format!("{}, after {}", refusal.message, self.progress());
            return refusal;
        }
        let told = told(inner(&error));
        if told.iter().any(|text| text.contains("keep-alive timed out")) {
            return self.stalled("froze: it no longer answers pings");
        }
        Error::new(
            Reason::EtcdUnreachable,
            format!("the connection to member {} broke after {}", self.member, self.progress()),
        )
        .on("snapshot", endpoint)
        .hint("nothing of it is kept; check whether the member restarted, and the network between")
        .because(Chain(told.join(": ")))
    }

    fn progress(&self) -> String {
        format!("{} of {} bytes", self.received, self.expected)
    }

    fn stalled(&self, what: &str) -> Error {
        stalled(&self.member, format!("{what}, after {}", self.progress()))
    }
}

/// Waits for a message with bytes in it, counting those without; stops at the third.
async fn bytes_of(live: &mut Live, empty: &mut u32) -> Result<Option<Vec<u8>>, etcd_client::Error> {
    loop {
        let Some(mut message) = live.stream.message().await? else {
            return Ok(None);
        };
        let blob = std::mem::take(&mut message.0.blob);
        if !blob.is_empty() || *empty + 1 >= MAX_EMPTY_IN_A_ROW {
            return Ok(Some(blob));
        }
        *empty += 1;
    }
}

fn count(blob: &[u8]) -> u64 {
    u64::try_from(blob.len()).unwrap_or(u64::MAX)
}

fn stalled(member: &Member, what: String) -> Error {
    Error::new(Reason::EtcdStalled, format!("member {member} {what}")).on("snapshot", &member.endpoint).hint(
        "look into this member's log and at its disk: frozen, or unable to read its database, etcd behaves like this",
    )
}

fn over_time(member: &Member, within: Duration, received: u64, expected: Option<u64>) -> Error {
    let of = expected.map_or_else(String::new, |expected| format!(" of {expected}"));
    let message = format!("the snapshot of member {member} did not end within {within:?}: {received}{of} bytes came");
    Error::new(Reason::Budget, message)
        .on("snapshot", &member.endpoint)
        .hint("find what is slow, the member, the network or the store; else raise limits.stream or limits.backup")
}
