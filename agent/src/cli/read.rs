//! `lifeboat keys`, `get`, `diff`: reads a backup without restoring it.

mod value;

use super::args::{Cli, DiffArgs, GetArgs, KeysArgs};
use super::log;
use super::open::{self, CLOCK, Opened};
use super::output::{Output, count, grouped, size};
use super::progress::Progress;
use super::sources;
use crate::clock::Clock as _;
use crate::error::{Error, Reason, Result};
use crate::restore;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use etcdfile::{Database, DbError, IndexEntry, KeyValue};
use lifeboat_policy::id::BackupId;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use value::Shape;

/// Names of a kind that `diff` prints before it only counts.
const NAMES: usize = 20;

/// A backup's database, at hand.
struct Read {
    id: BackupId,
    lineage: String,
    file: File,
}

impl Read {
    async fn open(opened: &Opened, text: &str, output: &Output) -> Result<Read> {
        let id = open::find(opened.catalog(), opened.yardstick.required, text)?;
        let entry = open::trusted(opened.catalog(), &id)?;
        let bar = Progress::new(output, "read");
        let progress = |done: u64| bar.at(done, entry.manifest.sealed.bytes);
        let dir = std::env::temp_dir();
        let file = sources::read(opened, entry, output, async |store, entry, identities| {
            restore::database(store, opened.access.layout(), entry, identities, &dir, &progress).await
        });
        let file = file.await;
        bar.finish();
        Ok(Read { id, lineage: entry.manifest.lineage.to_string(), file: file? })
    }

    fn database(&self) -> Result<Database<'_, File>> {
        Database::open(&self.file).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: DbError) -> Error {
        Error::new(Reason::Damaged, format!("backup {} cannot be read", self.id))
            .hint("use another backup: `lifeboat list`")
            .because(error)
    }
}

pub async fn keys(cli: &Cli, args: &KeysArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false, output).await?;
    let read = Read::open(&opened, &args.backup, output).await?;
    let db = read.database()?;
    let prefix = args.prefix.as_deref().unwrap_or_default().as_bytes();
    let index = db.index(db.revision(), prefix).map_err(|error| read.unreadable(error))?;
    let mut text = String::new();
    let mut listed = Vec::new();
    for entry in &index.entries {
        let value = db.value(entry).map_err(|error| read.unreadable(error))?;
        let shape = Shape::of(&value.value);
        text.push_str(&format!("{}  {}  {}\n", shown(&entry.key), shape.name(), size(entry.value_bytes)));
        listed.push(described(&value, &shape));
    }
    text.push_str(&format!("{} at revision {}\n", count(index.entries.len(), "key"), grouped(index.revision)));
    let fields = json!({ "backup": read.id, "revision": index.revision, "keys": listed });
    output.answer(CLOCK.now(), Some(opened.cluster()), fields, &text);
    Ok(())
}

pub async fn get(cli: &Cli, args: &GetArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false, output).await?;
    let read = Read::open(&opened, &args.backup, output).await?;
    let db = read.database()?;
    let found = db.get(args.key.as_bytes(), db.revision()).map_err(|error| read.unreadable(error))?;
    let Some(found) = found else {
        let text = format!("backup {} has no key {} at its revision {}", read.id, args.key, grouped(db.revision()));
        return Err(Error::new(Reason::Usage, text)
            .hint(format!("lifeboat keys {} PREFIX shows those that there are", read.id.short(6))));
    };
    let shape = Shape::of(&found.value);
    let hidden = shape.is_secret(&found.key) && !args.show_secrets;
    if args.raw {
        if hidden {
            let text = format!("{} is a secret: nothing was written", args.key);
            return Err(
                Error::new(Reason::ConsentMissing, text).hint("--show-secrets, if it may be seen where that goes")
            );
        }
        let mut out = std::io::stdout();
        return out
            .write_all(&found.value)
            .and_then(|()| out.flush())
            .map_err(|source| Error::io("write to", "standard output", source));
    }
    let mut fields = described(&found, &shape);
    fields["hidden"] = json!(hidden);
    fields["value_base64"] = if hidden { Value::Null } else { json!(STANDARD.encode(&found.value)) };
    let text = story(&found, &shape, hidden);
    output.answer(CLOCK.now(), Some(opened.cluster()), json!({ "backup": read.id, "key": fields }), &text);
    Ok(())
}

