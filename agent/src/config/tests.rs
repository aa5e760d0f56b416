use super::*;
use crate::error::Reason;
use proptest::prelude::*;

const RECIPIENT: &str = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
const PUBLIC: &str = "RWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3";

fn smallest() -> String {
    format!(
        "cluster: prod-eu-1
etcd: {{ endpoints: [http://127.0.0.1:2379] }}
stores:
  - url: s3://backups/etcd
keys:
  recipients: [{RECIPIENT}]
  signing_keys: {{ backup: /run/secrets/backup.sign.key }}
schedule: {{ backup: \"*/30 * * * *\" }}
"
    )
}

fn full() -> String {
    format!(
        "cluster: prod-eu-1
time_zone: Europe/Berlin
etcd: kubeadm
stores:
  - url: s3://backups/etcd
    options: {{ region: eu-central-1, allow_http: true }}
    options_file: /run/secrets/s3.yaml
    timeout: 45s
    name: frankfurt
  - {{ url: \"file:///mnt/backups\", name: basement, keep: {{ last: 3 }} }}
write_quorum: 2
keys:
  recipients: [{RECIPIENT}, /etc/lifeboat/recovery.pub]
  signing_keys: {{ backup: /run/b.key, prove: /run/p.key, prune: /run/u.key }}
  trusted_keys: {{ operator: [/etc/lifeboat/operator.sign.pub], prove: [{{ key: {PUBLIC}, id: prover-1, until: 2027-12-31 }}] }}
  identity_file: /run/prove.key
schedule:
  {{ backup: \"*/30 * * * *\", prove: after-backup, prune: \"17 3 * * *\", jitter: 60s, take_over: 5m, blackout: [\"22:00-02:00\"] }}
limits: {{ backup: 10m, stall: 60s, stream: 5m, prove: 30m, slow_store: fail }}
alert_after: {{ backup: auto, proof: 3h }}
keep: {{ within: 48h, daily: 14, weekly: 8, monthly: 12, min_proven: 2 }}
prune: {{ grace: 24h, min_age: 72h, max_deletions: 50, freeze_if_shrunk: 50% }}
proof:
  level: booted
  scratch: {{ dir: /var/lib/lifeboat/scratch, max: 12GiB }}
  etcd: {{ \"3.5\": /opt/etcd-3.5/etcd, \"3.6\": /opt/etcd-3.6/etcd }}
  reread: 2w
  sample: 25%
  expect: [/registry/namespaces/kube-system, \"/registry/pods/**\"]
roles: [backup, prove, prune]
http: {{ listen: 0.0.0.0:9797 }}
log: {{ format: json, level: debug }}
"
    )
}

fn control_plane() -> MapEnv {
    let files = [
        "/etc/kubernetes/pki/etcd/lifeboat.crt",
        "/etc/kubernetes/pki/etcd/lifeboat.key",
        "/opt/etcd-3.5/etcd",
        "/opt/etcd-3.6/etcd",
    ];
    MapEnv { files: files.iter().map(PathBuf::from).collect(), ..MapEnv::default() }
}

fn vars(pairs: &[(&str, &str)]) -> MapEnv {
    let vars = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    MapEnv { vars, ..control_plane() }
}

#[track_caller]
fn good(text: &str, env: &dyn Env) -> (Config, Vec<String>) {
    match Config::parse(text, "config.yaml", env) {
        Ok((config, warnings)) => {
            assert!(warnings.iter().all(|finding| finding.severity == Severity::Warning));
            (config, warnings.iter().map(Finding::to_string).collect())
        }
        Err(findings) => panic!("{}", into_error(&findings)),
    }
}

#[track_caller]
fn bad(text: &str, env: &dyn Env) -> Vec<Finding> {
    let findings = Config::parse(text, "config.yaml", env).expect_err("this config is wrong");
    assert!(findings.iter().any(Finding::is_error));
    findings
}

/// The smallest config with `from` replaced, and its findings in one text.
#[track_caller]
fn change(from: &str, to: &str) -> String {
    assert!(smallest().contains(from), "{from}");
    let findings = bad(&smallest().replace(from, to), &control_plane());
    findings.iter().map(|finding| format!("{finding}\n")).collect()
}

#[track_caller]
fn holds(text: &str, wanted: &[&str]) {
    for part in wanted {
        assert!(text.contains(part), "{part:?} is not in:\n{text}");
    }
}

#[test]
fn the_smallest_config_has_every_default() {
    let (config, warnings) = good(&smallest(), &control_plane());
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.cluster.as_str(), "prod-eu-1");
    assert_eq!(config.time_zone, chrono_tz::Tz::UTC);
    assert_eq!(config.roles, BTreeSet::from([Role::Backup]));
    assert_eq!(config.etcd.as_ref().unwrap().members, Members::Discover);
    assert_eq!(config.stores[0].name, "main");
    assert_eq!(config.stores[0].timeout, REQUEST_TIMEOUT);
    let seconds = Duration::from_secs;
    let [backup, stall, stream, compare, prove] = [600, 60, 300, 120, 1800].map(seconds);
    let limits = Limits { backup, stall, stream, compare, prove, slow_store: SlowStore::Spool };
    assert_eq!(config.write_quorum, 1);
    assert_eq!(config.limits, limits);
    let (grace, min_age) = (seconds(86_400), seconds(259_200));
    assert_eq!(config.prune, Prune { grace, min_age, max_deletions: 50, freeze_if_shrunk: Some(50) });
    assert_eq!(config.alert_after, AlertAfter { backup: None, proof: None });
    assert_eq!(config.schedule.jitter, seconds(60));
    assert!(config.schedule.blackout.is_empty());
    assert_eq!(config.schedule.take_over, seconds(120));
    assert!(matches!(config.schedule.prove, ProveWhen::AfterBackup));
    assert!(config.keep.is_none() && config.proof.level.is_none());
    assert_eq!(config.proof.scratch_dir, Path::new("/var/lib/lifeboat/scratch"));
    assert_eq!(config.proof.scratch_max_bytes, 12 << 30);
    assert_eq!((config.proof.reread, config.proof.sample_percent), (seconds(30 * 86_400), 10));
    assert_eq!(config.http.listen.to_string(), "127.0.0.1:9797");
    assert_eq!(config.log, Log { json: false, level: "info".into() });
}

#[test]
fn the_full_config_is_read() {
    let (config, warnings) = good(&full(), &control_plane());
    assert_eq!(warnings, Vec::<String>::new());
    assert_eq!(config.time_zone, chrono_tz::Tz::Europe__Berlin);
    assert_eq!(config.stores[0].options["allow_http"], "true");
    assert_eq!(config.stores[0].options_file.as_deref(), Some(Path::new("/run/secrets/s3.yaml")));
    assert_eq!(config.keys.recipients.len(), 2);
    let until = lifeboat_policy::moment::parse("2027-12-31").ok();
    let validity = Validity { until, ..Validity::default() };
    let named = NamedKey { key: PUBLIC.to_owned(), id: Some("prover-1".to_owned()), validity };
    assert_eq!(config.keys.trusted_keys[&Role::Prove], [named]);
    assert_eq!(config.alert_after.proof, Some(Duration::from_secs(3 * 3600)));
    let keep = config.keep.as_ref().unwrap();
    assert_eq!((keep.daily, keep.weekly, keep.monthly, keep.min_proven), (14, 8, 12, 2));
    assert_eq!(keep.within, Some(Duration::from_secs(48 * 3600)));
    assert_eq!(config.proof.level, Some(Level::Booted));
    assert_eq!(config.proof.etcd["3.6"], Path::new("/opt/etcd-3.6/etcd"));
    let expected: Vec<String> = config.proof.expect.iter().map(ToString::to_string).collect();
    assert_eq!(expected, ["/registry/namespaces/kube-system", "/registry/pods/**"]);
    assert!(config.log.json);
}

#[test]
fn the_effective_config_reads_back_as_itself() {
    for text in [smallest(), full()] {
        let (config, _) = good(&text, &control_plane());
        let shown = effective(&config);
        let (again, warnings) = good(&shown, &control_plane());
        assert_eq!(warnings, Vec::<String>::new());
        assert_eq!(effective(&again), shown);
        assert_eq!(format!("{again:?}"), format!("{config:?}"));
    }
}

#[test]
fn every_error_is_told_at_once_with_its_place_and_a_fix() {
    let text = "cluster: Prod
retension: 3
etcd: { endpoints: [127.0.0.1:2379] }
stores:
  - url: backups/etcd
keys:
  recipients: []
schedule: { backup: \"61 * * * *\", jitter: 5 }
keep:
  hourly: many
log: { level: inof }
";
    let findings = bad(text, &control_plane());
    let shown: Vec<_> = findings.iter().map(Finding::to_string).collect();
    let all = shown.join("\n");
    holds(
        &all,
        &[
            "config.yaml:1:10: cluster: `Prod` is no cluster name",
            "config.yaml:2:1: retension: unknown field `retension`: did you mean `keep`?",
            "config.yaml:3:21: etcd.endpoints[0]: an endpoint begins with https:// or http://",
            "config.yaml:5:10: stores[0].url: a store is a URL",
            "config.yaml:7:3: keys.recipients: nobody could open the backups",
            "config.yaml:6:1: keys.signing_keys.backup: the role backup runs here and has no key to sign with",
            "config.yaml:8:21: schedule.backup: ",
            "config.yaml:8:43: schedule.jitter: expected a duration like 15m, found a number",
            "config.yaml:10:11: keep.hourly: expected a whole number, found text",
            "config.yaml:11:15: log.level: unknown value `inof`: did you mean `info`?",
        ],
    );
    assert_eq!(shown.len(), 10, "{all}");
    assert!(shown.iter().all(|line| line.contains("\n    fix: ")), "{all}");
    let error = into_error(&findings);
    assert_eq!(error.reason, Reason::Config);
    assert!(error.message.starts_with("the config has 10 errors\nconfig.yaml:1:10: "), "{}", error.message);
}

#[test]
fn a_wrong_cron_line_names_its_field() {
    let text = change("*/30 * * * *", "*/30 25 * * *");
    holds(&text, &["schedule.backup", "hour"]);
    good(&smallest().replace("*/30 * * * *", "*/2 * * * * *"), &control_plane());
}

#[test]
fn what_is_missing_is_said() {
    holds(&change("cluster: prod-eu-1\n", ""), &["cluster: is missing"]);
    holds(
        &change("etcd: { endpoints: [http://127.0.0.1:2379] }\n", ""),
        &["etcd: is missing: the role backup", "roles: []"],
    );
    holds(&change("backup: \"*/30 * * * *\"", ""), &["schedule.backup: is missing"]);
    holds(&change("url: s3://backups/etcd", "name: main"), &["stores[0].url: is missing"]);
    holds(&change("stores:\n  - url: s3://backups/etcd\n", ""), &["stores: is missing"]);
    holds(
        &change("cluster: prod-eu-1", "cluster:"),
        &["config.yaml:1:1: cluster: expected a name like prod-eu-1, found nothing"],
    );
}

#[test]
fn what_this_version_does_not_do_is_refused_by_name() {
    for field in ["extras: [/etc]", "notify: {}"] {
        let text = change("cluster:", &format!("{field}\ncluster:"));
        holds(&text, &["is not in this version yet (0.1)", "fix: leave it out", "config.yaml:1:1:"]);
    }
    for word in ["all", "source", "off"] {
        good(&smallest().replace("2379] }", &format!("2379], compare: {word} }}")), &control_plane());
    }
}

#[test]
fn what_is_no_config_is_refused_with_its_place() {
    let place = |text: &str| bad(text, &control_plane())[0].to_string();
    holds(&place(""), &["config.yaml: the file is empty"]);
    holds(&place("# nothing\n"), &["config.yaml: "]);
    holds(&place("{}"), &["the file is empty"]);
    holds(&place("just words"), &["a config is a mapping of fields"]);
    holds(&place("- a\n- b\n"), &["a config is a mapping of fields"]);
    holds(&place("a: b: c\n"), &["config.yaml:1:5: this is not YAML: mapping values are not allowed"]);
    holds(&place("cluster: \"x\n"), &["this is not YAML"]);
    holds(&place("a: 1\n---\nb: 2\n"), &["more than one document"]);
    holds(&place("cluster: x\ncluster: y\n"), &["config.yaml:2:1: `cluster` is written twice, first in line 1"]);
    holds(&place("a: &x 1\nb: *x\n"), &["config.yaml:1:", "anchors and aliases"]);
    holds(&place("a: !secret 1\n"), &["config.yaml:1:"]);
    holds(&place(&"[".repeat(100_000)), &["this is not YAML"]);
    holds(&place(&format!("a: {}1{}", "[".repeat(1000), "]".repeat(1000))), &["recursion limit", "nested this deep"]);
    holds(&place(&"a: b\n".repeat(100_000)), &["bytes are no config"]);
    holds(&place("? [a]\n: b\n"), &["a field's name must be a word"]);
}

#[test]
fn an_alias_bomb_ends_soon() {
    let mut text = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x]\n");
    for level in 1..12 {
        let items = vec![format!("*a{}", level - 1); 9].join(",");
        text.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    holds(&bad(&text, &control_plane())[0].to_string(), &["config.yaml"]);
}

#[test]
fn files_that_cannot_be_read_fail_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    let error = Config::load_with(&path, &control_plane()).unwrap_err();
    assert_eq!(error.reason, Reason::Config);
    assert!(error.message.contains("config.yaml"));
    std::fs::write(&path, b"cluster: x\nlog: \xff\n").unwrap();
    let error = Config::load_with(&path, &control_plane()).unwrap_err();
    assert_eq!(error.reason, Reason::Config);
    holds(&error.message, &["config.yaml:2:6: this is not UTF-8 text"]);
    std::fs::write(&path, smallest()).unwrap();
    let (config, warnings) = Config::load_with(&path, &control_plane()).unwrap();
    assert_eq!((config.cluster.as_str(), warnings.len()), ("prod-eu-1", 0));
}

#[test]
fn kubeadm_takes_its_own_certificate_or_borrows_one_with_a_warning() {
    let tls = |env: &MapEnv| {
        let (config, warnings) = good(&smallest().replace("{ endpoints: [http://127.0.0.1:2379] }", "kubeadm"), env);
        let etcd = config.etcd.unwrap();
        assert_eq!(etcd.endpoints, ["https://127.0.0.1:2379"]);
        assert_eq!(etcd.members, Members::Discover);
        let tls = etcd.tls.unwrap();
        assert_eq!(tls.ca_file.unwrap(), Path::new("/etc/kubernetes/pki/etcd/ca.crt"));
        (tls.cert_file.unwrap(), tls.key_file.unwrap(), warnings.join("\n"))
    };
    let path = |name: &str| PathBuf::from(format!("/etc/kubernetes/pki/etcd/{name}"));
    assert_eq!(tls(&control_plane()), (path("lifeboat.crt"), path("lifeboat.key"), String::new()));
    let mut old = MapEnv::default();
    old.files.extend(["healthcheck-client.crt", "healthcheck-client.key"].map(path));
    let (cert, key, warning) = tls(&old);
    assert_eq!((cert, key), (path("healthcheck-client.crt"), path("healthcheck-client.key")));
    holds(&warning, &["config.yaml:2:7: warning: etcd: ", "healthcheck-client certificate is used instead"]);
    let (cert, _, warning) = tls(&MapEnv::default());
    assert_eq!(cert, path("lifeboat.crt"));
    holds(&warning, &["backups cannot start here"]);
    let given = [("LIFEBOAT_ETCD_CERT_FILE", "/x.crt"), ("LIFEBOAT_ETCD_KEY_FILE", "/x.key")];
    let vars = given.map(|(name, value)| (name.to_string(), value.to_string())).into();
    let (cert, key, warning) = tls(&MapEnv { vars, ..MapEnv::default() });
    assert_eq!((cert, key, warning), (PathBuf::from("/x.crt"), PathBuf::from("/x.key"), String::new()));
}

#[test]
fn etcd_by_hand_is_checked() {
    const OLD: &str = "{ endpoints: [http://127.0.0.1:2379] }";
    let etcd = |text: &str| change(OLD, text);
    holds(&etcd("{ endpoints: [https://a:2379] }"), &["need the CA", "fix: name it: tls: { ca_file: "]);
    holds(&etcd("{ endpoints: [https://a:2379], tls: {} }"), &["need the CA"]);
    holds(
        &etcd("{ endpoints: [https://a:2379], tls: { ca_file: /a, cert_file: /b } }"),
        &["`cert_file` without `key_file`"],
    );
    holds(
        &etcd("{ endpoints: [https://a:2379], tls: { ca_file: /a, key_file: /b } }"),
        &["`key_file` without `cert_file`"],
    );
    holds(&etcd("{ endpoints: [https://a:2379], tls: { ca_file: a.crt } }"), &["ca_file: expected an absolute path"]);
    holds(&etcd("{ endpoints: [http://a:1, https://b:2] }"), &["are mixed"]);
    holds(&etcd("{ endpoints: [] }"), &["no endpoint is named"]);
    holds(&etcd("{ endpoints: http://a:2379 }"), &["expected a list of endpoints, found text"]);
    holds(&etcd("{ endpoints: [http://a] }"), &["names its port"]);
    holds(&etcd("{ endpoints: [http://a:0] }"), &["names its port"]);
    holds(&etcd("{ endpoints: [\"http://u:p@a:1\"] }"), &["no user or password"]);
    holds(&etcd("{ endpoints: [http://a:1/x] }"), &["ends with its port"]);
    holds(&etcd("{ endpoints: [http://a:1], user: root }"), &["`user` and `password_file` belong together"]);
    let secret = etcd("{ endpoints: [http://a:1], user: root, password: hunter2 }");
    holds(&secret, &["`password` is a secret", "password_file"]);
    assert!(!secret.contains("hunter2"));
    holds(&etcd("kubadm"), &["expected `kubeadm` or a mapping, found `kubadm`"]);
    holds(&etcd("{ members: all }"), &["etcd.endpoints: is missing", "unknown value `all`"]);
    let (config, _) =
        good(&smallest().replace(OLD, "{ endpoints: [\"http://[::1]:80/\"], members: endpoints }"), &control_plane());
    assert_eq!(config.etcd.unwrap().endpoints, ["http://[::1]:80"]);
}

mod checks;
mod keep;
mod stores;
