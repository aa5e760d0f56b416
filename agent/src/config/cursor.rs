//! A place in the tree while it is read. What is wrong is noted and reading goes on, so that one run tells everything.

use super::env::Env;
use super::finding::{Finding, Severity};
use super::nearest::nearest;
use super::tree::{Entry, Kind, Node, Place};
use super::units::parse_size;
use chrono::{DateTime, Utc};
use std::cell::RefCell;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What every cursor of one reading shares.
pub(crate) struct Reading<'a> {
    pub(crate) env: &'a dyn Env,
    source: &'a str,
    root: &'a Node,
    findings: RefCell<Vec<Finding>>,
}

impl<'a> Reading<'a> {
    pub(crate) fn new(source: &'a str, root: &'a Node, env: &'a dyn Env) -> Self {
        Reading { env, source, root, findings: RefCell::new(Vec::new()) }
    }

    pub(crate) fn root(&'a self) -> Cursor<'a> {
        Cursor { reading: self, node: self.root, path: String::new() }
    }

    /// For checks across fields: the finding is placed at `path`, or at the nearest thing above it that was written.
    pub(crate) fn error(&self, path: &[&str], what: impl Into<String>, fix: impl Into<String>) {
        self.note_at(Severity::Error, path, what.into(), fix.into());
    }

    pub(crate) fn warning(&self, path: &[&str], what: impl Into<String>, fix: impl Into<String>) {
        self.note_at(Severity::Warning, path, what.into(), fix.into());
    }

    /// Whether something stands at `path`, readable or not.
    pub(crate) fn written(&self, path: &[&str]) -> bool {
        path.iter().try_fold(self.root, |node, segment| node.child(segment)).is_some()
    }

    fn note_at(&self, severity: Severity, path: &[&str], what: String, fix: String) {
        let mut node = self.root;
        let mut shown = String::new();
        let mut written = true;
        for segment in path {
            shown = joined(&shown, segment);
            match node.child(segment) {
                Some(child) if written => node = child,
                _ => written = false,
            }
        }
        self.note(severity, node.place, shown, what, fix);
    }

    fn note(&self, severity: Severity, place: Place, path: String, what: String, fix: String) {
        let source = place.var.unwrap_or(self.source).to_string();
        let what = what.chars().flat_map(printable).collect();
        let (line, column) = place.position.unzip();
        self.findings.borrow_mut().push(Finding { severity, source, path, line, column, what, fix });
    }

    /// Everything noted, in the order of the file; what has no position comes first.
    pub(crate) fn finish(&self) -> Vec<Finding> {
        let mut findings = self.findings.take();
        findings.sort_by_key(|finding| (finding.line, finding.column));
        findings.dedup();
        findings
    }
}

#[derive(Clone)]
pub(crate) struct Cursor<'a> {
    pub(crate) reading: &'a Reading<'a>,
    pub(crate) node: &'a Node,
    pub(crate) path: String,
}

impl<'a> Cursor<'a> {
    pub(crate) fn error(&self, what: impl Into<String>, fix: impl Into<String>) {
        self.reading.note(Severity::Error, self.node.place, self.path.clone(), what.into(), fix.into());
    }

    pub(crate) fn warning(&self, what: impl Into<String>, fix: impl Into<String>) {
        self.reading.note(Severity::Warning, self.node.place, self.path.clone(), what.into(), fix.into());
    }

    fn expected(&self, wanted: &str, fix: impl Into<String>) {
        self.error(format!("expected {wanted}, found {}", self.node.describe()), fix);
    }

