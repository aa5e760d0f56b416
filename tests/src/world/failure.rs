//! A run that must fail, and what it must tell.

use serde_json::Value;

use crate::binary::Ran;

/// An error as JSON tells it.
#[derive(Clone, Debug)]
pub struct Failure(pub Value);

impl Failure {
    #[track_caller]
    pub(super) fn of(ran: Ran, code: i32, reason: &str) -> Self {
        let ran = ran.expect_code(code);
        let error = ran.json()["error"].clone();
        assert_eq!(error["reason"], reason, "{error:#}");
        assert_eq!(error["exit_code"], code, "{error:#}");
        Self(error)
    }

    /// Message and hint as a person reads them.
    pub fn text(&self) -> String {
        let part = |name: &str| self.0[name].as_str().unwrap_or_default().to_owned();
        let causes: Vec<&str> = self.0["causes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        format!("{}\n{}\n{}", part("message"), causes.join("\n"), part("hint"))
    }

    /// The same for an error whose message holds a next step for each of several findings.
    #[track_caller]
    pub fn says_all_but_a_hint(&self, words: &[&str]) {
        let text = self.text();
        for word in words {
            assert!(text.contains(word), "{word:?} is missing in:\n{text}");
        }
    }

    /// Fails unless each of these words stands in message, causes or hint, and there is a next step.
    #[track_caller]
    pub fn says(&self, words: &[&str]) {
        self.says_all_but_a_hint(words);
        assert!(self.0["hint"].as_str().is_some_and(|hint| !hint.is_empty()), "no next step: {:#}", self.0);
    }
}
