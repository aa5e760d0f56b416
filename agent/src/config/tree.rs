//! The file as written: a tree of mappings, lists and scalars in which every node knows its line and column.
//!
//! serde_yaml reads first: its syntax errors are the better ones, and it stops deep nesting and alias bombs.
//! marked-yaml then reads the same text for the positions; it refuses anchors, tags and duplicate keys.

use super::finding::{Finding, Severity};
use marked_yaml::{LoadError, LoaderOptions, Marker, Node as Marked, parse_yaml_with_options};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// A config is a few KiB; more is a mistake, and both parsers are spared it.
pub(crate) const MAX_BYTES: usize = 256 << 10;

/// Where a value was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Option<(usize, usize)>,
    /// Set where an environment variable took the place of the file.
    pub(crate) var: Option<&'static str>,
}

#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) place: Place,
    pub(crate) kind: Kind,
}

#[derive(Clone, Debug)]
pub(crate) enum Kind {
    /// `plain` is without quotes, so that it may mean a number, a boolean or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    Map(Vec<Entry>),
}

#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Node {
    pub(crate) fn text(text: &str, place: Place) -> Node {
        Node { place, kind: Kind::Scalar { text: text.to_string(), plain: false } }
    }

    pub(crate) fn map<'a>(entries: impl IntoIterator<Item = (&'a str, Node)>, place: Place) -> Node {
        let entries = entries.into_iter();
        let entries = entries.map(|(key, node)| Entry { key: key.to_string(), key_place: place, node });
        Node { place, kind: Kind::Map(entries.collect()) }
    }

    /// Written, but without a value: `keep:` or `keep: null`.
    pub(crate) fn is_nothing(&self) -> bool {
        matches!(&self.kind, Kind::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// What a person sees there. Never the value: it may be a secret in the wrong place.
    pub(crate) fn describe(&self) -> &'static str {
        match &self.kind {
            Kind::List(_) => "a list",
            Kind::Map(_) => "a mapping",
            Kind::Scalar { .. } if self.is_nothing() => "nothing",
            Kind::Scalar { text, plain: true } if is_boolean(text) => "true or false",
            Kind::Scalar { text, plain: true } if is_number(text) => "a number",
            Kind::Scalar { .. } => "text",
        }
    }

    pub(crate) fn child(&self, segment: &str) -> Option<&Node> {
        match &self.kind {
            Kind::Map(entries) => entries.iter().find(|entry| entry.key == segment).map(|entry| &entry.node),
            Kind::List(items) => items.get(segment.parse::<usize>().ok()?),
            Kind::Scalar { .. } => None,
        }
    }

    /// Puts `value` at `path`, making the mappings on the way. Where something else stands in the way it stays: the
    /// decoder complains about that. List items are not made, and mappings are not made below a list.
    pub(crate) fn set(&mut self, path: &[&str], value: Node) {
        let Some((first, rest)) = path.split_first() else {
            *self = value;
            return;
        };
        if self.is_nothing() {
            self.kind = Kind::Map(Vec::new());
        }
        match &mut self.kind {
            Kind::Map(entries) => match entries.iter_mut().find(|entry| entry.key == *first) {
                Some(entry) => entry.node.set(rest, value),
                // `stores` cannot be invented from one of its options; its absence is an error of its own.
                None if rest.first().is_some_and(|next| next.parse::<usize>().is_ok()) => {}
                None => {
                    let place = value.place;
                    let mut node = Node::map([], place);
                    node.set(rest, value);
                    entries.push(Entry { key: first.to_string(), key_place: place, node });
                }
            },
            Kind::List(items) => {
                if let Some(item) = first.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                    item.set(rest, value);
                }
            }
            Kind::Scalar { .. } => {}
        }
    }
}

pub(crate) fn is_boolean(text: &str) -> bool {
    matches!(text, "true" | "True" | "TRUE" | "false" | "False" | "FALSE")
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') && digits.parse::<f64>().is_ok()
}

