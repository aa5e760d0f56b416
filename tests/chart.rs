//! The chart: linted and rendered by Helm itself, checked against the schemas of several Kubernetes versions, its alerts
//! by promtool. No cluster is needed.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use lifeboat_tests::binary::lifeboat;
use lifeboat_tests::tools::{promtool, python, repository, said, succeed};

use serde_json::{Value, json};

const KUBERNETES: [&str; 4] = ["1.25", "1.29", "1.33", "1.37"];
const ALERTS: [&str; 6] = [
    "LifeboatBackupLate",
    "LifeboatBackupFailing",
    "LifeboatNothingProven",
    "LifeboatProofFailed",
    "LifeboatMembersDiverged",
    "LifeboatStoreBehind",
];

/// The least that a user has to set.
fn values() -> Value {
    json!({
        "image": { "repository": "example/lifeboat" },
        "config": {
            "cluster": "prod-eu-1",
            "stores": [{ "url": "s3://backups/etcd", "options": { "region": "eu-central-1" } }],
            "keys": {
                "recipients": ["age1example"],
                "signing_keys": { "backup": "/run/secrets/lifeboat/backup.sign.key" },
            },
            "schedule": { "backup": "*/30 * * * *" },
        },
        "secrets": [{ "secretName": "lifeboat-keys", "mountPath": "/run/secrets/lifeboat" }],
    })
}

/// These values with one of them set, or left out if it is null.
fn with(pointer: &str, value: Value) -> Value {
    let mut values = values();
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
    let parent = values.pointer_mut(parent).and_then(Value::as_object_mut).expect("the parent is set");
    if value.is_null() {
        parent.remove(key);
    } else {
        parent.insert(key.to_owned(), value);
    }
    values
}

fn chart() -> PathBuf {
    repository().join("charts/lifeboat")
}

fn rules() -> String {
    std::fs::read_to_string(chart().join("files/rules.yaml")).expect("the rules can be read")
}

/// What Helm and the Kubernetes schemas say of the chart with these values.
fn render(values: &Value) -> Value {
    let mut command = Command::new(python());
    command.env_clear().env("PYTHONDONTWRITEBYTECODE", "1").arg(repository().join("tests/chart/render.py"));
    command.arg(chart()).args(KUBERNETES).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("python starts");
    let mut stdin = child.stdin.take().expect("standard input is a pipe");
    stdin.write_all(values.to_string().as_bytes()).expect("the script reads its input");
    drop(stdin);
    let output = child.wait_with_output().expect("a child of ours can be waited for");
    assert!(output.status.success(), "render.py failed: {}", said(&output));
    serde_json::from_slice(&output.stdout).expect("render.py prints JSON")
}

/// Renders and insists that nobody complains.
#[track_caller]
fn accepted(values: &Value) -> Value {
    let report = render(values);
    assert_eq!(report["error"], Value::Null);
    assert_eq!(report["lint"], json!([]));
    assert_eq!(report["invalid"], json!([]));
    report
}

/// Why Helm refuses these values.
#[track_caller]
fn refusal(values: &Value) -> String {
    let report = render(values);
    report["error"].as_str().unwrap_or_else(|| panic!("{values} was rendered")).to_owned()
}

#[track_caller]
fn document<'a>(report: &'a Value, kind: &str, name: &str) -> &'a Value {
    let documents = report["documents"].as_array().expect("a list");
    let found = documents.iter().find(|d| d["kind"] == kind && d["metadata"]["name"] == name);
    found.unwrap_or_else(|| panic!("no {kind} {name} in {documents:#?}"))
}

#[test]
fn helm_lints_and_renders_it_and_kubernetes_accepts_every_manifest() {
    for alerts in ["none", "PrometheusRule", "ConfigMap"] {
        accepted(&with("/alerts", json!({ "as": alerts })));
    }
    let mut all = values();
    all["image"]["digest"] = json!(format!("sha256:{}", "0".repeat(64)));
    all["imagePullSecrets"] = json!([{ "name": "pull" }]);
    all["env"] = json!([{ "name": "LIFEBOAT_LOG_LEVEL", "value": "debug" }]);
    all["extraVolumes"] = json!([{ "name": "etcd", "hostPath": { "path": "/opt/etcd" } }]);
    all["extraVolumeMounts"] = json!([{ "name": "etcd", "mountPath": "/opt/etcd", "readOnly": true }]);
    all["podAnnotations"] = json!({ "note": "x" });
    all["podLabels"] = json!({ "team": "x" });
    all["serviceAccount"] = json!({ "annotations": { "role": "x" } });
    all["affinity"] = json!({ "nodeAffinity": {} });
    accepted(&all);
}

