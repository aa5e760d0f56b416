//! kubeadm's way: etcd as a static pod, described by a manifest in a folder that the kubelet watches.

use super::flags::{Flags, Server};
use crate::error::{Error, Reason, Result};
use etcdfile::Line;
use serde::Deserialize;
use std::path::{Path, PathBuf};

/// Where kubeadm puts it.
pub const KUBEADM: &str = "/etc/kubernetes/manifests/etcd.yaml";

/// What a manifest says that a restore has to know.
#[derive(Clone, Debug)]
pub struct Pod {
    pub server: Server,
    /// From the image's tag.
    pub version: Option<String>,
    /// Who the containers run as, where the manifest says so.
    pub owner: Option<(u32, u32)>,
}

impl Pod {
    pub fn line(&self) -> Option<Line> {
        self.version.as_deref()?.split('-').next()?.parse().ok()
    }
}

#[derive(Deserialize)]
struct Manifest {
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    containers: Vec<Container>,
    #[serde(default)]
    volumes: Vec<Volume>,
    #[serde(default)]
    security_context: Security,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    image: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    #[serde(default)]
    volume_mounts: Vec<Mount>,
    #[serde(default)]
    security_context: Security,
}

impl Container {
    fn words(&self) -> Vec<String> {
        [self.command.clone(), self.args.clone()].concat()
    }
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Mount {
    name: String,
    mount_path: PathBuf,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Volume {
    name: String,
    host_path: Option<HostPath>,
}

#[derive(Deserialize)]
struct HostPath {
    path: PathBuf,
}

#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Security {
    run_as_user: Option<u32>,
    run_as_group: Option<u32>,
}

/// Reads the manifest of etcd's static pod.
pub fn read(path: &Path) -> Result<Pod> {
    let text = std::fs::read_to_string(path).map_err(|source| {
        Error::io("read", path.display(), source)
            .hint("--static-pod FILE names etcd's manifest; it must lie in the folder that the kubelet watches")
    })?;
    parse(&text, &path.display().to_string())
}

fn parse(text: &str, whose: &str) -> Result<Pod> {
    let Manifest { spec } = serde_yaml::from_str(text).map_err(|source| {
        let hint = "name the manifest of etcd's static pod with --static-pod FILE";
        Error::new(Reason::Usage, format!("{whose} is no manifest of a pod")).hint(hint).because(source)
    })?;
    let is_etcd = |container: &&Container| {
        container.words().iter().any(|word| word.starts_with("--data-dir"))
            || container.env.iter().any(|variable| variable.name == "ETCD_DATA_DIR")
    };
    let Some(container) = spec.containers.iter().find(is_etcd) else {
        let hint = "name the manifest of etcd's static pod with --static-pod FILE";
        return Err(
            Error::new(Reason::Usage, format!("{whose}: no container of it is an etcd with a data dir")).hint(hint)
        );
    };
    let words = container.words();
    let env = container.env.iter().map(|variable| (variable.name.clone(), variable.value.clone()));
    let flags = Flags::new(words.iter().map(String::as_str), env);
    let server = flags.server(whose, &|path| on_host(path, container, &spec.volumes))?;
    let tag = container.image.rsplit_once(':').map(|(_, tag)| tag.split('@').next().unwrap_or(tag));
    let of = |security: &Security| security.run_as_user.map(|user| (user, security.run_as_group.unwrap_or(user)));
    Ok(Pod {
        server,
        version: tag.map(|tag| tag.trim_start_matches('v').to_owned()),
        owner: of(&container.security_context).or_else(|| of(&spec.security_context)),
    })
}

/// Where the API server beside that etcd answers whether it is ready, and who signed its certificate. Nothing where there is
/// none, or none that is started in kubeadm's way: the restore does not need it.
pub fn api_server(etcd_manifest: &Path) -> Option<(String, PathBuf)> {
    let text = std::fs::read_to_string(etcd_manifest.with_file_name("kube-apiserver.yaml")).ok()?;
    let Manifest { spec } = serde_yaml::from_str(&text).ok()?;
    let words = spec.containers.first()?.words();
    let flags = Flags::new(words.iter().map(String::as_str), []);
    let host = flags.get("advertise-address").unwrap_or("127.0.0.1");
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let port = flags.get("secure-port").unwrap_or("6443");
    // kubeadm signs its serving certificate with the CA that it checks clients with.
    Some((format!("https://{host}:{port}/readyz"), PathBuf::from(flags.get("client-ca-file")?)))
}

/// A path in the container as this machine knows it, by the innermost mount that holds it.
fn on_host(path: &Path, container: &Container, volumes: &[Volume]) -> PathBuf {
    let mounts = container.volume_mounts.iter().filter(|mount| path.starts_with(&mount.mount_path));
    let found = mounts.max_by_key(|mount| mount.mount_path.components().count()).and_then(|mount| {
        let volume = volumes.iter().find(|volume| volume.name == mount.name)?;
        Some((volume.host_path.as_ref()?, path.strip_prefix(&mount.mount_path).ok()?))
    });
    match found {
        Some((host, rest)) if rest.as_os_str().is_empty() => host.path.clone(),
        Some((host, rest)) => host.path.join(rest),
        None => path.to_path_buf(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ETCD: &str = "
apiVersion: v1
kind: Pod
metadata: {name: etcd, namespace: kube-system}
spec:
  containers:
  - name: etcd
    image: registry.example:5000/etcd:3.6.8-0
    command: [etcd, --name=cp-1, --data-dir=/var/lib/etcd, '--listen-client-urls=https://127.0.0.1:2379,https://10.0.0.11:2379',
      --listen-peer-urls=https://10.0.0.11:2380, --initial-advertise-peer-urls=https://10.0.0.11:2380,
      --trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt, --peer-trusted-ca-file=/etc/kubernetes/pki/etcd/ca.crt]
    volumeMounts:
    - {mountPath: /var/lib/etcd, name: etcd-data}
    - {mountPath: /etc/kubernetes/pki/etcd, name: etcd-certs}
  hostNetwork: true
  securityContext: {runAsUser: 996, seccompProfile: {type: RuntimeDefault}}
  volumes:
  - {hostPath: {path: /disk/etcd, type: DirectoryOrCreate}, name: etcd-data}
  - {hostPath: {path: /pki/etcd}, name: etcd-certs}
";

    #[test]
    fn kubeadms_manifest_tells_name_paths_version_and_owner() {
        let pod = parse(ETCD, "etcd.yaml").unwrap();
        assert_eq!((pod.server.name.as_str(), pod.server.data_dir.as_path()), ("cp-1", Path::new("/disk/etcd")));
        assert_eq!(pod.server.client.tls.as_ref().unwrap().ca_file.as_deref(), Some(Path::new("/pki/etcd/ca.crt")));
        assert_eq!(pod.server.peer_urls, ["https://10.0.0.11:2380"]);
        assert_eq!((pod.line(), pod.owner), ("3.6".parse().ok(), Some((996, 996))));
    }

    #[test]
    fn what_is_no_manifest_of_etcd_says_so() {
        let refused = |text: &str| parse(text, "x.yaml").unwrap_err().message;
        assert!(refused("a: b").contains("x.yaml is no manifest of a pod"));
        assert!(
            refused("spec: {containers: [{name: a, command: [kube-apiserver]}]}")
                .contains("no container of it is an etcd")
        );
    }
}
