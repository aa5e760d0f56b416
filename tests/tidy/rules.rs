//! One function per rule: a path and its text in, findings out.

use std::fmt;

use super::scan;

/// Something that breaks a rule, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    path: String,
    pub(crate) line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

const FILE_LINES: usize = 600;
const FUNCTION_LINES: usize = 60;
const COLUMNS: usize = 140;

/// Files that may be longer than the rule: tables, and tests that are clearer in one piece. Each with its reason.
const LONG_FILES: [&str; 0] = [];

/// Functions that may be longer than the rule, as `path:name`. Each with its reason.
const LONG_FUNCTIONS: [&str; 0] = [];

const TOP_LEVEL: [&str; 10] = [
    "Cargo.toml",
    "Cargo.lock",
    "README.md",
    "LICENSE",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "agent",
    "policy",
    "charts",
    "examples",
];

pub(crate) fn top_level(path: &str) -> Option<Finding> {
    let first = path.split('/').next().unwrap_or(path);
    let known = first.starts_with('.') || first == "tests" || TOP_LEVEL.contains(&first);
    (!known).then(|| {
        Finding::new(path, 1, "does not belong at the top level; TOP_LEVEL in tests/tidy/rules.rs lists what does")
    })
}

fn is_rust(path: &str) -> bool {
    path.ends_with(".rs")
}

/// Written by hand and read by people: sources, scripts, settings; prose and lock files are not meant.
fn is_source(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    let script = !name.contains('.') && name != "LICENSE";
    let kinds = [".rs", ".py", ".sh", ".toml", ".yaml", ".yml", ".tpl"];
    script || kinds.iter().any(|kind| name.ends_with(kind))
}

/// Test code: the tests crate, and modules of tests beside what they test.
fn is_test(path: &str) -> bool {
    path.starts_with("tests/") || path.contains("/tests/") || path.ends_with("/tests.rs") || path.ends_with("_tests.rs")
}

pub(crate) fn file_length(path: &str, text: &str) -> Vec<Finding> {
    let lines = text.lines().count();
    if !is_rust(path) || lines <= FILE_LINES || LONG_FILES.contains(&path) {
        return Vec::new();
    }
    vec![Finding::new(path, lines, format!("{lines} lines; a file has at most {FILE_LINES}"))]
}

pub(crate) fn function_length(path: &str, text: &str) -> Vec<Finding> {
    if !is_rust(path) {
        return Vec::new();
    }
    scan::functions(&scan::code_only(text))
        .into_iter()
        .filter(|f| f.lines > FUNCTION_LINES && !LONG_FUNCTIONS.contains(&format!("{path}:{}", f.name).as_str()))
        .map(|f| {
            Finding::new(
                path,
                f.line,
                format!("fn {} has {} lines; a function has at most {FUNCTION_LINES}", f.name, f.lines),
            )
        })
        .collect()
}

/// Findings for every line of `text` that `fault` finds fault with.
fn each_line(path: &str, text: &str, fault: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    text.lines().enumerate().filter_map(|(n, line)| Some(Finding::new(path, n + 1, fault(line)?))).collect()
}

pub(crate) fn columns(path: &str, text: &str) -> Vec<Finding> {
    if !is_source(path) {
        return Vec::new();
    }
    each_line(path, text, |line| {
        let columns = line.chars().count();
        (columns > COLUMNS).then(|| format!("{columns} columns; a line has at most {COLUMNS}"))
    })
}

pub(crate) fn ascii(path: &str, text: &str) -> Vec<Finding> {
    if !is_source(path) {
        return Vec::new();
    }
    each_line(path, text, |line| {
        let c = line.chars().find(|c| !c.is_ascii())?;
        Some(format!("{c:?} is not ASCII; write an escape"))
    })
}

pub(crate) fn no_mod_rs(path: &str, _: &str) -> Vec<Finding> {
    if path.ends_with("/mod.rs") {
        return vec![Finding::new(path, 1, "write foo.rs beside foo/, so that every tab in an editor has a name")];
    }
    Vec::new()
}

/// Findings for every banned call in production code.
fn calls(path: &str, text: &str, banned: &[&str], why: &str) -> Vec<Finding> {
    let code = scan::without_tests(&scan::code_only(text));
    each_line(path, &code, |line| {
        let call = banned.iter().find(|call| line.contains(**call))?;
        Some(format!("{call} {why}"))
    })
}

pub(crate) fn no_panics(path: &str, text: &str) -> Vec<Finding> {
    let strict = [
        "policy/src/",
        "agent/etcd/src/",
        "agent/src/catalog",
        "agent/src/prune",
        "agent/src/restore",
        "agent/src/inplace",
    ];
    if !is_rust(path) || is_test(path) || !strict.iter().any(|start| path.starts_with(start)) {
        return Vec::new();
    }
    let banned = [".unwrap()", ".expect(", "panic!", "todo!", "unimplemented!"];
    calls(path, text, &banned, "may not stand here: what judges, deletes or restores backups returns errors")
}

