//! What an etcd was started with: its command line, else its environment.

use crate::config::{Compare, Etcd, Members, Tls};
use crate::error::{Error, Reason, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// etcd's own flags by name, as `data-dir`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Flags(BTreeMap<String, String>);

impl Flags {
    /// `--name=x`, `--name x`, and `ETCD_NAME=x` where the command line is silent, as etcd reads them.
    pub fn new<'a>(words: impl IntoIterator<Item = &'a str>, env: impl IntoIterator<Item = (String, String)>) -> Flags {
        let from_env = |(name, value): (String, String)| {
            Some((name.strip_prefix("ETCD_")?.to_ascii_lowercase().replace('_', "-"), value))
        };
        let mut flags: BTreeMap<String, String> = env.into_iter().filter_map(from_env).collect();
        let mut words = words.into_iter().peekable();
        while let Some(word) = words.next() {
            let Some(flag) = word.strip_prefix("--").or_else(|| word.strip_prefix('-')) else {
                continue;
            };
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, value.to_owned()),
                None => {
                    let value = words.next_if(|next| !next.starts_with('-'));
                    (flag, value.map_or_else(|| "true".to_owned(), str::to_owned))
                }
            };
            flags.insert(name.to_owned(), value);
        }
        Flags(flags)
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    fn urls(&self, name: &str) -> Vec<String> {
        self.get(name).unwrap_or_default().split(',').filter(|url| !url.is_empty()).map(str::to_owned).collect()
    }

    fn file(&self, name: &str, host: &dyn Fn(&Path) -> PathBuf) -> Option<PathBuf> {
        self.get(name).map(|path| host(Path::new(path)))
    }

    /// `host` says where a path of that etcd is on this machine; `whose` is what these flags were found in.
    pub fn server(&self, whose: &str, host: &dyn Fn(&Path) -> PathBuf) -> Result<Server> {
        let unusable = |text: String, hint: &str| Err(Error::new(Reason::Usage, format!("{whose}: {text}")).hint(hint));
        for flag in ["config-file", "wal-dir"] {
            if let Some(value) = self.get(flag) {
                let hint = "build the data dir with --data-dir and exchange it by hand: the runbook says how";
                return unusable(format!("etcd runs with --{flag} {value}, which --in-place cannot exchange"), hint);
            }
        }
        let (Some(name), Some(data_dir)) = (self.get("name"), self.file("data-dir", host)) else {
            let hint = "it must be the manifest or unit that starts etcd, with --name and --data-dir";
            return unusable("there is no etcd with --name and --data-dir in it".to_owned(), hint);
        };
        let client_urls = self.urls("listen-client-urls");
        let Some(endpoint) = client_urls.iter().find(|url| is_loopback(url)).or(client_urls.first()) else {
            return unusable("etcd has no --listen-client-urls".to_owned(), "name the manifest or unit of this etcd");
        };
        let tls = |ca: &str, cert: &str, key: &str| {
            let [ca_file, cert_file, key_file] = [ca, cert, key].map(|flag| self.file(flag, host));
            Tls { ca_file, cert_file, key_file }
        };
        Ok(Server {
            name: name.to_owned(),
            data_dir,
            peer_urls: self.urls("initial-advertise-peer-urls"),
            listens: [client_urls.clone(), self.urls("listen-peer-urls")].concat(),
            client: Etcd {
                endpoints: vec![reachable(endpoint)],
                members: Members::Discover,
                tls: Some(client_tls(tls("trusted-ca-file", "cert-file", "key-file"))),
                user: None,
                password_file: None,
                compare: Compare::All,
            },
            peer_tls: tls("peer-trusted-ca-file", "peer-cert-file", "peer-key-file"),
        })
    }
}

/// How this machine's etcd is started.
#[derive(Clone, Debug)]
pub struct Server {
    pub name: String,
    pub data_dir: PathBuf,
    /// Those that it tells the others.
    pub peer_urls: Vec<String>,
    /// Those that it listens on, for clients and for peers.
    pub listens: Vec<String>,
    pub client: Etcd,
    pub peer_tls: Tls,
}

/// kubeadm's own probe has a client certificate beside the server's; a server's pair may be for servers only.
fn client_tls(server: Tls) -> Tls {
    let beside = server.cert_file.as_deref().and_then(Path::parent).map(|dir| dir.join("healthcheck-client.crt"));
    match beside.filter(|cert| cert.is_file()) {
        Some(cert) => Tls { key_file: Some(cert.with_extension("key")), cert_file: Some(cert), ..server },
        None => server,
    }
}

fn is_loopback(url: &str) -> bool {
    url::Url::parse(url).is_ok_and(|url| match url.host() {
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    })
}

/// An etcd that listens everywhere is asked at the loopback.
pub(super) fn reachable(url: &str) -> String {
    url.replacen("//0.0.0.0:", "//127.0.0.1:", 1).replacen("//[::]:", "//[::1]:", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(words: &[&str], env: &[(&str, &str)]) -> Flags {
        Flags::new(words.iter().copied(), env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn flags_are_read_as_etcd_reads_them() {
        let words = ["etcd", "--name=cp-1", "--data-dir", "/var/lib/etcd", "-listen-client-urls=http://0.0.0.0:2379"];
        let flags =
            of(&words, &[("ETCD_NAME", "other"), ("ETCD_INITIAL_ADVERTISE_PEER_URLS", "http://a:1,http://b:2")]);
        let server = flags.server("x", &|path| Path::new("/host").join(path.strip_prefix("/").unwrap())).unwrap();
        assert_eq!((server.name.as_str(), server.data_dir), ("cp-1", PathBuf::from("/host/var/lib/etcd")));
        assert_eq!(server.client.endpoints, ["http://127.0.0.1:2379"]);
        assert_eq!(server.peer_urls, ["http://a:1", "http://b:2"]);
        assert_eq!(of(&["--force-new-cluster", "--name", "a"], &[]).get("force-new-cluster"), Some("true"));
    }

    #[test]
    fn the_loopback_is_asked_where_it_is_listened_on() {
        let urls = "--listen-client-urls=https://10.0.0.11:2379,https://127.0.0.1:2379";
        let server = of(&["--name=a", "--data-dir=/d", urls], &[]).server("x", &Path::to_path_buf).unwrap();
        assert_eq!(server.client.endpoints, ["https://127.0.0.1:2379"]);
        assert_eq!(server.listens.len(), 2);
    }

    #[test]
    fn what_cannot_be_exchanged_is_refused_by_name() {
        let refused = |words: &[&str]| of(words, &[]).server("etcd.yaml", &Path::to_path_buf).unwrap_err().message;
        assert!(
            refused(&["--name=a", "--data-dir=/d", "--wal-dir=/fast"])
                .contains("etcd.yaml: etcd runs with --wal-dir /fast")
        );
        assert!(refused(&["--config-file", "/etc/etcd.yaml"]).contains("--config-file"));
        assert!(refused(&["--name=a"]).contains("--data-dir"));
        assert!(refused(&["--name=a", "--data-dir=/d"]).contains("--listen-client-urls"));
    }
}
