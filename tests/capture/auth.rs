//! A real etcd with users: who may take a snapshot, and what those read who may not.

use super::{MINUTE, etcd, limits, says, take};
use lifeboat::capture::survey;
use lifeboat::config::{Etcd, Limits};
use lifeboat::error::Reason;
use lifeboat_tests::real_etcd::{self, RealEtcd};
use std::path::Path;

fn as_user(etcd: &Etcd, user: &str, file: &Path) -> Etcd {
    Etcd { user: Some(user.to_owned()), password_file: Some(file.to_owned()), ..etcd.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn only_a_user_with_the_root_role_gets_a_snapshot_and_the_others_read_why() {
    let server = RealEtcd::single(real_etcd::Etcd::V3_6);
    let etcd = etcd(&[&server.endpoint()]);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("password");
    std::fs::write(&file, "secret\n").unwrap();

    let error = survey(&as_user(&etcd, "root", &file)).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdDenied, "{error}");
    says(&error, &["authentication is not enabled", "remove etcd.user"]);

    server.etcdctl(&["user", "add", "root:secret"]);
    server.etcdctl(&["user", "grant-role", "root", "root"]);
    server.etcdctl(&["user", "add", "plain:secret"]);
    server.etcdctl(&["auth", "enable"]);
    let patient = Limits { stall: MINUTE, ..limits() };

    let root = as_user(&etcd, "root", &file);
    let found = survey(&root).await.unwrap();
    assert!(take(&root, &found.members[0], &patient).await.unwrap().len() > 32);

    let plain = as_user(&etcd, "plain", &file);
    let error = take(&plain, &found.members[0], &patient).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdDenied, "{error}");
    says(&error, &["permission denied", "etcdctl user grant-role plain root"]);

    std::fs::write(&file, "wrong").unwrap();
    let error = survey(&root).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdDenied, "{error}");
    says(&error, &["authentication failed", "etcd.password_file"]);
    assert!(!format!("{error:?}").contains("wrong\""), "the password shows: {error:?}");

    std::fs::write(&file, "\n").unwrap();
    let error = survey(&root).await.unwrap_err();
    assert_eq!(error.reason, Reason::Config, "{error}");
    says(&error, &[file.to_str().unwrap(), "is empty"]);

    let error = take(&etcd, &found.members[0], &patient).await.unwrap_err();
    assert_eq!(error.reason, Reason::EtcdDenied, "{error}");
    says(&error, &["etcd.user"]);
}
