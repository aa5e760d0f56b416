//! Tries beyond those of object_store, for what is worth repeating alone: a part, a range, a small object.
//!
//! object_store tries a request again while its signature lasts. Here the request is made anew, with credentials as they
//! are then. Nobody here knows a deadline: whoever has one drops the call.

use crate::error::Reason;
use object_store::client::HttpErrorKind;
use object_store::retry::{RetryContext, RetryFailure, RetryPolicy};
use std::pin::Pin;
use std::time::Duration;

/// Further tries of one request that got nowhere.
pub(super) const TRIES: u32 = 3;
/// Further tries of a range that gets on a little each time: a line that is cut so often is given up.
pub(super) const TRIES_THAT_GOT_ON: u32 = 12;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// The pause before try `number`, from 1: twice as long each time, and somewhere between half of that and all of it, so
/// that agents that failed together do not come back together.
fn pause(number: u32, random: u32) -> Duration {
    let doubled = 2u32.saturating_pow(number.saturating_sub(1));
    let longest = FIRST_PAUSE.saturating_mul(doubled).min(LONGEST_PAUSE);
    longest / 2 + (longest / 2).mul_f64(f64::from(random) / f64::from(u32::MAX))
}

/// Waits before try `number`.
pub(super) async fn wait(number: u32) {
    // A machine without random numbers has worse troubles than agents in step.
    let random = getrandom::u32().unwrap_or(u32::MAX / 2);
    tokio::time::sleep(pause(number, random)).await;
}

/// Whether the same request may get another answer.
pub(super) fn is_passing(reason: Reason) -> bool {
    reason.retryable()
}

/// Sends a part again that object_store gave up on.
#[derive(Debug)]
pub(super) struct Parts;

impl RetryPolicy for Parts {
    fn retry<'a, 'b>(&'a self, failed: RetryContext) -> Pin<Box<dyn Future<Output = bool> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let number = u32::try_from(failed.attempt).unwrap_or(u32::MAX);
            let again = worth_it(failed.failure, number);
            if again {
                wait(number).await;
            }
            again
        })
    }
}

fn worth_it(failure: RetryFailure, number: u32) -> bool {
    let passing = match failure {
        RetryFailure::Transport(kind) => kind != HttpErrorKind::Decode,
        // The upload began with credentials that were good: in its midst a refusal means that they ran out.
        RetryFailure::Status(status) if matches!(status.as_u16(), 400 | 401 | 403) => number == 1,
        RetryFailure::Status(status) => {
            status.is_success() || status.is_server_error() || matches!(status.as_u16(), 408 | 429)
        }
        _ => false,
    };
    passing && number <= TRIES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_are_never_the_same_for_all() {
        let between = |number| (pause(number, 0).as_millis(), pause(number, u32::MAX).as_millis());
        assert_eq!(between(1), (250, 500));
        assert_eq!(between(2), (500, 1000));
        assert_eq!(between(3), (1000, 2000));
        assert_eq!(between(9), (5000, 10_000));
        assert_eq!(between(u32::MAX), (5000, 10_000));
    }

    #[test]
    fn a_part_is_sent_again_where_another_answer_may_come() {
        let status = |code: u16| RetryFailure::Status(code.try_into().unwrap());
        for passing in [status(500), status(503), status(429), RetryFailure::Transport(HttpErrorKind::Timeout)] {
            assert!(worth_it(passing, 1) && worth_it(passing, TRIES) && !worth_it(passing, TRIES + 1), "{passing:?}");
        }
        assert!(worth_it(status(403), 1) && !worth_it(status(403), 2));
        assert!(!worth_it(status(404), 1) && !worth_it(status(413), 1));
    }
}
