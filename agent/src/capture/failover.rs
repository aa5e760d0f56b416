//! What to do when a member fails: the next one, and in the end one error that tells it all.

use super::member::Member;
use crate::error::{Error, Reason, Result};

/// Tries the members in their order and returns the first success with the member it came from.
///
/// Only a failure that another member may not share leads to the next one; a full disk or a dead store ends it at once,
/// and its error is returned as it is. When every member failed, one error names each with its cause.
/// The attempt takes a member of its own, not a borrowed one, so that the whole search may run on any thread.
pub async fn first_good<T, F>(members: &[Member], mut attempt: impl FnMut(Member) -> F) -> Result<(Member, T)>
where
    F: Future<Output = Result<T>>,
{
    let mut failures = Vec::new();
    for member in members {
        match attempt(member.clone()).await {
            Ok(value) => return Ok((member.clone(), value)),
            Err(error) if another_may_do_better(error.reason) => {
                tracing::warn!(member = %member.name, endpoint = %member.endpoint, reason = error.reason.name(), "{error}");
                failures.push((member.to_string(), error));
            }
            Err(error) => return Err(error),
        }
    }
    Err(all_failed("no member could be backed up", failures))
}

fn another_may_do_better(reason: Reason) -> bool {
    use Reason::*;
    matches!(reason, EtcdUnreachable | EtcdDenied | EtcdTls | EtcdStalled | EtcdUnhealthy | Damaged | Budget)
}

/// One error for many: the most telling one's reason and hint, everyone's name and cause. A lone error speaks for itself.
pub(super) fn all_failed(what: &str, mut failures: Vec<(String, Error)>) -> Error {
    if failures.len() == 1
        && let Some((_, only)) = failures.pop()
    {
        return only;
    }
    let tell = |(who, error): &(String, Error)| match error.to_string() {
        text if text.contains(who.as_str()) => text,
        text => format!("{who}: {text}"),
    };
    let told: Vec<String> = failures.iter().map(tell).collect();
    let message = match told.is_empty() {
        true => format!("{what}: there is none"),
        false => format!("{what}: {}", told.join("; ")),
    };
    match failures.into_iter().map(|(_, error)| error).min_by_key(|error| silence(error.reason)) {
        Some(worst) => match worst.hint {
            Some(hint) => Error::new(worst.reason, message).hint(hint),
            None => Error::new(worst.reason, message),
        },
        None => Error::new(Reason::EtcdUnreachable, message),
    }
}

/// How little a reason tells: least first. A refusal needs a person, a member that is down may only be down.
fn silence(reason: Reason) -> u8 {
    use Reason::*;
    match reason {
        Config | HostPermission | HostIo => 0,
        EtcdDenied => 1,
        EtcdTls => 2,
        Damaged => 3,
        EtcdStalled => 4,
        EtcdUnhealthy => 5,
        Budget => 6,
        EtcdUnreachable => 7,
        _ => 8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::member::tests::member;

    fn stalled() -> Error {
        Error::new(Reason::EtcdStalled, "no new bytes")
    }

    #[tokio::test]
    async fn the_next_member_is_tried_after_a_failure() {
        let members = [member(1), member(2), member(3)];
        let mut tried = Vec::new();
        let (chosen, value) = first_good(&members, |member| {
            tried.push(member.member_id);
            async move { if member.member_id == 2 { Ok("bytes") } else { Err(stalled()) } }
        })
        .await
        .unwrap();
        assert_eq!((chosen.member_id, value), (2, "bytes"));
        assert_eq!(tried, [1, 2]);
    }

    #[tokio::test]
    async fn when_all_fail_every_cause_is_told_and_the_most_telling_reason_stands() {
        let members = [member(1), member(2)];
        let error = first_good::<(), _>(&members, |member| async move {
            match member.member_id {
                1 => Err(Error::new(Reason::EtcdUnreachable, "connection refused")),
                _ => Err(Error::new(Reason::EtcdDenied, "permission denied").hint("grant root")),
            }
        })
        .await
        .unwrap_err();
        assert_eq!(error.reason, Reason::EtcdDenied);
        assert_eq!(error.hint.as_deref(), Some("grant root"));
        for words in ["m1", "connection refused", "m2", "permission denied"] {
            assert!(error.to_string().contains(words), "{words} is missing in: {error}");
        }
    }

    #[tokio::test]
    async fn a_failure_that_is_not_the_members_ends_the_search() {
        let members = [member(1), member(2)];
        let mut tried = 0;
        let error = first_good::<(), _>(&members, |_| {
            tried += 1;
            async { Err(Error::new(Reason::NoSpace, "disk full")) }
        })
        .await
        .unwrap_err();
        assert_eq!(error.reason, Reason::NoSpace);
        assert_eq!(tried, 1);
    }

    #[tokio::test]
    async fn no_members_is_an_error_and_not_a_success() {
        let error = first_good(&[], |_| async { Ok(()) }).await.unwrap_err();
        assert_eq!(error.reason, Reason::EtcdUnreachable);
    }
}
