//! Verify: each object of each backup asked of the store itself, beside what the listing says. Opens nothing, so no identity
//! is needed; what is found goes into the catalog, and the same function names it as in every list.

use crate::catalog::{Amiss, Catalog, Reader, Trusted, Wrong};
use crate::error::{Reason, Result};
use crate::fetch;
use crate::store::{ObjectKey, Store};
use futures::{StreamExt as _, TryStreamExt as _};

/// Backups that are asked for at a time.
const AT_A_TIME: usize = 8;

/// Asks for data and sums of every trusted backup, and reads the sums. How many objects were there.
pub async fn objects(reader: &Reader, catalog: &mut Catalog) -> Result<usize> {
    let asked: Vec<Vec<Amiss>> = futures::stream::iter(&catalog.trusted)
        .map(|entry| amiss(reader, entry))
        .buffered(AT_A_TIME)
        .try_collect()
        .await?;
    let lacking: usize = asked.iter().map(Vec::len).sum();
    for (entry, amiss) in catalog.trusted.iter_mut().zip(asked) {
        entry.present = amiss.is_empty();
        entry.amiss = amiss;
    }
    Ok((2 * catalog.trusted.len()).saturating_sub(lacking))
}

async fn amiss(reader: &Reader, entry: &Trusted) -> Result<Vec<Amiss>> {
    let (store, layout, manifest) = (reader.store(), reader.layout(), &entry.manifest);
    let data = size(store, &layout.blob(entry.id()), manifest.sealed.bytes).await?;
    let sums = match size(store, &layout.sums(entry.id()), manifest.sums.bytes).await? {
        None => match fetch::sums(store, layout, entry).await {
            Ok(_) => None,
            Err(error) if error.reason == Reason::ObjectMissing => Some(Wrong::Missing),
            Err(error) if error.reason == Reason::Damaged => Some(Wrong::Differs),
            Err(error) => return Err(error),
        },
        wrong => wrong,
    };
    let found = [("data", data), ("sums", sums)].into_iter();
    Ok(found.filter_map(|(what, wrong)| Some(Amiss { what, wrong: wrong? })).collect())
}

async fn size(store: &Store, key: &ObjectKey, signed: u64) -> Result<Option<Wrong>> {
    Ok(Wrong::size(store.head(key).await?.map(|found| found.bytes), signed))
}
