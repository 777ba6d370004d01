//! Which addresses a target may be connected to. The check is on the address that the connection is really
//! made to, after its name was looked up and without looking it up again: a name that changes its mind
//! between a check and the connection (DNS rebinding) gains nothing.
//!
//! | address | written as an address, or `localhost` | found for a name | `allow_private: true` | `allow_private: false` |
//! |---|---|---|---|---|
//! | unspecified, multicast, broadcast, a cloud's metadata or credentials | refused | refused | refused | refused |
//! | link-local | refused | refused | taken | refused |
//! | loopback | taken | refused | taken | refused |
//! | private (RFC 1918, RFC 6598, RFC 4193 and the like) | taken | taken | taken | refused |
//! | any other | taken | taken | taken | taken |
//!
//! An IPv6 address that stands for an IPv4 one (mapped, compatible, NAT64, 6to4) is judged as that one.
//! Why these: `docs/decisions/0009-addresses-are-judged-where-they-are-connected.md`.

use std::{
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use hyper_util::client::legacy::connect::dns::{GaiResolver, Name};
use tower_service::Service;

/// What a target's operator says about addresses of the own network: `allow_private`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Private {
    /// Nothing: private addresses are taken; loopback only where it is written as such.
    #[default]
    Unsaid,
    /// They are meant: everything but what is always refused.
    Allowed,
    /// They are not: only addresses of the open Internet.
    Refused,
}

impl From<Option<bool>> for Private {
    fn from(said: Option<bool>) -> Self {
        match said {
            None => Private::Unsaid,
            Some(true) => Private::Allowed,
            Some(false) => Private::Refused,
        }
    }
}

/// How an address came to be asked about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It stands in the URL, or the URL says `localhost`: the operator's own word.
    Out,
    /// It was found for a name.
    ByName,
}

/// An address that no connection is made to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the address {ip} {what}; {advice}")]
pub struct Refused {
    /// Which.
    pub ip: IpAddr,
    what: &'static str,
    advice: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    /// Never a target.
    Never(&'static str),
    LinkLocal,
    Loopback,
    Private,
    Public,
}

/// Addresses inside a cloud's machines that hand out data and credentials of the machine.
const METADATA_V4: [Ipv4Addr; 6] = [
    // AWS, Google Cloud, Azure and most others; link-local, but never meant.
    Ipv4Addr::new(169, 254, 169, 254),
    // AWS: credentials of containers (ECS) and pods (EKS).
    Ipv4Addr::new(169, 254, 170, 2),
    Ipv4Addr::new(169, 254, 170, 23),
    // Azure: the host of the machine.
    Ipv4Addr::new(168, 63, 129, 16),
    // Alibaba Cloud and Oracle Cloud.
    Ipv4Addr::new(100, 100, 100, 200),
    Ipv4Addr::new(192, 0, 0, 192),
];
/// The same over IPv6: AWS metadata and pod credentials, Google Cloud metadata.
const METADATA_V6: [Ipv6Addr; 3] = [
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254),
    Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23),
    Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254),
];

const METADATA: Class = Class::Never("hands out a machine's metadata or credentials");

/// Whether a connection may be made.
///
/// # Errors
/// [`Refused`] names the address, what it is, and the key that would allow it.
pub fn check(ip: IpAddr, written: Written, private: Private) -> Result<(), Refused> {
    let refused = |what, advice| Err(Refused { ip, what, advice });
    let say = "say `allow_private: true` in the target where this is meant";
    let unsay = "the target says `allow_private: false`; leave that out where this is meant";
    match (class(ip), private, written) {
        (Class::Never(what), ..) => refused(what, "no event is ever sent there"),
        (Class::Public, ..) | (_, Private::Allowed, _) => Ok(()),
        (Class::LinkLocal, ..) => refused("is link-local", say),
        (Class::Loopback, Private::Refused, _) => refused("is this machine's own", unsay),
        (Class::Loopback, Private::Unsaid, Written::ByName) => refused("is this machine's own, found for a name", say),
        (Class::Private, Private::Refused, _) => refused("is of a private network", unsay),
        (Class::Loopback | Class::Private, Private::Unsaid, _) => Ok(()),
    }
}

fn class(ip: IpAddr) -> Class {
    match ip {
        IpAddr::V4(v4) => class_v4(v4),
        IpAddr::V6(v6) => embedded(v6).map_or_else(|| class_v6(v6), class_v4),
    }
}

