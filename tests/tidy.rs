//! The house rules as tests over the source tree: shape, direction, banned calls. Each rule also fails on a bad sample,
//! so that a rule which finds nothing is known to look.

mod rules;
mod scan;

use std::process::Command;

use lifeboat_tests::tools::{repository, succeed};

use rules::Finding;

/// No line is at fault.
const NONE: [usize; 0] = [];

/// Every file that git tracks or would add, with its text; files that are not text are left out.
fn tree() -> Vec<(String, String)> {
    let mut git = Command::new("git");
    git.current_dir(repository()).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]);
    let listed = String::from_utf8(succeed(&mut git)).expect("our paths are UTF-8");
    let mut files: Vec<(String, String)> = listed
        .split_terminator('\0')
        // A file that was removed but not yet committed is listed and cannot be read.
        .filter_map(|path| Some((path.to_owned(), std::fs::read_to_string(repository().join(path)).ok()?)))
        .collect();
    files.sort();
    files.dedup();
    assert!(files.iter().any(|(path, _)| path == "Cargo.toml"), "the tree was not read");
    files
}

#[track_caller]
fn none(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(Finding::to_string).collect();
    assert!(findings.is_empty(), "{} findings:\n{}", findings.len(), lines.join("\n"));
}

/// Applies a rule to every file.
#[track_caller]
fn holds(rule: fn(&str, &str) -> Vec<Finding>) {
    let findings: Vec<Finding> = tree().iter().flat_map(|(path, text)| rule(path, text)).collect();
    none(&findings);
}

/// Applies a rule to a sample and returns the lines it finds fault with.
fn lines(rule: fn(&str, &str) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(path, text).iter().map(|finding| finding.line).collect()
}

#[test]
fn the_top_level_holds_only_what_belongs_there() {
    let findings: Vec<Finding> = tree().iter().filter_map(|(path, _)| rules::top_level(path)).collect();
    none(&findings);
    assert!(rules::top_level("scripts/deploy.sh").is_some());
    assert!(rules::top_level("notes.md").is_some());
    assert!(rules::top_level("agent/src/lib.rs").is_none());
}

#[test]
fn files_are_short() {
    holds(rules::file_length);
    let long = "// line\n".repeat(601);
    assert_eq!(lines(rules::file_length, "agent/src/long.rs", &long), [601]);
    assert_eq!(lines(rules::file_length, "agent/src/long.rs", &long[8..]), NONE);
}

#[test]
fn functions_are_short() {
    holds(rules::function_length);
    let body = "    let brace = '{'; // }\n".repeat(59);
    let long = format!("fn short() {{}}\n\npub async fn long<const N: usize>() -> [u8; 2] {{\n{body}}}\n");
    assert_eq!(lines(rules::function_length, "agent/src/long.rs", &long), [3]);
    let fits = long.replacen("    let brace = '{'; // }\n", "", 1);
    assert_eq!(lines(rules::function_length, "agent/src/long.rs", &fits), NONE);
}

#[test]
fn lines_fit_the_screen() {
    holds(rules::columns);
    let text = format!("{}\n{}\n", "x".repeat(140), "x".repeat(141));
    assert_eq!(lines(rules::columns, "agent/src/a.rs", &text), [2]);
}

#[test]
fn sources_are_ascii() {
    holds(rules::ascii);
    assert_eq!(lines(rules::ascii, "agent/src/a.rs", "fine\nna\u{ef}ve\n"), [2]);
}

#[test]
fn modules_have_names_of_their_own() {
    holds(rules::no_mod_rs);
    assert_eq!(lines(rules::no_mod_rs, "agent/src/store/mod.rs", ""), [1]);
}

