//! One thing that is wrong with a config: where, what, and what to do about it.

use crate::error::{Error, Reason};
use std::fmt;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    Error,
    Warning,
}

impl Severity {
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// Shown as `config.yaml:12:5: keep.hourly: what\n    fix: ...`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    pub severity: Severity,
    /// The file as it was named, or the environment variable that the value came from.
    pub source: String,
    /// The field, `keep.hourly`; empty for the file as a whole.
    pub path: String,
    /// Counted from 1. Absent for the file as a whole and for values from the environment.
    pub line: Option<usize>,
    pub column: Option<usize>,
    pub what: String,
    pub fix: String,
}

impl Finding {
    pub(crate) fn of_file(source: &str, what: impl Into<String>, fix: impl Into<String>) -> Finding {
        Finding {
            severity: Severity::Error,
            source: source.to_string(),
            path: String::new(),
            line: None,
            column: None,
            what: what.into(),
            fix: fix.into(),
        }
    }

    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.source)?;
        if let (Some(line), Some(column)) = (self.line, self.column) {
            write!(f, ":{line}:{column}")?;
        }
        write!(f, ": ")?;
        if self.severity == Severity::Warning {
            write!(f, "warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}\n    fix: {}", self.what, self.fix)
    }
}

/// One error for the edge, with every finding in its message.
pub fn into_error(findings: &[Finding]) -> Error {
    let errors = findings.iter().filter(|f| f.is_error()).count();
    let warnings = findings.len() - errors;
    let mut message = format!("the config has {}", counted(errors, "error"));
    if warnings > 0 {
        message.push_str(&format!(" and {}", counted(warnings, "warning")));
    }
    for finding in findings {
        message.push('\n');
        message.push_str(&finding.to_string());
    }
    Error::new(Reason::Config, message).hint("correct these, then try it with: lifeboat check-config")
}

fn counted(count: usize, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}
