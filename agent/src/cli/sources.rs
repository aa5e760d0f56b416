//! Reads one backup from the store that serves it best; where that one fails, from the next.

use super::open::Opened;
use super::output::Output;
use crate::catalog::Trusted;
use crate::error::{Error, Reason, Result};
use crate::keys::Identities;
use crate::store::Store;

/// Gives what `read` makes of the first store that it can read the backup from.
pub async fn read<T>(
    opened: &Opened,
    chosen: &Trusted,
    output: &Output,
    read: impl AsyncFn(&Store, &Trusted, Identities) -> Result<T>,
) -> Result<T> {
    let mut sources = opened.holdings.sources(chosen.id(), opened.yardstick.required).into_iter().peekable();
    while let Some(source) = sources.next() {
        let place = opened.access.place(source.at)?;
        let tried = async { read(&place.store()?, source.entry, opened.access.identities()?).await };
        match (tried.await, sources.peek()) {
            (Err(error), Some(next)) if another_may_do_better(error.reason) => {
                output.remark(&format!(
                    "WARNING: {}: {error}\n  reading from {} instead\n",
                    place.name(),
                    next.held.name
                ));
            }
            (done, _) => return done,
        }
    }
    Err(Error::new(
        Reason::ObjectMissing,
        format!("the data of backup {} is in no store that can be read", chosen.id()),
    )
    .hint("use another backup: `lifeboat list`"))
}

/// The target's own troubles and a wrong key are the same whichever store, or backup, is read.
pub fn another_may_do_better(reason: Reason) -> bool {
    use Reason::*;
    matches!(
        reason,
        StoreUnreachable
            | StoreDenied
            | StoreBucketMissing
            | StoreThrottled
            | StoreClockSkew
            | StoreTls
            | StoreTimeout
            | Damaged
            | ObjectMissing
    )
}
