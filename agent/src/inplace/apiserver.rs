//! kube-apiserver of this node, where its manifest lies beside etcd's.

use super::flags::Flags;
use serde::Deserialize;
use std::path::{Path, PathBuf};

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
struct Spec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
}

/// Where it answers whether it is ready, and who signed its certificate. Nothing where there is none, or none that is
/// started in kubeadm's way: the restore does not need it.
pub fn find(etcd_manifest: &Path) -> Option<(String, PathBuf)> {
    let text = std::fs::read_to_string(etcd_manifest.with_file_name("kube-apiserver.yaml")).ok()?;
    let Manifest { spec } = serde_yaml::from_str(&text).ok()?;
    let container = spec.containers.into_iter().next()?;
    let words = [container.command, container.args].concat();
    let flags = Flags::new(words.iter().map(String::as_str), []);
    let host = flags.get("advertise-address").unwrap_or("127.0.0.1");
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = flags.get("secure-port").unwrap_or("6443");
    // kubeadm signs its serving certificate with the CA that it checks clients with.
    Some((format!("https://{host}:{port}/readyz"), PathBuf::from(flags.get("client-ca-file")?)))
}
