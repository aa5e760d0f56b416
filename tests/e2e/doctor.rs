//! `lifeboat doctor`: what is wrong is found, with a next step, and nothing is left behind.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use lifeboat_tests::bucket::Bucket;
use lifeboat_tests::gate::{Gate, Rule};
use lifeboat_tests::pki::{Pki, Validity};
use lifeboat_tests::proxy::{Mode, Proxy, Weather};
use lifeboat_tests::real_etcd::{Etcd, Options, RealEtcd};
use lifeboat_tests::s3::{Moto, S3};
use lifeboat_tests::server::{free_port, wait_until};
use lifeboat_tests::tools;
use lifeboat_tests::world::{CLUSTER, World};
use serde_json::Value;

/// The checks of a run that must end with this code.
#[track_caller]
fn doctor(world: &World, config: &Path, code: i32) -> Vec<Value> {
    let answer = world.run_with(config, &["doctor", "--json"]).expect_code(code).json();
    let checks = answer["checks"].as_array().expect("doctor has checks").clone();
    let count = |status: &str| checks.iter().filter(|check| check["status"] == status).count();
    assert_eq!((answer["failed"].clone(), answer["warnings"].clone()), (count("fail").into(), count("warn").into()));
    checks
}

/// Fails unless some check of this area and status says this; a failure or a warning also says what to do.
#[track_caller]
fn says(checks: &[Value], area: &str, status: &str, words: &str) -> Value {
    let text = |check: &Value| check["found"].as_str().unwrap_or_default().to_owned();
    let found = checks.iter().find(|check| check["area"] == area && text(check).contains(words));
    let found = found.unwrap_or_else(|| panic!("{area} does not say {words:?}: {checks:#?}"));
    assert_eq!(found["status"], status, "{found:#}");
    assert_eq!(found["hint"].is_string(), ["warn", "fail"].contains(&status), "{found:#}");
    found.clone()
}

