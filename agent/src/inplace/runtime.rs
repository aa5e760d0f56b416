//! The container runtime: only to end a container of this node sooner than the kubelet would.
//!
//! Its interface is the kubelet's own, CRI v1 over a unix socket. Field numbers:
//! <https://github.com/kubernetes/cri-api/blob/master/pkg/apis/runtime/v1/api.proto>.

use crate::error::{Error, Reason, Result};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};

/// What the kubelet was told, in the files of kubeadm's several versions.
const KUBELET: [&str; 3] =
    ["/var/lib/kubelet/instance-config.yaml", "/var/lib/kubelet/config.yaml", "/var/lib/kubelet/kubeadm-flags.env"];
/// Where runtimes listen that were told nothing.
const USUAL: [&str; 3] = ["/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/cri-dockerd.sock"];
/// Beyond the grace of the container itself.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
const RUNNING: i32 = 1;
const EXITED: i32 = 2;

#[derive(Clone, PartialEq, prost::Message)]
struct Filter {
    #[prost(map = "string, string", tag = "4")]
    labels: HashMap<String, String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct List {
    #[prost(message, optional, tag = "1")]
    filter: Option<Filter>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Container {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int32, tag = "6")]
    state: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Listed {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Container>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Stop {
    #[prost(string, tag = "1")]
    id: String,
    /// Seconds.
    #[prost(int64, tag = "2")]
    timeout: i64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Remove {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Nothing {}

/// The socket that this node's kubelet uses.
pub fn socket() -> Option<PathBuf> {
    let told = KUBELET.iter().filter_map(|file| endpoint(&std::fs::read_to_string(file).ok()?));
    told.chain(USUAL.iter().map(PathBuf::from)).find(|socket| socket.exists())
}

/// `containerRuntimeEndpoint: unix:///run/x.sock`, or `--container-runtime-endpoint=unix:///run/x.sock`.
fn endpoint(text: &str) -> Option<PathBuf> {
    let (_, rest) =
        text.split_once("containerRuntimeEndpoint:").or_else(|| text.split_once("--container-runtime-endpoint"))?;
    let value = rest.trim_start_matches(['=', ' ', '"', '\'']);
    let value = value.split([' ', '\n', '"', '\'']).next()?;
    let path = value.strip_prefix("unix://").unwrap_or(value);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

/// Stops the running containers of that name in kube-system.
pub async fn stop(socket: &Path, container: &str, grace: Duration) -> Result<()> {
    let channel = connect(socket).await?;
    let timeout = i64::try_from(grace.as_secs()).unwrap_or(i64::MAX);
    for Container { id, .. } in list(socket, &channel, container).await?.into_iter().filter(|c| c.state == RUNNING) {
        let stop = Stop { id, timeout };
        let _: Nothing = call(socket, &channel, "StopContainer", stop, grace + ANSWER_WITHIN).await?;
    }
    Ok(())
}

/// Removes the dead containers of that name, not their logs: after an hour's outage the kubelet would wait five minutes
/// before it starts one anew that it remembers to have failed so often.
pub async fn forget(socket: &Path, container: &str) -> Result<()> {
    let channel = connect(socket).await?;
    for Container { id, .. } in list(socket, &channel, container).await?.into_iter().filter(|c| c.state == EXITED) {
        let _: Nothing = call(socket, &channel, "RemoveContainer", Remove { id }, ANSWER_WITHIN).await?;
    }
    Ok(())
}

async fn list(socket: &Path, channel: &Channel, container: &str) -> Result<Vec<Container>> {
    let label = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let labels =
        [label("io.kubernetes.pod.namespace", "kube-system"), label("io.kubernetes.container.name", container)];
    let list = List { filter: Some(Filter { labels: labels.into_iter().collect() }) };
    let listed: Listed = call(socket, channel, "ListContainers", list, ANSWER_WITHIN).await?;
    Ok(listed.containers)
}

async fn connect(socket: &Path) -> Result<Channel> {
    let path = socket.to_path_buf();
    let dial = tower::service_fn(move |_: Uri| {
        let path = path.clone();
        async move { tokio::net::UnixStream::connect(path).await.map(hyper_util::rt::TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://runtime").connect_timeout(ANSWER_WITHIN);
    endpoint.connect_with_connector(dial).await.map_err(|source| failed(socket, "connect").because(source))
}

async fn call<Q, A>(socket: &Path, channel: &Channel, method: &'static str, ask: Q, within: Duration) -> Result<A>
where
    Q: prost::Message + Send + Sync + 'static,
    A: prost::Message + Default + Send + Sync + 'static,
{
    let asked = async {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.map_err(|source| failed(socket, method).because(source))?;
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))
            .map_err(|source| failed(socket, method).because(source))?;
        let codec = tonic_prost::ProstCodec::<Q, A>::default();
        let answer = client.unary(tonic::Request::new(ask), path, codec).await;
        answer.map(tonic::Response::into_inner).map_err(|source| failed(socket, method).because(source))
    };
    tokio::time::timeout(within, asked).await.map_err(|source| failed(socket, method).because(source))?
}

fn failed(socket: &Path, method: &'static str) -> Error {
    Error::new(Reason::HostIo, format!("the container runtime at {} does not do what it is asked", socket.display()))
        .on(method, socket.display())
        .hint("the kubelet ends the containers by itself, only later; `crictl ps` shows what runs")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_is_where_the_kubelet_was_told() {
        let is = |text: &str| endpoint(text).map(|path| path.display().to_string());
        let flags = "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///run/x/c.sock --node-ip=10.0.0.1\"\n";
        assert_eq!(is(flags).as_deref(), Some("/run/x/c.sock"));
        assert_eq!(is("a: b\ncontainerRuntimeEndpoint: unix:///run/y.sock\n").as_deref(), Some("/run/y.sock"));
        assert_eq!(is("containerRuntimeEndpoint: \"\"\ncpu: x\n"), None);
        assert_eq!(is("kind: KubeletConfiguration"), None);
    }
}
