//! Which member an agent runs beside, if that can be told.

use super::member::Member;
use crate::config::Etcd;
use std::net::{IpAddr, UdpSocket};
use url::{Host, Url};

/// The one member that is on this host: its configured endpoint is on the loopback, or it is called as the host is, or its
/// endpoint's address is one of this machine's. Where several fit equally well, none is taken.
pub fn beside<'a>(etcd: &Etcd, members: &'a [Member], host: &str) -> Option<&'a Member> {
    find(etcd, members, host, &is_of_this_machine)
}

fn find<'a>(etcd: &Etcd, members: &'a [Member], host: &str, is_ours: &dyn Fn(IpAddr) -> bool) -> Option<&'a Member> {
    let configured = |member: &Member| etcd.endpoints.contains(&member.endpoint) && is_loopback(&member.endpoint);
    let called = |member: &Member| {
        let named = |name: &str| !name.is_empty() && first_label(name).eq_ignore_ascii_case(first_label(host));
        named(&member.name) || domain(&member.endpoint).is_some_and(|domain| named(&domain))
    };
    let addressed = |member: &Member| address(&member.endpoint).is_some_and(is_ours);
    let by: [&dyn Fn(&Member) -> bool; 3] = [&configured, &called, &addressed];
    by.into_iter().find_map(|fits| only(members.iter().filter(|member| fits(member))))
}

fn only<'a>(mut found: impl Iterator<Item = &'a Member>) -> Option<&'a Member> {
    let first = found.next();
    first.filter(|_| found.next().is_none())
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or(name)
}

fn domain(endpoint: &str) -> Option<String> {
    match Url::parse(endpoint).ok()?.host()? {
        Host::Domain(domain) => Some(domain.to_owned()),
        _ => None,
    }
}

fn address(endpoint: &str) -> Option<IpAddr> {
    match Url::parse(endpoint).ok()?.host()? {
        Host::Ipv4(address) => Some(address.into()),
        Host::Ipv6(address) => Some(address.into()),
        Host::Domain(_) => None,
    }
}

fn is_loopback(endpoint: &str) -> bool {
    address(endpoint).is_some_and(|address| address.is_loopback()) || domain(endpoint).as_deref() == Some("localhost")
}

/// Only an address of one's own can be bound. Nothing is sent.
fn is_of_this_machine(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::super::member::tests::member;
    use super::*;
    use crate::config::{Compare, Members};

    fn etcd(endpoints: &[&str]) -> Etcd {
        let endpoints = endpoints.iter().map(|endpoint| (*endpoint).to_owned()).collect();
        Etcd {
            endpoints,
            members: Members::Discover,
            tls: None,
            user: None,
            password_file: None,
            compare: Compare::All,
        }
    }

    fn at(id: u64, endpoint: &str) -> Member {
        Member { endpoint: endpoint.to_owned(), ..member(id) }
    }

    fn found(endpoints: &[&str], members: &[Member], host: &str) -> Option<u64> {
        let ours: IpAddr = "10.0.0.2".parse().unwrap();
        find(&etcd(endpoints), members, host, &|address| address == ours).map(|member| member.member_id)
    }

    const LOCAL: &str = "https://127.0.0.1:2379";

    #[test]
    fn the_member_on_the_loopback_is_the_one_though_others_publish_it_too() {
        let members = [at(1, LOCAL), member(2), member(3)];
        assert_eq!(found(&[LOCAL], &members, "m3"), Some(1), "before a name");
        let all_local = [at(1, "http://127.0.0.1:1"), at(2, "http://127.0.0.1:2"), at(3, "http://[::1]:3")];
        assert_eq!(found(&["http://127.0.0.1:2"], &all_local, "elsewhere"), Some(2), "only what is configured counts");
        assert_eq!(found(&["http://localhost:2"], &[at(2, "http://localhost:2"), member(4)], "x"), Some(2));
        let both = ["http://127.0.0.1:1", "http://127.0.0.1:2"];
        assert_eq!(found(&both, &all_local, "elsewhere"), None, "which of the two cannot be told");
    }

    #[test]
    fn else_the_one_with_the_name_of_the_host_or_an_address_of_its_own() {
        let members = [at(1, "https://cp-1.example.net:2379"), member(2), member(3)];
        assert_eq!(found(&[], &members, "M3.example.net"), Some(3), "by its own name");
        assert_eq!(found(&[], &members, "cp-1"), Some(1), "by its endpoint's");
        assert_eq!(found(&[], &members, "cp-9"), Some(2), "by its address");
        assert_eq!(found(&[], &members[..1], "cp-9"), None);
        let namesakes =
            [Member { name: "etcd".to_owned(), ..member(1) }, Member { name: "etcd".to_owned(), ..member(3) }];
        assert_eq!(found(&[], &namesakes, "etcd"), None);
    }

    #[test]
    fn this_machine_has_the_loopback_and_not_an_address_of_documentation() {
        assert!(is_of_this_machine("127.0.0.1".parse().unwrap()));
        assert!(!is_of_this_machine("192.0.2.1".parse().unwrap()));
    }
}
