//! What an object_store error means for the person who reads it.

use crate::error::{Error, Reason};
use std::error::Error as StdError;

/// Names the reason by the reader's next move; the text of the causes is the only place where HTTP clients keep it.
pub(super) fn classify(operation: &'static str, object: &str, url: &str, source: object_store::Error) -> Error {
    let text = chain(&source);
    let reason = reason(&source, &text);
    let error =
        Error::new(reason, format!("cannot {operation} {object} in {url}")).on(operation, object).because(source);
    match hint(reason) {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

fn chain(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text.push_str(": ");
        text.push_str(&cause.to_string());
        next = cause.source();
    }
    // Names of buckets, hosts and ports must not be read as words: port 45031 is no status 503.
    let words = text.split_whitespace().filter(|word| !word.starts_with("http://") && !word.starts_with("https://"));
    words.collect::<Vec<_>>().join(" ").to_lowercase()
}

fn reason(source: &object_store::Error, text: &str) -> Reason {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["nosuchbucket", "containernotfound"]) {
        return Reason::StoreBucketMissing;
    }
    if says(&["requesttimetooskewed"]) {
        return Reason::StoreClockSkew;
    }
    match source {
        object_store::Error::NotFound { .. } => Reason::ObjectMissing,
        object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. } => Reason::StoreConflict,
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            Reason::StoreDenied
        }
        _ if says(&["no space left", "storage full", "disk quota"]) => Reason::NoSpace,
        _ if says(&[
            "permission denied",
            "accessdenied",
            "invalidaccesskeyid",
            "signaturedoesnotmatch",
            "403 forbidden",
        ]) =>
        {
            Reason::StoreDenied
        }
        _ if says(&["slowdown", "429 too many requests", "503 service unavailable"]) => Reason::StoreThrottled,
        _ if says(&["certificate", "tls", "handshake"]) => Reason::StoreTls,
        _ if says(&["connection refused", "dns", "connect error", "error trying to connect", "unreachable"]) => {
            Reason::StoreUnreachable
        }
        _ if says(&["timed out", "timeout"]) => Reason::StoreTimeout,
        _ => Reason::StoreUnreachable,
    }
}

fn hint(reason: Reason) -> Option<&'static str> {
    Some(match reason {
        Reason::StoreBucketMissing => "create the bucket, or correct its name and region in the config",
        Reason::StoreDenied => "check the store's credentials and what its policy lets this role do",
        Reason::StoreClockSkew => "set this machine's clock: the store refuses requests signed with a wrong time",
        Reason::StoreTls => "check the store's certificate and the CA that this machine trusts",
        Reason::StoreUnreachable => "check the store's endpoint, the network and DNS from this machine",
        Reason::StoreThrottled => "the store asks for fewer requests; it is tried again at the next slot",
        Reason::StoreConflict => "another writer holds that name; nothing was overwritten",
        Reason::ObjectMissing => "the object is gone from the store: `lifeboat list` shows what is left",
        Reason::NoSpace => "free space on the store, or give it more",
        _ => return None,
    })
}