    /// The fields of a mapping, of which only `known` may occur.
    pub(crate) fn fields(&self, known: &'static [&'static str]) -> Option<Fields<'a>> {
        self.fields_besides(known, &[])
    }

    /// The same, where fields of `besides` get an answer of their own from the caller.
    pub(crate) fn fields_besides(&self, known: &'static [&'static str], besides: &[&str]) -> Option<Fields<'a>> {
        let Kind::Map(entries) = &self.node.kind else {
            self.expected("a mapping", format!("give it fields: {}", known.join(", ")));
            return None;
        };
        let fields = Fields { cursor: self.clone(), entries };
        let foreign = |key: &str| !known.contains(&key) && !besides.contains(&key);
        for entry in entries.iter().filter(|entry| foreign(&entry.key)) {
            let what = match nearest(&entry.key, known.iter().copied()) {
                Some(near) => format!("unknown field `{}`: did you mean `{near}`?", shown(&entry.key)),
                None => format!("unknown field `{}`", shown(&entry.key)),
            };
            fields.note_key(entry, what, format!("fields here: {}", known.join(", ")));
        }
        Some(fields)
    }

    /// Every entry of a mapping whose keys are free.
    pub(crate) fn entries(&self, wanted: &str, fix: &str) -> Vec<(&'a str, Cursor<'a>)> {
        let Kind::Map(entries) = &self.node.kind else {
            self.expected(wanted, fix);
            return Vec::new();
        };
        entries.iter().map(|entry| (entry.key.as_str(), self.below(&entry.key, &entry.node))).collect()
    }

    pub(crate) fn items(&self, wanted: &str, fix: &str) -> Vec<Cursor<'a>> {
        let Kind::List(items) = &self.node.kind else {
            self.expected(wanted, fix);
            return Vec::new();
        };
        let items = items.iter().enumerate();
        items.map(|(i, node)| Cursor { reading: self.reading, node, path: format!("{}[{i}]", self.path) }).collect()
    }

    fn below(&self, key: &str, node: &'a Node) -> Cursor<'a> {
        Cursor { reading: self.reading, node, path: joined(&self.path, key) }
    }

    /// Text, in quotes or plain. A plain number or boolean is refused, because its text is seldom what was meant.
    pub(crate) fn text(&self, wanted: &str) -> Option<&'a str> {
        self.text_or(wanted, "if it must look like this, put it in quotes")
    }

    fn text_or(&self, wanted: &str, fix: &str) -> Option<&'a str> {
        match (&self.node.kind, self.node.describe()) {
            (Kind::Scalar { text, .. }, "text") => return Some(text),
            (Kind::Scalar { .. }, "nothing") => self.expected(wanted, "give it a value, or leave the field out"),
            (Kind::Scalar { .. }, _) => self.expected(wanted, fix),
            _ => self.expected(wanted, "write one value"),
        }
        None
    }

    /// Any scalar as it was written.
    pub(crate) fn scalar(&self, wanted: &str) -> Option<&'a str> {
        match &self.node.kind {
            Kind::Scalar { text, .. } if !self.node.is_nothing() => Some(text),
            _ => {
                self.expected(wanted, "write one value, without lists or mappings");
                None
            }
        }
    }

    pub(crate) fn duration(&self) -> Option<Duration> {
        let text = self.text_or("a duration like 15m", SPAN_FIX)?;
        match lifeboat_policy::span::parse(text) {
            Ok(span) => Some(span),
            Err(error) => {
                self.error(error.to_string(), SPAN_FIX);
                None
            }
        }
    }

    pub(crate) fn positive_duration(&self) -> Option<Duration> {
        let span = self.duration()?;
        if span.is_zero() {
            self.error("zero leaves no time at all", "give it at least 1s");
            return None;
        }
        Some(span)
    }

    pub(crate) fn size(&self) -> Option<u64> {
        const FIX: &str = "write a whole number and its unit: KiB, MiB, GiB or TiB";
        let text = self.text_or("a size like 12GiB", FIX)?;
        let size = parse_size(text);
        if size.is_none() {
            self.error(format!("expected a size like 12GiB, found `{}`", shown(text)), FIX);
        }
        size
    }

    pub(crate) fn whole<T: FromStr>(&self) -> Option<T> {
        let number = match &self.node.kind {
            Kind::Scalar { text, plain: true } => text.parse().ok(),
            _ => None,
        };
        if number.is_none() {
            self.expected("a whole number", "write a number such as 14, without quotes or a unit");
        }
        number
    }

    /// A path that means the same whatever the working directory.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        let text = self.text("an absolute path")?;
        if !text.starts_with('/') || text.contains('\0') {
            self.error("expected an absolute path, beginning with /", "write the whole path: /etc/lifeboat/...");
            return None;
        }
        Some(PathBuf::from(text))
    }

    /// A moment, or a date, which is its first moment in UTC.
    pub(crate) fn moment(&self) -> Option<DateTime<Utc>> {
        let text = self.text("a time like 2027-01-31T00:00:00Z, or a date")?;
        match lifeboat_policy::moment::parse(text) {
            Ok(at) => Some(at),
            Err(error) => {
                self.error(error, "write a time with its zone, 2027-01-31T00:00:00Z, or a date, which begins in UTC");
                None
            }
        }
    }

    pub(crate) fn is_mapping(&self) -> bool {
        matches!(self.node.kind, Kind::Map(_))
    }

    /// One of a few words.
    pub(crate) fn word<T: Copy>(&self, words: &[(&'static str, T)]) -> Option<T> {
        let names = words.iter().map(|(name, _)| *name);
        let list = names.clone().collect::<Vec<_>>().join(", ");
        let text = self.text(&format!("one of {list}"))?;
        let found = words.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let guess = nearest(text, names).map(|near| format!(": did you mean `{near}`?")).unwrap_or_default();
            self.error(format!("unknown value `{}`{guess}", shown(text)), format!("write one of {list}"));
        }
        found
    }
}

