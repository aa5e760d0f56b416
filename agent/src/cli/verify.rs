//! `lifeboat verify`: is the store's history whole? Opens nothing.

use super::ack;
use super::args::{Cli, VerifyArgs};
use super::log;
use super::open::{self, CLOCK, Opened};
use super::output::{Output, count, size};
use crate::catalog::{Catalog, Kind};
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::holdings::Held;
use crate::summary::{self, Finding, HISTORY, Summary};
use crate::verify;
use serde_json::{Map, Value, json};

/// What was looked at in one store.
struct Looked<'a> {
    held: &'a Held,
    /// Objects that are there as they were signed.
    objects: usize,
    findings: Vec<&'a Finding>,
}

pub async fn verify(cli: &Cli, args: &VerifyArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let mut opened = open::open(cli, &args.store, false, output).await?;
    let objects = ask(&mut opened).await;
    let now = CLOCK.now();
    let overview = summary::overview(&opened.holdings, &opened.yardstick, now);
    let look = |((held, objects), summary)| Looked { held, objects, findings: of_history(summary) };
    let stores: Vec<Looked<'_>> =
        opened.holdings.stores.iter().zip(objects).zip(overview.stores.iter().map(Option::as_ref)).map(look).collect();
    let (findings, acknowledged) = (of_history(Some(&overview.whole)), acknowledged(&overview.whole));
    let unread = opened.holdings.unreadable().count();
    let whole = findings.is_empty() && unread == 0;
    let mut text: String = stores.iter().map(|looked| looked.text(opened.cluster())).collect();
    for finding in &findings {
        text.push_str(&format!("FINDING {}: {}\n  next: {}\n", finding.kind, finding.what, finding.hint));
    }
    if acknowledged > 0 {
        text.push_str(&format!("{} acknowledged: lifeboat ack\n", count(acknowledged, "finding")));
    }
    if whole {
        text.push_str(
            "The history is whole. Nothing was opened: that backups restore is for `lifeboat prove` to show.\n",
        );
    }
    let fields = json!({
        "whole": whole,
        "stores": stores.iter().map(Looked::document).collect::<Vec<_>>(),
        "findings": findings.iter().map(|found| ack::finding(found)).collect::<Vec<_>>(),
        "acknowledged": acknowledged,
    });
    output.answer(now, Some(opened.cluster()), fields, &text);
    judge(findings.len(), unread)
}

/// Asks each store for every object; one that fails meanwhile counts as one that cannot be read.
async fn ask(opened: &mut Opened) -> Vec<usize> {
    let mut objects = Vec::new();
    for (at, held) in opened.holdings.stores.iter_mut().enumerate() {
        let asked = match &mut held.catalog {
            Err(_) => Ok(0),
            Ok(catalog) => async { verify::objects(&*opened.access.place(at)?.reader()?, catalog).await }.await,
        };
        objects.push(asked.unwrap_or_else(|error| {
            held.catalog = Err(error);
            0
        }));
    }
    objects
}

fn of_history(summary: Option<&Summary>) -> Vec<&Finding> {
    summary.into_iter().flat_map(|summary| &summary.findings).filter(|found| HISTORY.contains(&found.kind)).collect()
}

fn acknowledged(summary: &Summary) -> usize {
    summary.acknowledged.iter().filter(|(found, _)| HISTORY.contains(&found.kind)).count()
}

fn judge(findings: usize, unread: usize) -> Result<()> {
    let wrong = match (findings, unread) {
        (0, 0) => return Ok(()),
        (0, unread) => format!("{} could not be verified", count(unread, "store")),
        (findings, 0) => format!("the history is not whole: {}", count(findings, "finding")),
        (findings, unread) => format!(
            "the history is not whole: {}, and {} could not be verified",
            count(findings, "finding"),
            count(unread, "store")
        ),
    };
    Err(Error::new(Reason::Findings, wrong)
        .hint("each says what to do; `lifeboat ack` accepts one that a person looked into"))
}

impl Looked<'_> {
    fn text(&self, cluster: &str) -> String {
        let Held { name, url, .. } = self.held;
        let catalog = match &self.held.catalog {
            Ok(catalog) => catalog,
            Err(error) => return format!("{cluster} in {url}: store {name} cannot be verified: {error}\n"),
        };
        let signed: Vec<String> = signed(catalog).into_iter().map(|(kind, good)| format!("{good} {kind}")).collect();
        let expected = 2 * catalog.trusted.len();
        let mut text = format!(
            "{cluster} in {url}: {}\n  signatures  good: {}\n  objects     {} of {expected} there as they were signed\n",
            count(catalog.trusted.len(), "backup"),
            signed.join(", "),
            self.objects
        );
        for orphan in &catalog.orphans {
            let what = if orphan.lost { "what is left of a backup" } else { "an upload without a manifest" };
            text.push_str(&format!("  orphan      {}, {what}, {}: no finding\n", orphan.id, size(orphan.bytes)));
        }
        if catalog.foreign > 0 {
            text.push_str(&format!("  foreign     {} that lifeboat did not write\n", count(catalog.foreign, "object")));
        }
        text
    }

    fn document(&self) -> Value {
        let catalog = self.held.catalog.as_ref();
        let error = catalog.err().map(|error| json!({ "reason": error.reason.name(), "message": error.to_string() }));
        let catalog = catalog.ok();
        let orphans = catalog.map(|catalog| {
            let orphan = |orphan: &crate::catalog::Orphan| {
                json!({ "id": orphan.id, "bytes": orphan.bytes, "lost": orphan.lost })
            };
            catalog.orphans.iter().map(orphan).collect::<Vec<_>>()
        });
        let signed = catalog.map(|catalog| {
            signed(catalog).into_iter().map(|(kind, good)| (kind.to_owned(), json!(good))).collect::<Map<_, _>>()
        });
        json!({
            "name": self.held.name, "url": self.held.url, "error": error,
            "backups": catalog.map(|catalog| catalog.trusted.len()),
            "untrusted": catalog.map(|catalog| catalog.untrusted.len()),
            "signed": signed,
            "objects": catalog.map(|_| self.objects),
            "orphans": orphans,
            "foreign": catalog.map(|catalog| catalog.foreign),
            "findings": self.findings.iter().map(|found| ack::finding(found)).collect::<Vec<_>>(),
        })
    }
}

/// Of each kind of signed object those that count.
fn signed(catalog: &Catalog) -> Vec<(&'static str, usize)> {
    let good = |kind| catalog.signatures.iter().filter(|found| found.kind == kind && found.why.is_none()).count();
    Kind::ALL.into_iter().map(|kind| (kind.plural(), good(kind))).collect()
}
