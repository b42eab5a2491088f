//! What `NO_PROXY` says is reached directly.
//!
//! Owns: the list's rules, which are those of curl and Python taken together. Refuses to know about proxies. Invariant: an
//! entry covers a name and everything below it, never a name that merely ends alike; no name is resolved for it.

use std::net::IpAddr;

/// The list.
#[derive(Debug, Clone, Default)]
pub(super) struct NoProxy(Vec<Entry>);

#[derive(Debug, Clone)]
struct Entry {
    what: What,
    port: Option<u16>,
}

#[derive(Debug, Clone)]
enum What {
    Everything,
    /// A name and all below it, without a leading dot.
    Domain(String),
    /// The addresses that begin with these bits.
    Network(IpAddr, u8),
}

impl NoProxy {
    /// Reads a list that commas or spaces divide.
    pub(super) fn parse(text: &str) -> Self {
        Self(text.split([',', ' ', '\t']).filter_map(Entry::parse).collect())
    }

    /// Whether a host, a name or an address without brackets, is reached directly.
    pub(super) fn covers(&self, host: &str, port: u16) -> bool {
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let address = host.parse::<IpAddr>().ok();
        self.0.iter().filter(|entry| entry.port.is_none_or(|only| only == port)).any(|entry| match &entry.what {
            What::Everything => true,
            What::Domain(domain) => {
                address.is_none()
                    && host.strip_suffix(domain.as_str()).is_some_and(|below| below.is_empty() || below.ends_with('.'))
            }
            What::Network(network, bits) => address.is_some_and(|address| begins_alike(address, *network, *bits)),
        })
    }
}

impl Entry {
    fn parse(text: &str) -> Option<Self> {
        if let Some(what) = network(text.trim_matches(['[', ']'])) {
            return Some(Self { what, port: None });
        }
        let (name, port) = match text.rsplit_once(':') {
            Some((name, port)) => (name, Some(port.parse().ok()?)),
            None => (text, None),
        };
        if let Some(what) = network(name.trim_matches(['[', ']'])) {
            return Some(Self { what, port });
        }
        let domain = name.strip_prefix("*.").unwrap_or(name).trim_matches('.').to_ascii_lowercase();
        let what = if name == "*" { What::Everything } else { What::Domain(domain) };
        (!matches!(&what, What::Domain(domain) if domain.is_empty())).then_some(Self { what, port })
    }
}

fn network(text: &str) -> Option<What> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits.parse::<u8>().ok()?)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().ok()?;
    let all = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(all);
    (bits <= all).then_some(What::Network(address, bits))
}

fn begins_alike(one: IpAddr, other: IpAddr, bits: u8) -> bool {
    let bits = u32::from(bits);
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits() ^ other.to_bits()).leading_zeros() >= bits,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn covers(list: &str, host: &str) -> bool {
        NoProxy::parse(list).covers(host, 443)
    }

    #[test]
    fn a_name_covers_itself_and_what_is_below_it() {
        for list in
            ["example.com", ".example.com", "*.example.com", "EXAMPLE.com.", "a.org,example.com", "a.org example.com"]
        {
            assert!(
                covers(list, "example.com") && covers(list, "a.b.Example.com") && covers(list, "example.com."),
                "{list}"
            );
            assert!(!covers(list, "notexample.com") && !covers(list, "example.com.evil.org"), "{list}");
        }
    }

    #[test]
    fn addresses_and_networks_cover_addresses_only() {
        assert!(covers("10.0.0.0/8", "10.200.3.4") && !covers("10.0.0.0/8", "11.0.0.1"));
        assert!(covers("192.168.1.7", "192.168.1.7") && !covers("192.168.1.7", "192.168.1.70"));
        assert!(covers("0.0.0.0/0", "8.8.8.8") && !covers("0.0.0.0/0", "::2") && !covers("0.0.0.0/0", "example.com"));
        assert!(covers("fd00::/8", "fd12::1") && covers("[fd00::1]", "fd00::1") && !covers("fd00::/8", "fe80::1"));
        assert!(covers("2001:db8::1", "2001:db8::1"));
    }

    #[test]
    fn an_entry_may_be_for_one_port() {
        let list = NoProxy::parse("example.com:8443,10.0.0.1:443,[fd00::1]:443,*:1");
        assert!(list.covers("example.com", 8443) && !list.covers("example.com", 443));
        assert!(list.covers("10.0.0.1", 443) && !list.covers("10.0.0.1", 444) && list.covers("fd00::1", 443));
        assert!(list.covers("anything", 1));
    }

    #[test]
    fn a_star_covers_everything_and_nonsense_nothing() {
        assert!(covers("*", "example.com") && covers(" , * ", "10.0.0.1"));
        for list in ["", ",", ".", "10.0.0.0/33", "example.com:port", "/8"] {
            assert!(!covers(list, "example.com") && !covers(list, "10.0.0.1"), "{list:?}");
        }
    }
}
