//! What a snapshot's keys and values tell by how they begin: which keys of encryption at rest its values need, and how many
//! keys there are of each kind. Names and numbers only, never a value.

use crate::glob::{Glob, MAX_GLOBS};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// How the API server begins what it encrypts: `k8s:enc:<provider>:v<n>:<key name>:`.
const ENCRYPTED: &[u8] = b"k8s:enc:";
/// A name longer than this is no key's name.
const NAME_BYTES: usize = 253;
/// Kinds of records that are told apart; what comes later counts with the others.
const MAX_CLASSES: usize = 4096;
/// Kinds of keys in the answer, the most frequent first.
const SHOWN: usize = 40;
/// A kind of keys has a name no longer than this.
const GROUP_BYTES: usize = 96;
/// For keys that have no such beginning, and for all beyond the bounds.
const OTHERS: &str = "(others)";

/// A key of the API server's encryption at rest, and how many living values need it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptionKey {
    /// `aescbc`, `kms` and their like.
    pub provider: String,
    /// `v1`, `v2`.
    pub version: String,
    pub name: String,
    pub values: u64,
}

/// How many living keys begin with a path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyCount {
    pub prefix: String,
    pub keys: u64,
}

/// What is to be counted beside the keys of encryption at rest.
#[derive(Clone, Debug, Default)]
pub struct Ask {
    pub kinds: bool,
    pub expect: Vec<Glob>,
}

/// What was counted, of living keys only.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    pub encryption: Vec<EncryptionKey>,
    /// Empty where it was not asked for.
    pub kinds: Vec<KeyCount>,
    /// Keys that match each expectation, in their order.
    pub expected: Vec<u64>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Class {
    cipher: Option<(String, String, String)>,
    kind: Option<String>,
    expected: u64,
}

#[derive(Debug, Default)]
struct Classes {
    numbers: HashMap<Class, u32>,
    list: Vec<Class>,
}

/// Collects the classes of records while they pass.
#[derive(Clone, Debug)]
pub struct Census {
    ask: Ask,
    classes: Arc<Mutex<Classes>>,
}

impl Census {
    pub fn new(ask: Ask) -> Census {
        Census { ask, classes: Arc::default() }
    }

    /// What etcdfile asks for each record.
    pub fn classifier(&self) -> impl FnMut(&[u8], &[u8]) -> u32 + Send + 'static {
        let Census { ask, classes } = self.clone();
        move |key, value| {
            let class = ask.class(key, value);
            if class == Class::default() {
                return 0;
            }
            classes.lock().unwrap_or_else(PoisonError::into_inner).number(class)
        }
    }

    /// Joins what etcdfile counted with what the classes are.
    pub fn counted(&self, by_class: &BTreeMap<u32, u64>) -> Counted {
        let classes = self.classes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut encryption: BTreeMap<(String, String, String), u64> = BTreeMap::new();
        let mut kinds: BTreeMap<String, u64> = BTreeMap::new();
        let mut expected = vec![0; self.ask.expect.len()];
        for (number, count) in by_class {
            let class = usize::try_from(*number).ok().and_then(|number| classes.list.get(number.checked_sub(1)?));
            let Some(class) = class else { continue };
            if let Some(cipher) = &class.cipher {
                *encryption.entry(cipher.clone()).or_default() += count;
            }
            if let Some(kind) = &class.kind {
                *kinds.entry(kind.clone()).or_default() += count;
            }
            for (at, matching) in expected.iter_mut().enumerate() {
                *matching += if class.expected >> at & 1 == 1 { *count } else { 0 };
            }
        }
        let encryption = encryption.into_iter().map(|((provider, version, name), values)| EncryptionKey {
            provider,
            version,
            name,
            values,
        });
        Counted { encryption: encryption.collect(), kinds: most(kinds), expected }
    }
}

impl Ask {
    fn class(&self, key: &[u8], value: &[u8]) -> Class {
        if key.is_empty() {
            return Class::default(); // the ghost of a revision bump
        }
        let matching = self.expect.iter().take(MAX_GLOBS).enumerate().filter(|(_, glob)| glob.matches(key));
        Class {
            cipher: cipher(value),
            kind: self.kinds.then(|| kind(key).unwrap_or(OTHERS).to_owned()),
            expected: matching.fold(0, |bits, (at, _)| bits | 1 << at),
        }
    }
}

impl Classes {
    fn number(&mut self, mut class: Class) -> u32 {
        if let Some(number) = self.numbers.get(&class) {
            return *number;
        }
        if self.list.len() >= MAX_CLASSES {
            // What is expected decides on a proof and must not be lost; there are only so many mixtures of it.
            class.kind = class.kind.map(|_| OTHERS.to_owned());
            class.cipher = class.cipher.map(|_| unreadable());
            if let Some(number) = self.numbers.get(&class) {
                return *number;
            }
        }
        self.list.push(class.clone());
        let number = u32::try_from(self.list.len()).unwrap_or(u32::MAX);
        self.numbers.insert(class, number);
        number
    }
}