/// A config without the warnings that short test retention has.
fn calm(world: &World, changes: &[(&'static str, &str)]) -> std::path::PathBuf {
    let mut all = vec![("keep", "{ last: 10 }"), ("prune", "")];
    all.extend_from_slice(changes);
    world.write_config("calm.yaml", &all)
}

#[test]
fn a_healthy_host_is_all_good_and_nothing_is_left_in_its_store() {
    let world = World::new(Etcd::V3_6);
    let config = calm(&world, &[]);
    let checks = doctor(&world, &config, 0);
    says(&checks, "etcd", "ok", "1 of 1 member, 3.6.");
    says(&checks, "etcd", "ok", "m0 began to send a snapshot");
    says(&checks, "store", "ok", "a canary was created, read back and listed");
    says(&checks, "store", "ok", "a name that is taken cannot be created again");
    says(&checks, "store", "ok", "may delete, as the role prune must; so may backup and prove on this host");
    says(&checks, "store", "ok", "clocks agree");
    says(&checks, "keys", "ok", "signing key of backup, signing key of prove, signing key of prune and identity");
    says(&checks, "keys", "ok", "identity opens what the recipients seal; 1 of 2 recipients opened elsewhere");
    says(&checks, "scratch", "ok", "will be made");
    says(&checks, "proof", "ok", "to `booted` with etcd 3.6.");
    says(&checks, "prune", "ok", "next at ");
    says(&checks, "config", "ok", "no warnings");
    says(&checks, "http", "ok", "is free");
    assert_eq!(world.objects(), [""; 0]);
    assert!(!world.path("scratch").exists());

    let ran = world.run_with(&config, &["doctor"]).expect_code(0);
    for line in ["roles: backup, prove, prune\n", "\nOK    etcd     1 of 1 member, ", "\nall good. Exit 0.\n"] {
        assert!(ran.stdout.contains(line), "{line:?} is missing in:\n{}", ran.stdout);
    }
    // The usual config of these tests keeps so little that the config warns.
    says(&doctor(&world, &world.config(), 11), "config", "warn", "warning");
}

#[test]
fn a_dead_etcd_an_expired_certificate_and_a_certificate_that_ends_soon_are_told_apart() {
    let world = World::around(None, None);
    let checks = doctor(&world, &world.config(), 11);
    says(&checks, "etcd", "fail", "127.0.0.1");
    says(&checks, "store", "ok", "a canary was created");

    let pki = Pki::new();
    let etcd = RealEtcd::start(Etcd::V3_6, Options { tls: Some(pki.tls()), ..Options::default() });
    let endpoint = etcd.endpoint();
    let world = World::around(Some(etcd), None);
    let with = |cert: &Path, key: &Path| {
        let tls = format!(
            "{{ ca_file: {}, cert_file: {}, key_file: {} }}",
            pki.ca_file().display(),
            cert.display(),
            key.display()
        );
        let field = format!("{{ endpoints: [\"{endpoint}\"], members: endpoints, tls: {tls} }}");
        doctor(&world, &calm(&world, &[("etcd", &field)]), if cert.to_string_lossy().contains("good") { 0 } else { 11 })
    };
    let good = pki.client("lifeboat", Validity::Now);
    let (cert, key) = (world.path("good.crt"), world.path("good.key"));
    std::fs::copy(&good.cert_file, &cert).unwrap();
    std::fs::copy(&good.key_file, &key).unwrap();
    let checks = with(&cert, &key);
    says(&checks, "etcd", "ok", "client certificate is valid until 2100-12-31");
    says(&checks, "etcd", "ok", "etcd's CA is valid until 2100-12-31");

    let expired = pki.client("lifeboat", Validity::Expired);
    let checks = with(&expired.cert_file, &expired.key_file);
    let found = says(&checks, "etcd", "fail", "client certificate expired");
    assert!(found["hint"].as_str().unwrap().starts_with("renew "), "{found:#}");
    let early = pki.client("lifeboat", Validity::NotYet);
    says(&with(&early.cert_file, &early.key_file), "etcd", "fail", "client certificate is not valid before 2099-01-01");
    let borrowed = pki.client("kube-etcd-healthcheck-client", Validity::Now);
    says(&with(&borrowed.cert_file, &borrowed.key_file), "etcd", "warn", "kubeadm's own health check");
}

#[test]
fn keys_that_do_not_fit_that_others_may_read_or_that_nobody_believes_are_found() {
    let world = World::new(Etcd::V3_6);
    let stranger = world.path("stranger.key");
    tools::succeed(Command::new(tools::age_keygen()).arg("-o").arg(&stranger));
    let key = |name: &str| world.key(name).display().to_string();
    let keys = world.field("keys").replace(&key("prove.key"), &stranger.display().to_string());
    let checks = doctor(&world, &calm(&world, &[("keys", &keys)]), 11);
    says(&checks, "keys", "fail", "stranger.key opens what the recipients seal: proofs of new backups cannot be made");

    let alone = world.field("keys").replace(&format!(", {}", key("recovery.pub")), "");
    let checks = doctor(&world, &calm(&world, &[("keys", &alone)]), 11);
    says(&checks, "keys", "warn", "if this host is lost, no backup opens");

    let prover = format!(
        "{{ recipients: [{}, {}], signing_keys: {{ prove: {} }}, identity_file: {} }}",
        key("prove.pub"),
        key("recovery.pub"),
        key("prove.sign.key"),
        key("prove.key")
    );
    let checks = doctor(&world, &calm(&world, &[("keys", &prover), ("roles", "[prove]"), ("keep", "")]), 11);
    says(&checks, "keys", "fail", "no backup key is trusted here, so the role prove can believe nothing");
    says(&checks, "prune", "skip", "not a role here");

    std::fs::set_permissions(world.key("backup.sign.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    std::fs::write(world.key("prune.sign.key"), "no key\n").unwrap();
    let checks = doctor(&world, &calm(&world, &[]), 11);
    says(&checks, "keys", "warn", "has mode 0644: every user of this host may use it");
    says(&checks, "keys", "fail", "prune.sign.key is not a usable signing key");
}

#[test]
fn a_scratch_dir_that_is_full_or_too_small_or_cannot_be_made_is_found() {
    let world = World::new(Etcd::V3_6);
    let small =
        format!("mkdir -p {0} && mount -t tmpfs -o size=8m,mode=0700 tmpfs {0}", world.path("scratch").display());
    let ran = world.run_in_namespace(&small, &["doctor", "--json"]).expect_code(11).json();
    let found = says(ran["checks"].as_array().unwrap(), "scratch", "fail", "a proof of the live database needs ");
    assert!(found["found"].as_str().unwrap().contains("has 8 MiB free"), "{found:#}");

    let proof = world.field("proof").replace("max: 2GiB", "max: 200MiB");
    let checks = doctor(&world, &calm(&world, &[("proof", &proof)]), 11);
    says(&checks, "scratch", "fail", "proof.scratch.max is 200 MiB");

    std::fs::write(world.path("file"), "").unwrap();
    let proof = world.field("proof").replace("/scratch,", "/file/scratch,");
    let checks = doctor(&world, &calm(&world, &[("proof", &proof)]), 11);
    says(&checks, "scratch", "fail", "cannot make a folder in");
}

#[test]
fn the_step_towards_a_bucket_that_fails_is_named_and_the_rest_is_looked_at_all_the_same() {
    let bucket = S3::shared().bucket();
    let mut world = World::around(None, Some(bucket.clone()));
    world.add_secret("canary-wrong-secret");
    let usual = world.field("stores").to_owned();
    let with = |stores: String| doctor(&world, &calm(&world, &[("stores", &stores)]), 11);
    says(&with(usual.clone()), "store", "ok", "a canary was created, read back and listed");

    let checks = with(usual.replace(&bucket.name, "no-such-bucket"));
    says(&checks, "store", "fail", "main: the bucket or folder is not there");
    says(&checks, "keys", "ok", "identity opens");
    let options = "access_key_id: testkey\nsecret_access_key: canary-wrong-secret\n";
    std::fs::write(world.path("wrong.yaml"), options).unwrap();
    says(&with(usual.replace("options.yaml", "wrong.yaml")), "store", "fail", "main: this key may not list it");
    let nobody = format!("http://127.0.0.1:{}", free_port());
    says(&with(usual.replace(&bucket.endpoint, &nobody)), "store", "fail", "main: it cannot be connected to");
    let unknown = "http://no-such-host.invalid:8333";
    says(&with(usual.replace(&bucket.endpoint, unknown)), "store", "fail", "main: the name of its host is not found");
}

#[test]
fn a_store_that_swallows_everything_does_not_hold_the_answer_up() {
    let bucket = S3::shared().bucket();
    let proxy = Proxy::before(&bucket.endpoint);
    proxy.set(Weather { mode: Mode::BlackHole, ..Weather::default() });
    let world = World::around(None, Some(bucket.through(proxy.endpoint())));
    let start = Instant::now();
    let checks = doctor(&world, &world.config(), 11);
    assert!(start.elapsed() < Duration::from_secs(30), "it took {:?}", start.elapsed());
    says(&checks, "store", "fail", "it does not answer in time");
}

const BOTO: &str = "
import boto3, sys
endpoint, bucket, action = sys.argv[1:]
client = boto3.client('s3', endpoint_url=endpoint, region_name='us-east-1', aws_access_key_id='testkey', aws_secret_access_key='testsecret')
if action == 'version':
    client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={'Status': 'Enabled'})
print(*(found['Key'] for found in client.list_objects_v2(Bucket=bucket).get('Contents', [])))
";

/// What is in a bucket, after `version` or `list`.
fn boto(bucket: &Bucket, action: &str) -> String {
    let mut command = Command::new(tools::python());
    command.env_clear().args(["-c", BOTO, &bucket.endpoint, &bucket.name, action]);
    String::from_utf8(tools::succeed(&mut command)).unwrap().trim().to_owned()
}

#[test]
fn what_a_key_may_do_in_a_bucket_is_tried_and_judged_by_the_roles_here() {
    let moto = Moto::start();
    let bucket = moto.bucket();
    let world = World::around(None, Some(bucket.clone()));
    let usual = world.field("stores").to_owned();
    let roles = |roles: &str, endpoint: &str| {
        let stores = usual.replace(&bucket.endpoint, endpoint);
        doctor(&world, &calm(&world, &[("roles", roles), ("stores", &stores)]), 11)
    };
    let checks = roles("[backup, prove]", &bucket.endpoint);
    let found = says(&checks, "store", "fail", "main: this key may delete; roles backup and prove must not");
    assert!(found["hint"].as_str().unwrap().contains("s3:DeleteObject"), "{found:#}");
    says(&checks, "store", "warn", "a plain bucket");
    assert_eq!(boto(&bucket, "list"), "");

    let deaf = Gate::before(&bucket.endpoint, Rule::NoPreconditions);
    says(&roles("[prune]", deaf.endpoint()), "store", "warn", "replaces silently");
    assert_eq!(boto(&bucket, "list"), "");

    let kept = Gate::before(&bucket.endpoint, Rule::NoDelete);
    let checks = roles("[backup, prove]", kept.endpoint());
    says(&checks, "store", "ok", "main: this key may not delete, as it should be; the canary ");
    says(&roles("[prune]", kept.endpoint()), "store", "fail", "may not delete, and the role prune runs here");
    let left = boto(&bucket, "version");
    let canaries: Vec<&str> = left.split(' ').collect();
    assert_eq!(canaries.len(), 2, "{left}");
    assert!(canaries.iter().all(|name| name.starts_with(&format!("etcd/{CLUSTER}/doctor/"))), "{left}");
    // They are nothing to whoever reads the catalog.
    assert_eq!(world.list(), Vec::<Value>::new());

    let checks = roles("[backup, prove]", &bucket.endpoint);
    says(&checks, "store", "ok", "writing over an object makes a new version, and the old one stays");
    says(&checks, "store", "warn", "may hide objects by deleting them, though versions stay");
}

#[test]
fn an_agent_looks_around_when_it_starts_and_runs_whatever_it_finds() {
    let world = World::around(None, None);
    std::fs::set_permissions(world.key("backup.sign.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut agent = world.agent(&world.config(), "agent");
    let looked = wait_until(Duration::from_secs(60), || agent.log().contains("looked around: 1 failed, 1 warning"));
    assert!(looked.is_some() && agent.ended().is_none(), "{}", agent.log());
    let log = agent.log();
    for words in ["ERROR", "WARN", "has mode 0644", "main: file://", "area=\"etcd\""] {
        assert!(log.contains(words), "{words:?} is missing in:\n{log}");
    }
    assert_eq!(world.objects(), [""; 0], "a start writes nothing");
    // Beside the running agent its port is the agent's own.
    let checks = doctor(&world, &world.config(), 11);
    says(&checks, "http", "ok", "an agent serves 127.0.0.1:");
    world.shows_no_secret(&agent.log());
}