#[test]
fn the_schema_check_notices_a_wrong_manifest() {
    let report = render(&with("/env", json!([{ "name": "A", "value": 1 }])));
    let invalid = report["invalid"].as_array().expect("a list");
    assert_eq!(invalid.len(), KUBERNETES.len(), "{invalid:?}");
}

#[test]
fn the_pod_is_locked_down_and_stands_where_etcd_is() {
    let report = accepted(&values());
    let pod = &document(&report, "DaemonSet", "lifeboat")["spec"]["template"]["spec"];
    assert_eq!(pod["hostNetwork"], true);
    assert_eq!(pod["automountServiceAccountToken"], false);
    assert_eq!(pod["nodeSelector"], json!({ "node-role.kubernetes.io/control-plane": "" }));
    assert_eq!(pod["tolerations"][0]["key"], "node-role.kubernetes.io/control-plane");
    let security = json!({
        "runAsNonRoot": true, "runAsUser": 65532, "runAsGroup": 65532, "fsGroup": 65532,
        "seccompProfile": { "type": "RuntimeDefault" },
    });
    assert_eq!(pod["securityContext"], security);
    let container = &pod["containers"][0];
    let security = json!({
        "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": { "drop": ["ALL"] },
    });
    assert_eq!(container["securityContext"], security);
    for secret in pod["volumes"].as_array().expect("a list").iter().filter_map(|volume| volume.get("secret")) {
        assert_eq!(secret["defaultMode"], 0o440, "{secret}");
    }
    // A subPath mount would never see a renewed certificate.
    assert!(container["volumeMounts"].as_array().expect("a list").iter().all(|mount| mount.get("subPath").is_none()));
}

#[test]
fn the_config_arrives_word_for_word_and_a_change_of_it_restarts_the_pods() {
    let report = accepted(&values());
    let config = &document(&report, "ConfigMap", "lifeboat")["data"]["config.yaml"];
    let config = config.as_str().expect("text");
    for line in ["cluster: prod-eu-1", "- age1example", "region: eu-central-1", "- https://127.0.0.1:2379"] {
        assert!(config.lines().any(|l| l.trim() == line), "{line} is not in:\n{config}");
    }
    let sum = |report: &Value| {
        let template = &document(report, "DaemonSet", "lifeboat")["spec"]["template"];
        template["metadata"]["annotations"]["checksum/config"].as_str().expect("a digest").to_owned()
    };
    let changed = accepted(&with("/config/cluster", json!("prod-eu-2")));
    assert_ne!(sum(&report), sum(&changed));
}

#[test]
fn the_agent_accepts_the_config_that_the_chart_renders() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let keys = dir.path().join("keys").to_string_lossy().into_owned();
    lifeboat(&["keygen", "--role", "backup", "--out", &keys]).expect_code(0);
    let mut values =
        with("/config/keys/recipients", json!(["age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p"]));
    values["config"]["keys"]["signing_keys"]["backup"] = json!(format!("{keys}/backup.sign.key"));
    let report = accepted(&values);
    let config = document(&report, "ConfigMap", "lifeboat")["data"]["config.yaml"].as_str().expect("text");
    let file = dir.path().join("config.yaml").to_string_lossy().into_owned();
    std::fs::write(&file, config).expect("the folder is ours");
    let said = lifeboat(&["check-config", "--config", &file]).expect_code(0);
    assert!(said.stdout.contains("http:\n    listen: 127.0.0.1:9797"), "{}", said.stdout);
}

