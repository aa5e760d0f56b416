//! `keys`: who can open backups, who signs what, and whose signatures count.

use super::cursor::{Cursor, shown};
use super::{Keys, NamedKey, Role};
use chrono::{DateTime, Utc};
use lifeboat_policy::trust::Validity;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::str::FromStr;

const FIELDS: &[&str] = &["recipients", "signing_keys", "trusted_keys", "identity_file"];

pub(crate) fn read(cursor: &Cursor<'_>) -> Keys {
    let mut keys = Keys {
        recipients: Vec::new(),
        signing_keys: BTreeMap::new(),
        trusted_keys: BTreeMap::new(),
        identity_file: None,
    };
    let Some(fields) = cursor.fields(FIELDS) else {
        return keys;
    };
    if let Some(c) = fields.get("recipients") {
        keys.recipients = read_recipients(&c);
    }
    if let Some(c) = fields.get("signing_keys") {
        keys.signing_keys = read_signing(&c);
    }
    if let Some(c) = fields.get("trusted_keys") {
        keys.trusted_keys = read_trusted(&c);
    }
    keys.identity_file = fields.get("identity_file").and_then(|c| c.path());
    keys
}

fn read_recipients(cursor: &Cursor<'_>) -> Vec<NamedKey> {
    const FIX: &str = "write a list: recipients: [age1..., /etc/lifeboat/recovery.pub]";
    let mut seen = BTreeSet::new();
    let mut recipients = Vec::new();
    for item in cursor.items("a list of recipients", FIX) {
        let Some(named) = read_named(&item, read_recipient) else { continue };
        if seen.insert(named.key.clone()) {
            recipients.push(named);
        } else {
            item.warning("this recipient is listed twice", "remove one of the two");
        }
    }
    recipients
}

const NAMED: &[&str] = &["key", "id", "from", "until"];

/// A key alone, or a mapping of it, its name and its validity.
fn read_named(item: &Cursor<'_>, read_key: impl for<'a> FnOnce(&Cursor<'a>) -> Option<&'a str>) -> Option<NamedKey> {
    if !item.is_mapping() {
        return read_key(item).map(NamedKey::bare);
    }
    let fields = item.fields(NAMED)?;
    let key = fields.need("key", "write { key: KEY, id: NAME, from: TIME, until: TIME }, the last three as needed");
    let key = key.and_then(|c| read_key(&c).map(str::to_owned));
    let id = fields.get("id").and_then(|c| read_id(&c));
    let time = |name: &str| fields.get(name).map(|c| (c.moment(), c));
    let (from, until) = (time("from"), time("until"));
    if let (Some((Some(from), _)), Some((Some(until), at))) = (&from, &until)
        && until <= from
    {
        at.error("ends before it begins: this key could never be used", "write an `until` after `from`");
        return None;
    }
    // A time that cannot be read must not become a key without end.
    let read = |time: Option<(Option<DateTime<Utc>>, Cursor<'_>)>| match time {
        None => Some(None),
        Some((at, _)) => at.map(Some),
    };
    let validity = Validity { from: read(from)?, until: read(until)?, revoked: None };
    Some(NamedKey { key: key?, id, validity })
}

fn read_id(cursor: &Cursor<'_>) -> Option<String> {
    let id = cursor.text("a name for this key")?;
    if id.trim().is_empty() || id.chars().count() > 60 {
        cursor.error("a key's id is a short name", "write up to 60 characters, such as backup-2026");
        return None;
    }
    Some(id.to_owned())
}

fn read_recipient<'a>(cursor: &Cursor<'a>) -> Option<&'a str> {
    let text = cursor.text("a recipient: age1... or the path of a file")?;
    if text.to_ascii_uppercase().starts_with("AGE-SECRET-KEY-") {
        cursor.error(
            "this is an identity, the secret half: whoever reads this file can open every backup",
            "replace it by its recipient (age-keygen -y FILE), and make a new identity: this one was exposed",
        );
        return None;
    }
    if text.starts_with('/') {
        return cursor.path().map(|_| text);
    }
    if let Err(error) = age::x25519::Recipient::from_str(text) {
        cursor.error(
            format!("`{}` is no recipient: {error}", shown(text)),
            "write age1... as age-keygen or lifeboat keygen printed it, or the absolute path of a file with one a line",
        );
        return None;
    }
    Some(text)
}

fn read_role(name: &str, value: &Cursor<'_>) -> Option<Role> {
    let role = Role::ALL.into_iter().find(|role| role.name() == name);
    if role.is_none() {
        let near = super::nearest::nearest(name, Role::ALL.iter().map(|role| role.name()));
        let guess = near.map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
        value.error(format!("unknown role `{}`{guess}", shown(name)), "roles are backup, prove, prune and operator");
    }
    role
}

fn read_signing(cursor: &Cursor<'_>) -> BTreeMap<Role, PathBuf> {
    const FIX: &str = "write role: file, such as backup: /run/secrets/lifeboat/backup.sign.key";
    let mut keys: BTreeMap<Role, PathBuf> = BTreeMap::new();
    for (name, value) in cursor.entries("a mapping of role to file", FIX) {
        let (Some(role), Some(path)) = (read_role(name, &value), value.path()) else {
            continue;
        };
        if let Some((other, _)) = keys.iter().find(|(_, known)| **known == path) {
            value.error(
                format!(
                    "the roles {} and {} share one signing key, so neither limits the other",
                    other.name(),
                    role.name()
                ),
                "give each role its own: lifeboat keygen --role ROLE --out DIR",
            );
        }
        keys.insert(role, path);
    }
    keys
}

fn read_trusted(cursor: &Cursor<'_>) -> BTreeMap<Role, Vec<NamedKey>> {
    const FIX: &str = "write role: [key or file], such as operator: [/etc/lifeboat/operator.sign.pub]";
    let mut keys: BTreeMap<Role, Vec<NamedKey>> = BTreeMap::new();
    for (name, value) in cursor.entries("a mapping of role to keys", FIX) {
        let Some(role) = read_role(name, &value) else { continue };
        for item in value.items("a list of public keys", FIX) {
            let Some(named) = read_named(&item, read_public_key) else { continue };
            let same = |known: &NamedKey| known.key == named.key;
            if let Some((other, _)) = keys.iter().find(|(other, known)| **other != role && known.iter().any(same)) {
                item.error(
                    format!(
                        "this key is trusted for {} already: one key under two roles has the rights of both",
                        other.name()
                    ),
                    "give each role its own key",
                );
            }
            keys.entry(role).or_default().push(named);
        }
    }
    keys
}

fn read_public_key<'a>(cursor: &Cursor<'a>) -> Option<&'a str> {
    let text = cursor.text("a public key: RW... or the path of a file")?;
    if text.starts_with('/') {
        return cursor.path().map(|_| text);
    }
    // The value is not repeated: in this place it may be a secret key by mistake.
    if let Err(error) = minisign_verify::PublicKey::from_base64(text) {
        cursor.error(
            format!("not a minisign public key: {error}"),
            "write the line of the .pub file that begins with RW, or the absolute path of that file",
        );
        return None;
    }
    Some(text)
}