pub(crate) fn seams(path: &str, text: &str) -> Vec<Finding> {
    let seam = path == "agent/src/clock.rs" || path == "agent/src/main.rs" || path.starts_with("agent/src/config");
    if !is_rust(path) || is_test(path) || seam {
        return Vec::new();
    }
    let banned = ["Utc::now", "Local::now", "SystemTime::now", "Instant::now", "env::var"];
    calls(path, text, &banned, "belongs in agent/src/clock.rs or agent/src/config; elsewhere it is an argument")
}

/// The line of DESIGN section 1; each stage may use what stands left of it.
const STAGES: [&str; 13] = [
    "capture", "seal", "store", "catalog", "wish", "holdings", "fetch", "copy", "reseal", "restore", "proof", "prune",
    "inplace",
];
/// Small modules that every stage may use, and that use only each other.
const SEAMS: [&str; 8] = ["clock", "config", "digest", "error", "glob", "keys", "scratch", "spool"];
/// What the composers share: they look at stages, and no stage knows of them.
const FRAME: [&str; 6] = ["doctor", "http", "metrics", "setup", "summary", "verify"];
/// What composes all; nothing else may use it.
const COMPOSERS: [&str; 4] = ["cli", "daemon", "lib", "main"];

fn is_known(module: &str) -> bool {
    STAGES.contains(&module) || SEAMS.contains(&module) || FRAME.contains(&module) || COMPOSERS.contains(&module)
}

fn may_use(module: &str, other: &str) -> bool {
    let place = |name: &str| STAGES.iter().position(|stage| *stage == name);
    if module == other || COMPOSERS.contains(&module) || SEAMS.contains(&other) {
        return true;
    }
    if FRAME.contains(&module) {
        return STAGES.contains(&other) || FRAME.contains(&other);
    }
    matches!((place(module), place(other)), (Some(here), Some(there)) if there < here)
}

pub(crate) fn stage_order(path: &str, text: &str) -> Vec<Finding> {
    let Some(rest) = path.strip_prefix("agent/src/").filter(|_| is_rust(path) && !is_test(path)) else {
        return Vec::new();
    };
    let module = rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs");
    if !is_known(module) {
        return vec![Finding::new(path, 1, "has no place in the order of stages: give it one in tests/tidy/rules.rs")];
    }
    scan::crate_paths(&scan::without_tests(&scan::code_only(text)))
        .into_iter()
        .filter(|(other, _)| is_known(other) && !may_use(module, other))
        .map(|(other, line)| {
            let what = format!("{module} may not use {other}; the order is in tests/tidy/rules.rs");
            Finding::new(path, line, what)
        })
        .collect()
}

pub(crate) fn pure_crates(path: &str, text: &str) -> Vec<Finding> {
    if !["policy/Cargo.toml", "agent/etcd/Cargo.toml"].contains(&path) {
        return Vec::new();
    }
    let banned =
        ["lifeboat", "lifeboat-policy", "etcdfile", "tokio", "futures", "async-trait", "object_store", "etcd-client"];
    let mut dependencies = false;
    let mut findings = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            dependencies = line.contains("dependencies");
        }
        let name: String = line.chars().take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c)).collect();
        if dependencies && banned.contains(&name.as_str()) {
            findings.push(Finding::new(path, n + 1, format!("{name} may not come into a pure crate")));
        }
    }
    findings
}

pub(crate) fn nothing_left(path: &str, text: &str) -> Vec<Finding> {
    if !is_source(path) {
        return Vec::new();
    }
    let banned = [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("#[ig", "nore")];
    each_line(path, text, |line| {
        let word = banned.iter().find(|word| line.contains(**word))?;
        Some(format!("{word}: do it, or open an issue"))
    })
}

pub(crate) fn dependency_reasons(path: &str, text: &str) -> Vec<Finding> {
    if path != "Cargo.toml" {
        return Vec::new();
    }
    let (mut inside, mut reason) = (false, false);
    let mut findings = Vec::new();
    for (n, line) in text.lines().enumerate() {
        if line.starts_with('[') {
            inside = line == "[workspace.dependencies]";
        } else if line.trim().is_empty() {
            reason = false;
        } else if line.starts_with('#') {
            reason = true;
        } else if inside && !reason {
            findings.push(Finding::new(path, n + 1, "stands in no group with a comment that says why we need it"));
        } else if inside && line.contains("\"*\"") {
            findings.push(Finding::new(path, n + 1, "names no version"));
        }
    }
    findings
}

/// Paths of somebody's machine are wrong everywhere else. The parts are put together here so that this file passes.
pub(crate) fn no_foreign_paths(path: &str, text: &str) -> Vec<Finding> {
    let banned = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    each_line(path, text, |line| {
        let start = banned.iter().find(|start| line.contains(**start))?;
        Some(format!("{start} is a place on one machine only"))
    })
}