#[test]
fn the_probes_follow_the_address_that_the_agent_listens_on() {
    let cases = [
        (None, "127.0.0.1", 9797),
        (Some("0.0.0.0:9000"), "127.0.0.1", 9000),
        (Some("[::]:9001"), "127.0.0.1", 9001),
        (Some("10.0.0.1:9002"), "10.0.0.1", 9002),
    ];
    for (listen, host, port) in cases {
        let http = listen.map_or(json!({}), |listen| json!({ "listen": listen }));
        let report = accepted(&with("/config/http", http));
        let container = &document(&report, "DaemonSet", "lifeboat")["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["livenessProbe"]["httpGet"], json!({ "host": host, "port": "http", "path": "/healthz" }));
        assert_eq!(container["readinessProbe"]["httpGet"], json!({ "host": host, "port": "http", "path": "/readyz" }));
        assert_eq!(container["ports"][0]["containerPort"], port);
    }
}

#[test]
fn what_is_missing_or_misspelt_is_refused_by_name() {
    for (pointer, value, named) in [
        ("/image/repository", json!(""), "image.repository"),
        ("/config/cluster", Value::Null, "config.cluster"),
        ("/config/stores", Value::Null, "config.stores"),
        ("/config/keys/recipients", Value::Null, "config.keys.recipients"),
        ("/config/keys/recipients", json!([]), "recipients"),
        ("/tolerance", json!([]), "tolerance"),
        ("/alerts", json!({ "as": "prometheus" }), "alerts"),
        ("/image/digest", json!("latest"), "digest"),
    ] {
        let refused = refusal(&with(pointer, value));
        assert!(refused.contains(named), "{pointer}: {refused}");
    }
}

#[test]
fn the_notes_say_when_nothing_watches() {
    let notes = |values: &Value| accepted(values)["notes"].as_str().expect("text").to_owned();
    assert!(notes(&values()).contains("no alerts are installed"));
    assert!(!notes(&with("/alerts", json!({ "as": "ConfigMap" }))).contains("no alerts are installed"));
}

/// The test file beside a rules file, as promtool wants them.
fn promtool_test(rules: &str) -> Output {
    let dir = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(dir.path().join("rules.yaml"), rules).expect("the folder is ours");
    std::fs::copy(repository().join("tests/chart/rules_test.yaml"), dir.path().join("rules_test.yaml"))
        .expect("it is there");
    let mut command = Command::new(promtool());
    command.args(["test", "rules", "rules_test.yaml"]).current_dir(dir.path()).output().expect("promtool starts")
}

#[test]
fn promtool_accepts_the_rules_and_each_alert_fires_and_stays_silent_as_it_should() {
    succeed(Command::new(promtool()).args(["check", "rules"]).arg(chart().join("files/rules.yaml")));
    let output = promtool_test(&rules());
    assert!(output.status.success(), "{}", said(&output));
}

#[test]
fn the_rule_tests_notice_an_alert_that_is_deaf_or_hasty() {
    let deaf = |rule: &str| rule.replacen("expr: ", "expr: (vector(0) > 1) and ", 1);
    let hasty = |rule: &str| rule.replacen("expr: ", "expr: max by (etcd_cluster) ({etcd_cluster!=\"\"}) or ", 1);
    let rules = rules();
    for alert in ALERTS {
        let at = rules.find(&format!("alert: {alert}\n")).unwrap_or_else(|| panic!("no alert {alert}"));
        for changed in [deaf(&rules[at..]), hasty(&rules[at..])] {
            let output = promtool_test(&format!("{}{changed}", &rules[..at]));
            assert!(!output.status.success() && said(&output).contains(alert), "{alert}: {}", said(&output));
        }
    }
}

#[test]
fn the_chart_carries_the_same_rules_that_promtool_checked() {
    let report = accepted(&with("/alerts", json!({ "as": "ConfigMap" })));
    assert_eq!(document(&report, "ConfigMap", "lifeboat-rules")["data"]["rules.yaml"], json!(rules()));

    let report = accepted(&with("/alerts", json!({ "as": "PrometheusRule" })));
    let list = &document(&report, "PrometheusRule", "lifeboat")["spec"]["groups"][0]["rules"];
    let names: Vec<&str> = list.as_array().expect("a list").iter().filter_map(|rule| rule["alert"].as_str()).collect();
    assert_eq!(names, ALERTS);
    for rule in list.as_array().expect("a list") {
        let name = rule["alert"].as_str().expect("an alert");
        let page = format!("agent/docs/runbooks.md#{}", name.to_lowercase());
        assert_eq!(rule["annotations"]["runbook_url"], json!(page));
        assert!(matches!(rule["labels"]["severity"].as_str(), Some("critical" | "warning")), "{name}");
    }
}

#[test]
fn the_image_is_the_binary_and_its_authorities_and_nobody_is_root_in_it() {
    let text = std::fs::read_to_string(repository().join("charts/image/Dockerfile")).expect("it can be read");
    let last = text.rsplit("\nFROM ").next().expect("there is a stage");
    assert!(last.starts_with("scratch\n"), "{last}");
    for line in ["COPY --from=build /out/ /", "USER 65532:65532", "ENTRYPOINT [\"lifeboat\"]"] {
        assert!(last.lines().any(|l| l == line), "{line}");
    }
    assert!(Path::new(&repository().join("charts/image/Dockerfile.dockerignore")).is_file());
}