#[test]
fn what_judges_backups_cannot_panic() {
    holds(rules::no_panics);
    let tests = "#[cfg(test)]\nmod tests {\n    fn g() { c.unwrap(); }\n}\n";
    let bad = &format!("fn f() {{\n    a.unwrap();\n    b.expect(\"x\");\n    panic!();\n    \"panic!\";\n}}\n{tests}");
    for path in ["policy/src/a.rs", "agent/etcd/src/b.rs", "agent/src/restore.rs", "agent/src/catalog/entry.rs"] {
        assert_eq!(lines(rules::no_panics, path, bad), [2, 3, 4], "{path}");
    }
    assert_eq!(lines(rules::no_panics, "agent/src/cli/list.rs", bad), NONE);
    assert_eq!(lines(rules::no_panics, "policy/src/retention/tests.rs", bad), NONE);
}

#[test]
fn time_and_environment_come_through_their_seams() {
    holds(rules::seams);
    let bad = "fn f() {\n    Utc::now();\n    std::time::Instant::now();\n    std::env::var_os(\"HOME\");\n    // Utc::now()\n}\n";
    assert_eq!(lines(rules::seams, "agent/src/daemon.rs", bad), [2, 3, 4]);
    for path in ["agent/src/clock.rs", "agent/src/config/env.rs", "agent/src/config.rs", "tests/run_e2e.rs"] {
        assert_eq!(lines(rules::seams, path, bad), NONE, "{path}");
    }
}

#[test]
fn stages_import_only_what_stands_left_of_them() {
    holds(rules::stage_order);
    let bad = "use crate::prune::Plan;\nuse crate::{\n    clock, error::Error,\n    daemon::Loop,\n};\nfn f() { crate::catalog::x() }\n";
    assert_eq!(lines(rules::stage_order, "agent/src/fetch.rs", bad), [1, 4]);
    assert_eq!(lines(rules::stage_order, "agent/src/store/naming.rs", bad), [1, 4, 6]);
    assert_eq!(lines(rules::stage_order, "agent/src/clock.rs", bad), [1, 4, 6]);
    assert_eq!(lines(rules::stage_order, "agent/src/summary.rs", bad), [4]);
    assert_eq!(lines(rules::stage_order, "agent/src/daemon.rs", bad), NONE);
    let tests = "#[cfg(test)]\nmod tests {\n    use crate::prune::Plan;\n}\n";
    assert_eq!(lines(rules::stage_order, "agent/src/fetch.rs", tests), NONE);
    assert_eq!(lines(rules::stage_order, "agent/src/helpers.rs", ""), [1], "a module without a place in the order");
}

#[test]
fn pure_crates_stand_alone() {
    holds(rules::pure_crates);
    let bad = "[package]\nname = \"x\"\n[dependencies]\ntokio.workspace = true\netcdfile = { path = \"etcd\" }\nserde = \"1\"\n";
    assert_eq!(lines(rules::pure_crates, "policy/Cargo.toml", bad), [4, 5]);
    assert_eq!(lines(rules::pure_crates, "agent/Cargo.toml", bad), NONE);
}

#[test]
fn nothing_is_left_for_later() {
    holds(rules::nothing_left);
    let bad = format!(
        "// {}: x\nfn f() {{}}\n#[{}]\n# {}\n",
        concat!("TO", "DO"),
        concat!("ig", "nore"),
        concat!("FIX", "ME")
    );
    assert_eq!(lines(rules::nothing_left, "agent/src/a.rs", &bad), [1, 3, 4]);
}

#[test]
fn every_dependency_stands_in_a_group_with_its_reason() {
    holds(rules::dependency_reasons);
    let bad = "[workspace.dependencies]\n# Why.\na = \"1\"\nb = \"*\"\n\nc = \"1\"\nd = { version = \"2\" }\n\n[profile.dev]\ndebug = 1\n";
    assert_eq!(lines(rules::dependency_reasons, "Cargo.toml", bad), [4, 6, 7]);
}

#[test]
fn nothing_names_the_machine_it_was_written_on() {
    holds(rules::no_foreign_paths);
    let bad = format!("fine\n{}\n", concat!("see /ro", "ot/notes"));
    assert_eq!(lines(rules::no_foreign_paths, "README.md", &bad), [2]);
}
