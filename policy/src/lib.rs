//! What should happen to the backups of an etcd cluster: when to take one, which to keep, which to restore, when to worry.
//!
//! Everything here is pure: no I/O, no clock, no async. Facts, rules and the time come in as arguments; a plan with a reason
//! for every decision goes out. So each decision can be printed before it is acted on, repeated, and tested over all small
//! cases.
//!
//! | module | question it answers |
//! |---|---|
//! | [`id`] | what a backup is called, and which one a person means |
//! | [`proof`] | what the verdicts on a backup come to, and which proofs are due |
//! | [`equality`] | whether the live members agree with a backup |
//! | [`hold`] | whether a person holds a backup |
//! | [`late`] | whether a backup came long after its time |
//! | [`trust`] | whether what a key signed counts |
//! | [`retention`] | which backups stay, which go, and why |
//! | [`schedule`] | when the next run is due |
//! | [`duty`] | which of several agents serves it |
//! | [`freshness`] | whether the newest good backup is recent enough |
//! | [`choice`] | which backup to restore, and what a person must consent to first |
//! | [`span`], [`moment`] | how durations and instants are written |
#![deny(missing_docs)]
#![cfg_attr(
    not(test),
    deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, clippy::as_conversions)
)]

pub mod choice;
pub mod duty;
pub mod equality;
pub mod freshness;
pub mod hold;
pub mod id;
pub mod late;
pub mod moment;
pub mod proof;
pub mod retention;
pub mod schedule;
pub mod span;
pub mod trust;