/// Provider, version and key name, where the value begins like one that the API server encrypted.
fn cipher(value: &[u8]) -> Option<(String, String, String)> {
    let rest = value.strip_prefix(ENCRYPTED)?;
    let head = rest.get(..rest.len().min(NAME_BYTES + 64))?;
    let mut parts = head.splitn(4, |byte| *byte == b':');
    let mut part = |longest: usize| {
        let part = parts.next().filter(|part| !part.is_empty() && part.len() <= longest)?;
        let plain = |byte: &u8| byte.is_ascii_graphic() || *byte == b' ';
        part.iter().all(plain).then(|| String::from_utf8_lossy(part).into_owned())
    };
    let named = (part(32), part(16), part(NAME_BYTES));
    let (Some(provider), Some(version), Some(name)) = named else { return Some(unreadable()) };
    let numbered = version.strip_prefix('v').is_some_and(|n| n.bytes().all(|byte| byte.is_ascii_digit()));
    // Without the colon behind it the name was cut off.
    if !numbered || parts.next().is_none() {
        return Some(unreadable());
    }
    Some((provider, version, name))
}

/// Begins like an encrypted value, but names no key.
fn unreadable() -> (String, String, String) {
    ("unknown".to_owned(), String::new(), "(unreadable)".to_owned())
}

/// The first two segments of a key's path, never its last one: that may name a person or a thing.
fn kind(key: &[u8]) -> Option<&str> {
    let slashes = key.iter().enumerate().skip(1).filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let wanted = if key.first() == Some(&b'/') { 2 } else { 1 };
    let end = slashes.take(wanted).last()?;
    let text = std::str::from_utf8(key.get(..end)?).ok()?;
    (text.len() <= GROUP_BYTES && !text.chars().any(char::is_control)).then_some(text)
}

/// The most frequent ones; the rest in one sum, so that the numbers add up to all keys.
fn most(kinds: BTreeMap<String, u64>) -> Vec<KeyCount> {
    let mut all: Vec<KeyCount> = kinds.into_iter().map(|(prefix, keys)| KeyCount { prefix, keys }).collect();
    all.sort_by(|a, b| b.keys.cmp(&a.keys).then_with(|| a.prefix.cmp(&b.prefix)));
    let others = |kind: &KeyCount| kind.prefix == OTHERS;
    let mut rest: u64 = all.iter().filter(|kind| others(kind)).map(|kind| kind.keys).sum();
    all.retain(|kind| !others(kind));
    rest += all.iter().skip(SHOWN).map(|kind| kind.keys).sum::<u64>();
    all.truncate(SHOWN);
    if rest > 0 {
        all.push(KeyCount { prefix: OTHERS.to_owned(), keys: rest });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(value: &str) -> Option<String> {
        cipher(value.as_bytes()).map(|(provider, version, name)| format!("{provider} {version} {name}"))
    }

    #[test]
    fn an_encrypted_value_names_its_provider_and_key() {
        assert_eq!(named("k8s:enc:aescbc:v1:key2:\u{1}secret"), Some("aescbc v1 key2".to_owned()));
        assert_eq!(named("k8s:enc:kms:v2:my kms/plugin-1:..."), Some("kms v2 my kms/plugin-1".to_owned()));
        assert_eq!(named("k8s\0\n\u{c}v1 Secret"), None);
        assert_eq!(named("x k8s:enc:aescbc:v1:key2:"), None);
        for odd in [
            "k8s:enc:",
            "k8s:enc:aescbc",
            "k8s:enc:aescbc:v1",
            "k8s:enc:aescbc:v1:key2",
            "k8s:enc:a:vx:k:",
            "k8s:enc::v1:k:",
        ] {
            assert_eq!(named(odd), Some("unknown  (unreadable)".to_owned()), "{odd}");
        }
        let long = format!("k8s:enc:aescbc:v1:{}:", "n".repeat(NAME_BYTES + 1));
        assert_eq!(named(&long), Some("unknown  (unreadable)".to_owned()));
    }

    #[test]
    fn a_kind_never_shows_the_last_segment_of_a_key() {
        let kinds =
            ["/registry/pods/default/web-1", "/registry/health", "/a", "users/alice", "a/b/c", "plain", "/x/y/z"];
        let expected = [Some("/registry/pods"), Some("/registry"), None, Some("users"), Some("a"), None, Some("/x/y")];
        assert_eq!(kinds.map(|key| kind(key.as_bytes())), expected);
        assert_eq!(kind(b"/reg\xffistry/x/y"), None);
    }

    #[test]
    fn kinds_add_up_and_expectations_survive_more_kinds_than_are_told_apart() {
        let ask = Ask { kinds: true, expect: vec![Glob::parse("/r/*/last").unwrap()] };
        let census = Census::new(ask);
        let mut of = census.classifier();
        let mut by_class = BTreeMap::new();
        let all = u64::try_from(MAX_CLASSES).unwrap() + 500;
        for n in 0..all {
            let name = if n + 1 == all { "last" } else { "x" };
            *by_class.entry(of(format!("/r/{n}/{name}").as_bytes(), b"v")).or_default() += 1;
        }
        let counted = census.counted(&by_class);
        assert_eq!(counted.kinds.iter().map(|kind| kind.keys).sum::<u64>(), all);
        assert_eq!((counted.kinds.len(), counted.expected), (SHOWN + 1, vec![1]));
        assert_eq!(of(b"", b""), 0);
    }
}
