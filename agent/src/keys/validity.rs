//! Which of the config's keys may be used at a moment, and which soon no more. It says so before a key ends, because a new
//! one has to reach every agent, and a recovery identity its safe, while the old one still counts.

use super::{Recipients, Trust, named};
use crate::config::{Finding, Role, Severity};
use chrono::{DateTime, TimeDelta, Utc};
use lifeboat_policy::trust::{Refusal, Validity, usable};

/// So long before its end a key is told of.
const NOTICE: TimeDelta = TimeDelta::days(30);

/// What a person should do about the validity of recipients and trusted keys. `source` is the config, `seals` whether
/// backups are made here.
pub fn judge(
    source: &str,
    recipients: Option<&Recipients>,
    trust: &Trust,
    seals: bool,
    now: DateTime<Utc>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut note = |severity, path: String, what: String, fix: String| {
        let source = source.to_owned();
        findings.push(Finding { severity, source, path, line: None, column: None, what, fix });
    };
    if let Some(recipients) = recipients {
        let path = || "keys.recipients".to_owned();
        if let Err(error) = recipients.at(now) {
            let severity = if seals { Severity::Error } else { Severity::Warning };
            note(severity, path(), error.message, error.hint.unwrap_or_default());
        }
        for (name, until) in recipients.names_and_validity().filter_map(|(name, v)| Some((name, ending(v, now)?))) {
            note(
                Severity::Warning,
                path(),
                format!("{name} is valid until {}: from then on nothing is sealed for it", day(until)),
                "add its successor beside it, on every agent that backs up".to_owned(),
            );
        }
    }
    for role in Role::ALL {
        let (path, keys) =
            (format!("keys.trusted_keys.{role}"), trust.keys().iter().filter(|known| known.role == role));
        if keys.clone().count() > 0 && !keys.clone().any(|known| usable(&known.validity, now).is_ok()) {
            note(
                Severity::Warning,
                path.clone(),
                format!("no {role} key is valid now: what that role signs counts for nothing"),
                format!("make a new one, lifeboat keygen --role {role} --out DIR, and name it here"),
            );
        }
        for (known, until) in keys.filter_map(|known| Some((known, ending(&known.validity, now)?))) {
            note(
                Severity::Warning,
                path.clone(),
                format!(
                    "{} is valid until {}: what it signs later counts for nothing",
                    named(known.key.as_str(), known.id.as_deref()),
                    day(until)
                ),
                format!(
                    "make its successor, lifeboat keygen --role {role} --out DIR, and name it here, on every agent"
                ),
            );
        }
    }
    findings
}

/// The end of a key that may be used now, where it is near.
fn ending(validity: &Validity, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
    validity.until.filter(|until| usable(validity, now).is_ok() && *until - now <= NOTICE)
}

/// Why a key may not be used, in words that follow its name.
pub fn words(why: Refusal) -> String {
    match why {
        Refusal::Revoked(at) => format!("was revoked, {}", day(at)),
        Refusal::Before(from) => format!("is valid from {} on", day(from)),
        Refusal::After(until) => format!("was valid until {}", day(until)),
    }
}

fn day(at: DateTime<Utc>) -> impl std::fmt::Display {
    at.format("%Y-%m-%d %H:%M UTC")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NamedKey;
    use crate::keys::{PublicKey, TrustedKey};
    use lifeboat_policy::moment::parse;

    const NOW: &str = "2026-11-27T12:00:00Z";

    fn recipients(untils: &[Option<&str>]) -> Recipients {
        let named = untils.iter().enumerate().map(|(at, until)| NamedKey {
            key: age::x25519::Identity::generate().to_public().to_string(),
            id: Some(format!("recovery-{at}")),
            validity: Validity { until: until.map(|until| parse(until).unwrap()), ..Validity::default() },
        });
        Recipients::load(&named.collect::<Vec<_>>()).unwrap()
    }

    fn told(recipients: &Recipients, trust: &Trust, seals: bool) -> Vec<(Severity, String)> {
        let findings = judge("config.yaml", Some(recipients), trust, seals, parse(NOW).unwrap());
        assert!(findings.iter().all(|finding| !finding.fix.is_empty()));
        findings.into_iter().map(|finding| (finding.severity, format!("{}: {}", finding.path, finding.what))).collect()
    }

    #[test]
    fn a_recipient_is_told_of_a_month_before_its_end_and_an_old_one_no_more() {
        let of = |untils: &[Option<&str>]| told(&recipients(untils), &Trust::default(), true);
        assert_eq!(of(&[None, Some("2026-12-28"), Some("2026-11-01")]), []);
        let found = of(&[None, Some("2026-12-27")]);
        assert_eq!(found.len(), 1);
        assert!(
            found[0].1.contains("(recovery-1) is valid until 2026-12-27 00:00 UTC: from then on nothing"),
            "{found:?}"
        );
        let found = of(&[Some("2026-11-01"), Some("2026-11-27")]);
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].0, Severity::Error);
        assert!(found[0].1.contains("no recipient may be sealed for now"), "{found:?}");
        let none = recipients(&[Some("2026-11-01")]);
        assert_eq!(told(&none, &Trust::default(), false)[0].0, Severity::Warning);
    }

    #[test]
    fn a_role_without_a_valid_key_is_told_of_and_a_retired_key_beside_a_new_one_is_not() {
        let key = |until: Option<&str>| {
            let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
            let validity = Validity { until: until.map(|until| parse(until).unwrap()), ..Validity::default() };
            TrustedKey { validity, ..TrustedKey::local(Role::Backup, PublicKey::parse(&pair.pk.to_base64()).unwrap()) }
        };
        let of = |untils: &[Option<&str>]| {
            let mut trust = Trust::default();
            untils.iter().for_each(|until| trust.add_key(key(*until)));
            told(&recipients(&[None]), &trust, true)
        };
        assert_eq!(of(&[]), []);
        assert_eq!(of(&[None, Some("2026-01-01")]), []);
        let found = of(&[Some("2026-01-01")]);
        assert!(found.len() == 1 && found[0].1.contains("no backup key is valid now"), "{found:?}");
        let found = of(&[Some("2026-12-01"), None]);
        assert!(found.len() == 1 && found[0].1.contains("is valid until 2026-12-01 00:00 UTC"), "{found:?}");
    }
}