pub(crate) const SPAN_FIX: &str = "write a number and a unit: 90s, 15m, 48h, 2d, 8w";

/// A mapping whose field names are known.
#[derive(Clone)]
pub(crate) struct Fields<'a> {
    cursor: Cursor<'a>,
    entries: &'a [Entry],
}

impl<'a> Fields<'a> {
    pub(crate) fn get(&self, name: &str) -> Option<Cursor<'a>> {
        let entry = self.entries.iter().find(|entry| entry.key == name)?;
        Some(self.cursor.below(name, &entry.node))
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.entries.iter().any(|entry| entry.key == name)
    }

    /// The field, or a finding that it is missing.
    pub(crate) fn need(&self, name: &str, fix: &str) -> Option<Cursor<'a>> {
        let found = self.get(name);
        if found.is_none() {
            let path = joined(&self.cursor.path, name);
            self.cursor.reading.note(Severity::Error, self.cursor.node.place, path, "is missing".into(), fix.into());
        }
        found
    }

    /// Fields of later versions are refused by name: ignoring them would promise what does not happen.
    pub(crate) fn not_yet(&self, names: &[&str]) {
        for entry in self.entries.iter().filter(|entry| names.contains(&entry.key.as_str())) {
            self.note_key(entry, format!("`{}` {NOT_YET}", entry.key), LEAVE_OUT.into());
        }
    }

    /// Secrets have no place in a file that is shown, diffed and mailed.
    pub(crate) fn no_secret(&self, name: &str, instead: &str) {
        for entry in self.entries.iter().filter(|entry| entry.key == name) {
            let what = format!("`{name}` is a secret, and secrets are never written into the config");
            self.note_key(entry, what, format!("put it into a file and name that file with `{instead}`"));
        }
    }

    fn note_key(&self, entry: &Entry, what: String, fix: String) {
        let path = joined(&self.cursor.path, &entry.key);
        self.cursor.reading.note(Severity::Error, entry.key_place, path, what, fix);
    }
}

pub(crate) const NOT_YET: &str = "is not in this version yet (0.1)";
pub(crate) const LEAVE_OUT: &str = "leave it out";

fn joined(path: &str, key: &str) -> String {
    let key = shown(key);
    if !path.is_empty() && !key.is_empty() && key.bytes().all(|b| b.is_ascii_digit()) {
        format!("{path}[{key}]")
    } else if key.contains('.') {
        format!("{path}[\"{key}\"]")
    } else if path.is_empty() {
        key
    } else {
        format!("{path}.{key}")
    }
}

fn printable(c: char) -> impl Iterator<Item = char> {
    let control = c.is_control();
    std::iter::once(c).filter(move |_| !control).chain(c.escape_debug().filter(move |_| control))
}

/// Short and fit for one line of a terminal, whatever somebody wrote.
pub(crate) fn shown(text: &str) -> String {
    let mut short: String = text.chars().take(60).flat_map(char::escape_debug).collect();
    if text.chars().nth(60).is_some() {
        short.push_str("...");
    }
    short
}
