//! What a store's error means for the person who reads it: the reason, and the next move.

mod facts;
mod meaning;
#[cfg(test)]
mod tests;

use crate::error::{Error, Reason};
use facts::Facts;

/// An error of the client, named by the reader's next move.
pub(super) fn classify(operation: &'static str, object: &str, url: &str, source: object_store::Error) -> Error {
    told(operation, object, url, &Facts::of(&source)).because(source)
}

/// A store's answer to a request of our own, which object_store has no call for.
pub(super) fn refused(operation: &'static str, object: &str, url: &str, status: u16, body: &str) -> Error {
    let said = match body.trim() {
        "" => format!("the store answered {status}"),
        said => format!("the store answered {status}: {said}"),
    };
    told(operation, object, url, &Facts::of_answer(status, body)).because(said)
}

/// Whether the store keeps an object because it is locked: the refusal that is meant to be.
pub(super) fn is_locked(source: &object_store::Error) -> bool {
    meaning::of("delete", &Facts::of(source)).is_lock()
}

fn told(operation: &'static str, object: &str, url: &str, facts: &Facts) -> Error {
    let meaning = meaning::of(operation, facts);
    let place = if object == url { url.to_owned() } else { format!("{object} in {url}") };
    let mut hint = meaning.hint.to_owned();
    if let (Reason::StoreDenied, meaning::POLICY, Some(right)) =
        (meaning.reason, meaning.hint, meaning::right(url, operation))
    {
        hint.push_str(&format!("; to {operation} it needs {right}"));
    }
    Error::new(meaning.reason, format!("cannot {operation} {place}")).on(operation, object).hint(hint)
}