fn class_v4(ip: Ipv4Addr) -> Class {
    let [a, b, c, _] = ip.octets();
    match (a, b, c) {
        _ if METADATA_V4.contains(&ip) => METADATA,
        (0, ..) => Class::Never("is unspecified, which means this machine"),
        (224..=239, ..) => Class::Never("is a multicast address"),
        _ if ip.is_broadcast() => Class::Never("is the broadcast address"),
        (127, ..) => Class::Loopback,
        (169, 254, _) => Class::LinkLocal,
        // RFC 1918, RFC 6598 (carrier-grade NAT), RFC 6890 (protocol assignments), RFC 2544 (benchmarks), RFC 1112.
        (10, ..) | (192, 168, _) | (192, 0, 0) | (198, 18..=19, _) | (240..=255, ..) => Class::Private,
        (172, 16..=31, _) | (100, 64..=127, _) => Class::Private,
        _ => Class::Public,
    }
}

fn class_v6(ip: Ipv6Addr) -> Class {
    match ip.segments() {
        _ if METADATA_V6.contains(&ip) => METADATA,
        _ if ip.is_unspecified() => Class::Never("is unspecified, which means this machine"),
        _ if ip.is_multicast() => Class::Never("is a multicast address"),
        _ if ip.is_loopback() => Class::Loopback,
        [a, ..] if a & 0xffc0 == 0xfe80 => Class::LinkLocal,
        // Unique local (RFC 4193), and site-local, which RFC 3879 gave up.
        [a, ..] if a & 0xfe00 == 0xfc00 || a & 0xffc0 == 0xfec0 => Class::Private,
        // NAT64 of a network's own (RFC 8215): where it ends is not to be seen.
        [0x64, 0xff9b, 1, ..] => Class::Private,
        _ => Class::Public,
    }
}

/// The IPv4 address that an IPv6 address stands for.
fn embedded(ip: Ipv6Addr) -> Option<Ipv4Addr> {
    let v4 = |high: u16, low: u16| Some(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
    match ip.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0xffff | 0, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0x2002, high, low, ..] => {
            v4(high, low)
        }
        _ => None,
    }
}