/// The tree of `text`, or the one thing that keeps it from being read. `when_empty` is what to write into an empty file.
pub(crate) fn parse(text: &str, source: &str, when_empty: &str) -> Result<Node, Vec<Finding>> {
    if text.len() > MAX_BYTES {
        let what = format!("{} bytes are no config; the limit is {MAX_BYTES}", text.len());
        return Err(vec![Finding::of_file(source, what, "check that this is the file you meant")]);
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    serde_yaml::from_str::<WellFormed>(text).map_err(|error| vec![syntax(&error, source)])?;
    let options = LoaderOptions::default().error_on_duplicate_keys(true).prevent_coercion(true);
    let marked = parse_yaml_with_options(0, text, options).map_err(|error| vec![refused(&error, source)])?;
    let root = convert(&marked, Place::default());
    match &root.kind {
        Kind::Map(entries) if entries.is_empty() => {
            Err(vec![Finding::of_file(source, "the file is empty", when_empty)])
        }
        _ => Ok(root),
    }
}

const LOOK_HERE: &str = "check indentation, colons, quotes and brackets on this line and the one before";

fn at(source: &str, position: Option<(usize, usize)>, what: String, fix: &str) -> Finding {
    Finding {
        severity: Severity::Error,
        source: source.to_string(),
        path: String::new(),
        line: position.map(|(line, _)| line),
        column: position.map(|(_, column)| column),
        what,
        fix: fix.to_string(),
    }
}

fn syntax(error: &serde_yaml::Error, source: &str) -> Finding {
    let position = error.location().map(|location| (location.line(), location.column()));
    let message = error.to_string();
    let said = match position {
        Some((line, column)) => message.replace(&format!(" at line {line} column {column}"), ""),
        None => message,
    };
    let fix = if said.contains("tab") {
        "indent with spaces"
    } else if said.contains("repetition limit") || said.contains("recursion limit") {
        "write it plainly: without aliases, and without lists or mappings nested this deep"
    } else if said.contains("more than one document") {
        "keep one document: remove what follows the line ---"
    } else {
        LOOK_HERE
    };
    at(source, position, format!("this is not YAML: {said}"), fix)
}

fn refused(error: &LoadError, source: &str) -> Finding {
    let position = |marker: &Marker| Some((marker.line(), marker.column()));
    match error {
        LoadError::TopLevelMustBeMapping(m) | LoadError::TopLevelMustBeSequence(m) => {
            at(source, position(m), "a config is a mapping of fields".into(), "begin with: cluster: NAME")
        }
        LoadError::UnexpectedAnchor(m) => {
            at(source, position(m), "anchors and aliases (& and *) are not used here".into(), "write the value out")
        }
        LoadError::UnexpectedTag(m) => at(
            source,
            position(m),
            "YAML tags (!) are not used here".into(),
            "leave the tag out, or put the text in quotes",
        ),
        LoadError::MappingKeyMustBeScalar(m) => {
            at(source, position(m), "a field's name must be a word".into(), "write name: value")
        }
        LoadError::DuplicateKey(both) => {
            let first = both.prev_key.span().start().map_or(0, Marker::line);
            let what = format!("`{}` is written twice, first in line {first}", both.key.as_str());
            at(source, both.key.span().start().and_then(position), what, "keep one of the two")
        }
        LoadError::ScanError(m, cause) => at(source, position(m), format!("this is not YAML: {cause}"), LOOK_HERE),
    }
}

/// A mapping or list is placed where its key stands: that is the word a person looks for.
fn convert(marked: &Marked, key_place: Place) -> Node {
    let own = |span: &marked_yaml::Span| match span.start() {
        Some(marker) => Place { position: Some((marker.line(), marker.column())), var: None },
        None => key_place,
    };
    match marked {
        Marked::Scalar(scalar) => {
            let text = scalar.as_str().to_string();
            let plain = scalar.may_coerce();
            let place = if plain && text.is_empty() { key_place } else { own(scalar.span()) };
            Node { place, kind: Kind::Scalar { text, plain } }
        }
        Marked::Sequence(items) => {
            let items = items.iter().map(|item| convert(item, own(item.span()))).collect();
            Node { place: key_place, kind: Kind::List(items) }
        }
        Marked::Mapping(fields) => {
            let entries = fields.iter().map(|(key, value)| {
                let key_place = own(key.span());
                Entry { key: key.as_str().to_string(), key_place, node: convert(value, key_place) }
            });
            Node { place: key_place, kind: Kind::Map(entries.collect()) }
        }
    }
}

/// Reads any YAML and keeps nothing. Unlike `IgnoredAny` it descends by the stack, which is what makes serde_yaml
/// count the depth.
struct WellFormed;

impl<'de> Deserialize<'de> for WellFormed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AnyShape)
    }
}

struct AnyShape;

impl<'de> Visitor<'de> for AnyShape {
    type Value = WellFormed;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("YAML without tags")
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_i128<E: de::Error>(self, _: i128) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_u128<E: de::Error>(self, _: u128) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_unit<E: de::Error>(self) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_none<E: de::Error>(self) -> Result<WellFormed, E> {
        Ok(WellFormed)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<WellFormed, A::Error> {
        while items.next_element::<WellFormed>()?.is_some() {}
        Ok(WellFormed)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<WellFormed, A::Error> {
        while fields.next_entry::<WellFormed, WellFormed>()?.is_some() {}
        Ok(WellFormed)
    }
}
