//! Which of a cluster's members this machine is.

use etcdfile::MemberSpec;
use std::net::{IpAddr, SocketAddr, UdpSocket};

/// The one member that has an address of this machine in its peer URLs, else the one with its host name. Nothing is sent,
/// and no name is looked up: in an outage there may be nobody to ask.
pub fn this_one(members: &[MemberSpec]) -> Option<&MemberSpec> {
    let only = |is: &dyn Fn(&MemberSpec) -> bool| {
        let mut found = members.iter().filter(|member| is(member));
        found.next().filter(|_| found.next().is_none())
    };
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    only(&|member| addresses(member).any(is_mine)).or_else(|| only(&|member| member.name == host))
}

fn addresses(member: &MemberSpec) -> impl Iterator<Item = IpAddr> {
    member.peer_urls.iter().filter_map(|text| match url::Url::parse(text).ok()?.host()? {
        url::Host::Ipv4(address) => Some(IpAddr::V4(address)),
        url::Host::Ipv6(address) => Some(IpAddr::V6(address)),
        url::Host::Domain(_) => None,
    })
}

/// The kernel binds a socket to an address of this machine only.
fn is_mine(address: IpAddr) -> bool {
    !address.is_unspecified() && UdpSocket::bind(SocketAddr::new(address, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, url: &str) -> MemberSpec {
        MemberSpec { name: name.to_owned(), peer_urls: vec![url.to_owned()] }
    }

    #[test]
    fn a_machine_finds_itself_by_address_or_by_name_and_never_guesses() {
        let [far, near] = [member("a", "https://192.0.2.1:2380"), member("b", "https://127.0.0.1:2380")];
        assert_eq!(this_one(&[far.clone(), near.clone()]).map(|found| found.name.as_str()), Some("b"));
        let beside = member("c", "https://127.0.0.1:12380");
        assert_eq!(this_one(&[near, beside]), None, "two members of one machine");
        let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let named = member(&host, "https://etcd.example:2380");
        assert_eq!(this_one(&[far.clone(), named.clone()]), Some(&named));
        assert_eq!(this_one(&[far]), None);
    }
}