pub async fn diff(cli: &Cli, args: &DiffArgs, output: &Output) -> Result<()> {
    log::begin(cli, None)?;
    let opened = open::open(cli, &args.store, false, output).await?;
    let from = Read::open(&opened, &args.from, output).await?;
    let to = Read::open(&opened, &args.to, output).await?;
    let changes = compare(&from, &to, args.prefix.as_deref().unwrap_or_default().as_bytes())?;
    let mut text = format!("From {} to {}\n", from.id.short(6), to.id.short(6));
    let mut fields = json!({ "from": from.id, "to": to.id });
    for (name, keys) in [("created", &changes.created), ("changed", &changes.changed), ("deleted", &changes.deleted)] {
        fields[name] = json!(keys.iter().map(|key| shown(key)).collect::<Vec<_>>());
        text.push_str(&by_kind(name, keys));
    }
    if changes.created.is_empty() && changes.changed.is_empty() && changes.deleted.is_empty() {
        text.push_str("no key differs\n");
    }
    output.answer(CLOCK.now(), Some(opened.cluster()), fields, &text);
    Ok(())
}

/// Keys that one of two backups has and the other has not, or not with the same value.
#[derive(Default)]
struct Changes {
    created: Vec<Vec<u8>>,
    changed: Vec<Vec<u8>>,
    deleted: Vec<Vec<u8>>,
}

fn compare(from: &Read, to: &Read, prefix: &[u8]) -> Result<Changes> {
    let (old, new) = (from.database()?, to.database()?);
    let old_keys = old.index(old.revision(), prefix).map_err(|error| from.unreadable(error))?.entries;
    let new_keys = new.index(new.revision(), prefix).map_err(|error| to.unreadable(error))?.entries;
    let mut before: BTreeMap<&[u8], &IndexEntry> = old_keys.iter().map(|entry| (entry.key.as_slice(), entry)).collect();
    let mut changes = Changes::default();
    for entry in &new_keys {
        let Some(was) = before.remove(entry.key.as_slice()) else {
            changes.created.push(entry.key.clone());
            continue;
        };
        // A put is known by its revision only within one history.
        let one_put = from.lineage == to.lineage && was.mod_revision == entry.mod_revision;
        if !one_put {
            let old = old.value(was).map_err(|error| from.unreadable(error))?;
            let new = new.value(entry).map_err(|error| to.unreadable(error))?;
            if old.value != new.value {
                changes.changed.push(entry.key.clone());
            }
        }
    }
    changes.deleted = before.into_keys().map(<[u8]>::to_vec).collect();
    Ok(changes)
}

/// `created  /registry/configmaps  12`, and the first names.
fn by_kind(what: &str, keys: &[Vec<u8>]) -> String {
    let mut kinds: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for key in keys {
        let key = shown(key);
        let at = key.match_indices('/').nth(2).map_or(key.len(), |(at, _)| at);
        let (kind, rest) = key.split_at(at);
        kinds.entry(kind.to_owned()).or_default().push(rest.trim_start_matches('/').to_owned());
    }
    let mut text = String::new();
    for (kind, names) in kinds {
        let more = names.len().saturating_sub(NAMES);
        let rest = if more > 0 { format!(", and {more} more (all of them: --json)") } else { String::new() };
        let first: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
        text.push_str(&format!("{what:8} {kind}  {}: {}{rest}\n", names.len(), first.join(", ")));
    }
    text
}

fn described(found: &KeyValue, shape: &Shape) -> Value {
    json!({
        "key": shown(&found.key), "api_version": shape.api_version, "kind": shape.kind, "encoding": shape.encoding,
        "create_revision": found.create_revision, "mod_revision": found.mod_revision, "version": found.version,
        "lease": found.lease, "bytes": found.value.len(),
    })
}

fn story(found: &KeyValue, shape: &Shape, hidden: bool) -> String {
    let lease = if found.lease == 0 { String::new() } else { format!(", lease {:x}", found.lease) };
    let head = format!(
        "{}\n  {}, {} bytes, {}; created at revision {}, last put at {}, version {}{lease}\n\n",
        shown(&found.key),
        shape.name(),
        found.value.len(),
        shape.encoding,
        grouped(found.create_revision),
        grouped(found.mod_revision),
        found.version
    );
    let body = match (hidden, shape.encoding) {
        (true, _) => "(a secret: --show-secrets shows it)\n".to_owned(),
        (_, "json" | "text") => format!("{}\n", String::from_utf8_lossy(&found.value)),
        (_, "encrypted") => "(encrypted by the API server; --raw writes it as it is)\n".to_owned(),
        _ => format!("({}; --raw writes it as it is)\n", shape.encoding),
    };
    head + &body
}

/// Keys are bytes; what is no text is escaped.
fn shown(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.chars().any(char::is_control) => text.to_owned(),
        _ => key.escape_ascii().to_string(),
    }
}