/// The address that a URL's host writes out, brackets and all; `localhost` writes out loopback.
pub fn written_out(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

/// Whether a host means this machine by its name (RFC 6761, section 6.3).
pub fn is_localhost(host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    host == "localhost" || host.ends_with(".localhost")
}

type Lookup = dyn Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync;

/// Looks names up, and lets through only addresses that may be connected to.
#[derive(Clone)]
pub(crate) struct Resolver {
    /// `None` for the command line, whose URLs are the caller's own.
    private: Option<Private>,
    system: GaiResolver,
    lookup: Option<Arc<Lookup>>,
}

impl Resolver {
    pub(crate) fn new(private: Option<Private>) -> Self {
        Resolver { private, system: GaiResolver::new(), lookup: None }
    }

    /// With another source of addresses.
    #[cfg(test)]
    pub(crate) fn with(
        private: Option<Private>,
        lookup: impl Fn(&str) -> io::Result<Vec<SocketAddr>> + Send + Sync + 'static,
    ) -> Self {
        Resolver { lookup: Some(Arc::new(lookup)), ..Resolver::new(private) }
    }

    /// Whether a host may be connected to that is no name: a connector does not look those up.
    pub(crate) fn check_written(&self, host: &str) -> Result<(), Refused> {
        match (self.private, written_out(host)) {
            (Some(private), Some(ip)) => check(ip, Written::Out, private),
            _ => Ok(()),
        }
    }
}

/// What may be connected to; the first refusal when that is nothing.
fn allowed(name: &str, found: Vec<SocketAddr>, private: Option<Private>) -> io::Result<std::vec::IntoIter<SocketAddr>> {
    let Some(private) = private else { return Ok(found.into_iter()) };
    let written = if is_localhost(name) { Written::Out } else { Written::ByName };
    let mut first = None;
    let mut taken = Vec::new();
    for address in found {
        match check(address.ip(), written, private) {
            Ok(()) => taken.push(address),
            Err(refused) => first = first.or(Some(refused)),
        }
    }
    match first.filter(|_| taken.is_empty()) {
        Some(refused) => Err(io::Error::new(io::ErrorKind::PermissionDenied, refused)),
        None => Ok(taken.into_iter()),
    }
}

impl Service<Name> for Resolver {
    type Response = std::vec::IntoIter<SocketAddr>;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Self::Response>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.system.poll_ready(cx)
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let private = self.private;
        if let Some(lookup) = self.lookup.clone() {
            return Box::pin(async move { allowed(name.as_str(), lookup(name.as_str())?, private) });
        }
        let found = self.system.call(name.clone());
        Box::pin(async move { allowed(name.as_str(), found.await?.collect(), private) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(ip: &str) -> [bool; 6] {
        let ip: IpAddr = ip.parse().unwrap();
        let of = |written, private| check(ip, written, private).is_ok();
        let both = |private| [of(Written::Out, private), of(Written::ByName, private)];
        let [a, b] = both(Private::Unsaid);
        let [c, d] = both(Private::Allowed);
        let [e, f] = both(Private::Refused);
        [a, b, c, d, e, f]
    }

    /// Goal: the table of this module, address by address: written out and by name, for nothing said, allowed, refused.
    #[test]
    fn every_class_of_addresses_is_taken_where_the_table_says_so() {
        const NEVER: [bool; 6] = [false; 6];
        const LINK_LOCAL: [bool; 6] = [false, false, true, true, false, false];
        const LOOPBACK: [bool; 6] = [true, false, true, true, false, false];
        const PRIVATE: [bool; 6] = [true, true, true, true, false, false];
        for (expected, addresses) in [
            (
                NEVER,
                "0.0.0.0 0.1.2.3 :: 224.0.0.1 239.255.255.255 255.255.255.255 ff02::1 169.254.169.254 169.254.170.2 168.63.129.16 fd00:ec2::254 fd20:ce::254 ::ffff:169.254.169.254 64:ff9b::a9fe:a9fe 2002:a9fe:a9fe::1 ::ffff:0.0.0.0",
            ),
            (LINK_LOCAL, "169.254.0.1 169.254.255.255 fe80::1 febf::1 ::ffff:169.254.1.1"),
            (LOOPBACK, "127.0.0.1 127.255.255.255 ::1 ::ffff:127.0.0.1 ::127.0.0.1 64:ff9b::7f00:1 2002:7f00:1::"),
            (
                PRIVATE,
                "10.0.0.1 172.16.0.1 172.31.255.255 192.168.1.1 100.64.0.1 198.18.0.1 240.0.0.1 fc00::1 fdff::1 fec0::1 ::ffff:10.0.0.1 64:ff9b:1::1",
            ),
            (
                [true; 6],
                "1.1.1.1 172.15.0.1 172.32.0.1 100.63.0.1 169.253.1.1 2606:4700::1111 64:ff9b::101:101 2001:db8::1",
            ),
        ] {
            for address in addresses.split(' ') {
                assert_eq!(taken(address), expected, "{address}");
            }
        }
    }

    #[test]
    fn refusal_names_the_address_and_the_key() {
        let refusal = |ip: &str, private| check(ip.parse().unwrap(), Written::ByName, private).unwrap_err().to_string();
        let said = refusal("127.0.0.1", Private::Unsaid);
        assert!(said.contains("127.0.0.1") && said.contains("allow_private: true"), "{said}");
        let said = refusal("10.1.2.3", Private::Refused);
        assert!(said.contains("10.1.2.3") && said.contains("allow_private: false"), "{said}");
        let said = refusal("169.254.169.254", Private::Allowed);
        assert!(said.contains("metadata") && !said.contains("allow_private"), "{said}");
    }

    #[test]
    fn of_several_addresses_only_those_that_may_be_are_tried() {
        let found = |ips: &[&str]| ips.iter().map(|ip| SocketAddr::new(ip.parse().unwrap(), 0)).collect::<Vec<_>>();
        let ask = |name, ips: &[&str]| allowed(name, found(ips), Some(Private::Unsaid)).map(|left| left.count());
        assert_eq!(ask("a.example", &["127.0.0.1", "1.1.1.1", "169.254.1.1"]).unwrap(), 1);
        assert!(ask("a.example", &["169.254.1.1", "127.0.0.1"]).unwrap_err().to_string().contains("169.254.1.1"));
        assert_eq!(ask("LocalHost.", &["127.0.0.1", "::1"]).unwrap(), 2);
        assert!(ask("localhost.example", &["127.0.0.1"]).is_err());
        assert_eq!(ask("a.example", &[]).unwrap(), 0);
    }
}
