//! The first stage: one member's snapshot, as bytes that arrived in full and in time.
//!
//! `survey` finds the members and the order to try them in, `open` starts one member's stream, `Capture::next` hands out
//! its chunks, and `first_good` goes on to the next member when one fails. Three facts about etcd shape all of it:
//!
//! - `Snapshot` and `Status` are answered by the member that is asked, so every endpoint gets a client of its own; a
//!   client over several endpoints would ask a random one, dead ones included.
//! - A member that cannot read its own database sends empty messages for ever, so progress is counted in bytes.
//! - An open stream pins a read transaction and the member's file grows meanwhile, so every stream has an end in time
//!   and dropping a `Capture` hangs up at once.
//!
//! Nothing here writes to etcd, not even through raft: alarms come from `Status`, because the `Alarm` call proposes a
//! raft entry even to read, and fails exactly when a backup matters most. One exception is etcd's own: a login by
//! password goes through raft and needs a quorum, so a client certificate is the better way in.

mod beside;
mod census;
mod compare;
mod connect;
mod explain;
mod failover;
mod member;
mod probe;
mod receipt;
mod stream;
mod survey;

pub use beside::beside;
pub use census::{Ask, Census, Counted, EncryptionKey, KeyCount};
pub use compare::{Asked, Comparison, Reply};
pub use connect::connect;
pub use explain::explain;
pub use failover::first_good;
pub use member::{Member, order};
pub use receipt::{CaptureReceipt, Observer, Summed, Summing, Trailer, Understanding, Verdict};
pub use stream::{Capture, open};
pub use survey::{Survey, survey};
