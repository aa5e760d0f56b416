//! `lifeboat reseal`: a new backup for other recipients, out of one that is there.

use super::args::{Cli, ResealArgs};
use super::hold::{self, Who};
use super::open::CLOCK;
use super::output::{Output, size};
use super::progress::Progress;
use crate::clock::{Clock as _, Stopwatch};
use crate::config::NamedKey;
use crate::daemon::signals::Shutdown;
use crate::error::{Error, Reason, Result};
use crate::keys::Recipients;
use crate::reseal::{self, Sealing};
use serde_json::json;

pub async fn reseal(cli: &Cli, args: &ResealArgs, output: &Output) -> Result<()> {
    let shutdown = Shutdown::listen()?;
    // What is wrong in the call is told before anything is read.
    let named: Vec<NamedKey> = args.recipients.iter().map(NamedKey::bare).collect();
    let recipients = Recipients::load(&named)?;
    let (opened, id) = hold::one(cli, &args.store, &args.backup, output).await?;
    let signer = hold::signer(&opened, &args.sign, Who::Operator)?;
    let identities = opened.access.identities()?;
    let source = opened.holdings.sources(&id, opened.yardstick.required).into_iter().next().ok_or_else(|| {
        Error::new(Reason::ObjectMissing, format!("the data of backup {id} is in no store that can be read"))
    })?;
    let place = opened.access.place(source.at)?;
    let (reader, watch) = (place.reader()?, Stopwatch::start());
    let all = source.entry.manifest.sealed.bytes;
    let bar = Progress::new(output, "reseal");
    let progress = |done: u64| bar.at(done, all);
    let sealing = Sealing { identities, recipients, signer: &signer };
    let work = reseal::reseal(&reader, source.entry, opened.catalog(), sealing, CLOCK.now(), &progress);
    let manifest = tokio::select! {
        done = work => done?,
        () = shutdown.token().cancelled() => {
            return Err(Error::new(Reason::Interrupted, "stopped by a signal; no backup was published")
                .hint("run it again: prune clears what was left"));
        }
    };
    bar.finish();
    let others = if opened.holdings.is_single() { "" } else { "; the other stores are caught up by the role backup" };
    let text = format!(
        "backup {} in {}: {} sealed for {} out of {id}, not proven yet{others}\nThe old one stays: lifeboat delete {id} --reason R\n",
        manifest.id,
        place.name(),
        size(manifest.sealed.bytes),
        super::output::count(manifest.recipients.len(), "recipient"),
    );
    let fields = json!({
        "id": manifest.id, "resealed_from": manifest.resealed_from, "recipients": manifest.recipients,
        "sealed_bytes": manifest.sealed.bytes, "store": place.name(), "took_seconds": watch.seconds(),
    });
    output.answer(CLOCK.now(), Some(opened.cluster()), fields, &text);
    Ok(())
}
