//! `lifeboat ack`: the findings that need a person, those that one has accepted, and how to accept one.

use super::args::{AckArgs, Cli};
use super::hold::{self, Who, Written};
use super::log;
use super::open::{self, CLOCK, Opened};
use super::output::{Output, time};
use crate::catalog::wish::{About, Ack};
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::summary::{self, Finding, Overview};
use crate::wish;
use serde_json::{Value, json};
use std::collections::BTreeMap;

pub async fn ack(cli: &Cli, args: &AckArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false, output).await?;
    let overview = summary::overview(&opened.holdings, &opened.yardstick, CLOCK.now());
    match (&args.finding, &args.reason) {
        (Some(finding), Some(reason)) => accept(&opened, &overview, args, (finding, reason), output).await,
        _ => {
            list(&opened, &overview, output);
            Ok(())
        }
    }
}

fn list(opened: &Opened, overview: &Overview, output: &Output) {
    let whole = &overview.whole;
    let mut text = String::new();
    for finding in &whole.findings {
        let id = finding.about.as_ref().map_or("-".to_owned(), About::short);
        text.push_str(&format!("{id:8}  {}: {}\n          next: {}\n", finding.kind, finding.what, finding.hint));
    }
    if whole.findings.is_empty() {
        text.push_str("no finding needs a person\n");
    } else {
        text.push_str("To accept one: lifeboat ack ID --reason R. One without an id passes by itself.\n");
    }
    for (finding, ack) in &whole.acknowledged {
        let short = ack.finding.short();
        text.push_str(&format!("{short}  acknowledged {}, {}: {}\n", time(ack.at), finding.kind, finding.what));
        text.push_str(&format!("          because: {}; signed by {}\n", ack.reason, ack.binding.signer));
    }
    let fields = json!({
        "findings": whole.findings.iter().map(finding).collect::<Vec<_>>(),
        "acknowledged": whole.acknowledged.iter().map(acknowledged).collect::<Vec<_>>(),
    });
    output.answer(CLOCK.now(), Some(opened.cluster()), fields, &text);
}

/// A finding as JSON; its `id` is null where it passes by itself.
pub fn finding(finding: &Finding) -> Value {
    let id = finding.about.as_ref().map(About::short);
    let subject = finding.about.as_ref().map(|about| &about.subject);
    json!({ "id": id, "kind": finding.kind, "subject": subject, "what": finding.what, "hint": finding.hint })
}

fn acknowledged((finding, ack): &(Finding, Ack)) -> Value {
    json!({
        "id": ack.finding.short(), "kind": finding.kind, "subject": ack.finding.subject, "what": finding.what,
        "at": time(ack.at), "reason": ack.reason, "signer": ack.binding.signer,
    })
}

async fn accept(
    opened: &Opened,
    overview: &Overview,
    args: &AckArgs,
    (wanted, reason): (&str, &str),
    output: &Output,
) -> Result<()> {
    let found = resolve(overview, wanted)?;
    let signer = hold::signer(opened, &args.sign, Who::Operator)?;
    let about =
        found.about.as_ref().ok_or_else(|| Error::new(Reason::Internal, "a finding without an id was found"))?;
    let now = CLOCK.now();
    let mut written = Written::default();
    for (at, summary) in overview.stores.iter().enumerate() {
        // Accepted where it was found: what goes wrong in another store is another finding.
        let here = summary.iter().flat_map(|summary| &summary.findings).any(|f| f.about.as_ref() == Some(about));
        if here {
            let done = async {
                let reader = opened.access.place(at)?.reader()?;
                wish::ack(&reader, &signer, about, &found.what, reason, now).await
            };
            written.add(opened, at, done.await.map(drop));
        }
    }
    let text = format!("acknowledged {}, {}: {}\n", about.short(), found.kind, found.what);
    let fields = json!({ "acknowledged": finding(found), "reason": reason });
    written.answer(opened, output, now, fields, text, "acknowledged")
}

/// The finding that an id, or the start of one, names.
fn resolve<'a>(overview: &'a Overview, wanted: &str) -> Result<&'a Finding> {
    let mut fitting: BTreeMap<String, &Finding> = BTreeMap::new();
    for finding in &overview.whole.findings {
        let short = finding.about.as_ref().map(About::short).filter(|short| short.starts_with(wanted));
        if let Some(short) = short {
            fitting.entry(short).or_insert(finding);
        }
    }
    let ids: Vec<&str> = fitting.keys().map(String::as_str).collect();
    match (ids.as_slice(), fitting.values().next()) {
        ([_], Some(only)) => Ok(only),
        ([], _) => Err(Error::new(Reason::Usage, format!("no finding is called {wanted:?}"))
            .hint("`lifeboat ack` shows each with its id; one that is over or was acknowledged has none to accept")),
        (several, _) => {
            Err(Error::new(Reason::Usage, format!("{wanted:?} fits {}", several.join(", ")))
                .hint("give more of the id"))
        }
    }
}
