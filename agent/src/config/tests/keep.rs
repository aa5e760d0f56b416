//! `keep` and `prune`.

use super::*;
use lifeboat_policy::retention::Keep;

#[test]
fn every_keep_rule_is_read_and_written_back() {
    let rules = "within: 48h, within_hourly: 3d, within_daily: 14d, within_weekly: 70d, within_monthly: 365d, \
                 within_quarterly: 730d, within_yearly: 3650d, last: 1, hourly: 2, daily: 3, weekly: 4, monthly: 5, \
                 quarterly: 6, yearly: 7, min_proven: 8, budget: 100GiB";
    let text = full().replace("within: 48h, daily: 14, weekly: 8, monthly: 12, min_proven: 2", rules);
    let (config, warnings) = good(&text, &control_plane());
    assert_eq!(warnings, Vec::<String>::new());
    let days = |days: u64| Some(Duration::from_secs(days * 86_400));
    let keep = Keep {
        last: 1,
        hourly: 2,
        daily: 3,
        weekly: 4,
        monthly: 5,
        quarterly: 6,
        yearly: 7,
        within: days(2),
        within_hourly: days(3),
        within_daily: days(14),
        within_weekly: days(70),
        within_monthly: days(365),
        within_quarterly: days(730),
        within_yearly: days(3650),
        min_proven: 8,
        budget: Some(100 << 30),
    };
    assert_eq!(config.keep, Some(keep));
    let (again, _) = good(&effective(&config), &control_plane());
    assert_eq!((again.keep, again.prune), (config.keep, config.prune));
    let keep = |rules: &str| change("cluster:", &format!("keep: {{ {rules} }}\ncluster:"));
    holds(&keep("daily: 3, budget: 100GB"), &["keep.budget: expected a size like 12GiB"]);
    holds(&keep("daily: 3, budget: 0GiB"), &["keep.budget: a budget of nothing leaves no room for any rule"]);
    holds(&keep("budget: 1GiB"), &["keep: no rule keeps anything"]);
    holds(&keep("within_daily: 7"), &["keep.within_daily: expected a duration like 15m"]);
}

#[test]
fn how_much_a_backup_may_shrink_is_a_share_or_off() {
    let with = |share: &str| full().replace("freeze_if_shrunk: 50%", &format!("freeze_if_shrunk: {share}"));
    for (share, read) in [("off", None), ("1%", Some(1)), ("\"99%\"", Some(99))] {
        let (config, warnings) = good(&with(share), &control_plane());
        let low = format!("warning: prune.freeze_if_shrunk: {share} is below the default of 50%");
        assert_eq!(warnings.iter().any(|warning| warning.contains(&low)), share != "\"99%\"", "{warnings:?}");
        assert_eq!(config.prune.freeze_if_shrunk, read, "{share}");
        let (again, _) = good(&effective(&config), &control_plane());
        assert_eq!(again.prune, config.prune);
    }
    for share in ["0%", "100%", "50", "0.5", "half", "-5%", "256%"] {
        let findings = bad(&with(share), &control_plane());
        holds(&findings[0].to_string(), &["prune.freeze_if_shrunk: expected a share from 1% to 99%, or off, found"]);
    }
}
