//! Which way out of the machine: directly, or through a proxy.
//!
//! Owns: what `HTTPS_PROXY` and `ALL_PROXY` of the agent's environment say, and what is wrong with a setting or a proxy.
//! Refuses to know how a connection is made. Invariants: loopback never goes through a proxy; a setting that cannot be
//! followed is a failure of every call it is for, never a direct connection; user name and password of a proxy are in
//! no message.

use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::Uri;
use percent_encoding::percent_decode_str;
use zeroize::Zeroizing;

use super::TRUST;
use super::connect::meant;
use super::no_proxy::NoProxy;
use crate::env::Env;
use crate::identity_center::Endpoint;
use crate::identity_center::endpoint::is_loopback_host;
use crate::secret::Secret;

/// The ways out, as the environment has them.
#[derive(Debug, Clone, Default)]
pub(super) struct Proxies {
    setting: Option<Setting>,
    except: NoProxy,
}

#[derive(Debug, Clone)]
struct Setting {
    variable: &'static str,
    proxy: Result<Arc<Proxy>, InvalidProxy>,
}

/// A proxy that makes tunnels.
#[derive(Debug)]
pub(super) struct Proxy {
    /// Scheme, host and port.
    pub(super) uri: Uri,
    /// The value of `Proxy-Authorization`.
    pub(super) authorization: Option<Secret>,
    /// As people may see it.
    shown: String,
}

impl Proxies {
    /// What the environment says. Lower case first, as everywhere: `HTTPS_PROXY` may come from a request to a web server.
    pub(super) fn of(env: &Env) -> Self {
        let first = |names: &[&'static str]| {
            names.iter().find_map(|name| env.get_os(name).map(|value| (*name, value.to_str().unwrap_or_default())))
        };
        let setting = first(&["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"])
            .map(|(variable, value)| Setting { variable, proxy: parse(value.trim()).map(Arc::new) });
        let except = first(&["no_proxy", "NO_PROXY"]).map(|(_, value)| NoProxy::parse(value)).unwrap_or_default();
        Self { setting, except }
    }

    /// The way to a service.
    pub(super) fn way_to(&self, destination: &Uri) -> Result<Option<Arc<Proxy>>, ProxyFailure> {
        let Some(setting) = &self.setting else { return Ok(None) };
        let Some(host) = destination.host() else { return Ok(None) };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port = destination.port_u16().unwrap_or(443);
        if is_loopback_host(host) || destination.scheme_str() != Some("https") || self.except.covers(host, port) {
            return Ok(None);
        }
        match &setting.proxy {
            Ok(proxy) => Ok(Some(Arc::clone(proxy))),
            Err(problem) => {
                Err(ProxyFailure { proxy: setting.variable.to_owned(), trouble: Trouble::Setting(*problem) })
            }
        }
    }
}

impl Proxy {
    /// As people may see it.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// What went wrong at this proxy.
    pub(super) fn failed(&self, trouble: Trouble) -> ProxyFailure {
        ProxyFailure { proxy: self.shown.clone(), trouble }
    }
}

/// A proxy that did not lead to the service. No byte of the request left the machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProxyFailure {
    /// Scheme, host and port, or the variable whose value is unusable.
    pub proxy: String,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What is wrong with a proxy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The setting is no proxy.
    Setting(InvalidProxy),
    /// It cannot be reached.
    Unreachable(String),
    /// It is an https proxy, and nobody who is trusted here has signed its certificate.
    Untrusted(String),
    /// It did not answer within the connect timeout.
    Silent,
    /// 407: it asks for a user name and password, and none were sent.
    WantsPassword,
    /// 407 in spite of the user name and password that were sent.
    RefusesPassword,
    /// It refuses to connect to the service, or cannot.
    Refused {
        /// What it answered.
        status: u16,
        /// The service's host.
        host: String,
    },
    /// It does not answer as a proxy does, or hangs up.
    NoProxy(String),
}

/// Why a setting is no proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InvalidProxy {
    /// Not `http://[user:password@]host[:port]`.
    NotAUrl,
    /// A SOCKS proxy.
    Socks,
    /// Another scheme.
    Scheme,
}

impl ProxyFailure {
    /// Whether the machine's settings are to blame, and waiting helps nobody.
    #[must_use]
    pub const fn is_setting(&self) -> bool {
        matches!(self.trouble, Trouble::Setting(_))
    }

    /// What helps.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self.trouble {
            Trouble::Setting(_) => "set it to http://HOST:PORT and restart the agent, or unset it",
            Trouble::WantsPassword => {
                "put them into HTTPS_PROXY for the agent, as http://USER:PASSWORD@HOST:PORT, and restart it"
            }
            Trouble::RefusesPassword => {
                "check the user name and password in HTTPS_PROXY (special characters percent-encoded), and restart the \
                 agent"
            }
            Trouble::Refused { .. } => {
                "ask who runs the proxy to allow the host, or name it in NO_PROXY if it is reachable directly"
            }
            Trouble::Untrusted(_) => TRUST,
            Trouble::Unreachable(_) | Trouble::Silent | Trouble::NoProxy(_) => {
                "check the network and the agent's HTTPS_PROXY"
            }
        }
    }
}

impl fmt::Display for ProxyFailure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let proxy = &self.proxy;
        match &self.trouble {
            Trouble::Setting(problem) => write!(formatter, "{proxy} {problem}"),
            Trouble::Unreachable(cause) | Trouble::Untrusted(cause) => {
                write!(formatter, "cannot connect to the proxy {proxy}: {cause}")
            }
            Trouble::Silent => write!(formatter, "the proxy {proxy} did not make a connection in time"),
            Trouble::WantsPassword => write!(formatter, "the proxy {proxy} asks for a user name and password"),
            Trouble::RefusesPassword => {
                write!(formatter, "the proxy {proxy} does not accept the user name and password that it was given")
            }
            Trouble::Refused { status, host } => {
                write!(formatter, "the proxy {proxy} does not connect to {host} (HTTP {status}){}", meant(host))
            }
            Trouble::NoProxy(cause) => write!(formatter, "{proxy} does not answer as a proxy: {cause}"),
        }
    }
}

impl std::error::Error for ProxyFailure {}

impl fmt::Display for InvalidProxy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::NotAUrl => "is not the URL of a proxy: expected http://[user:password@]host[:port]",
            Self::Socks => "names a SOCKS proxy, which is not supported: expected http://host:port",
            Self::Scheme => "is neither an http:// nor an https:// URL, and other proxies are not supported",
        })
    }
}

fn parse(text: &str) -> Result<Proxy, InvalidProxy> {
    if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(InvalidProxy::NotAUrl);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("http", text));
    let scheme = scheme.to_ascii_lowercase();
    let default_port = match scheme.as_str() {
        "http" => 80,
        "https" => 443,
        socks if socks.starts_with("socks") => return Err(InvalidProxy::Socks),
        _ => return Err(InvalidProxy::Scheme),
    };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // A password with such a character in it, as it is: what is before it would be taken for the host, and shown.
    if path.contains('@') {
        return Err(InvalidProxy::NotAUrl);
    }
    // The last `@`: people write passwords as they are.
    let (userinfo, host_and_port) = match authority.rsplit_once('@') {
        Some((userinfo, host_and_port)) => (Some(userinfo), host_and_port),
        None => (None, authority),
    };
    // The same rules as for an endpoint: what is no host and no port there is none here.
    let place: Endpoint = format!("https://{host_and_port}").parse().map_err(|_| InvalidProxy::NotAUrl)?;
    let host_and_port = place.as_str().trim_start_matches("https://");
    let has_port = host_and_port.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let host_and_port = if has_port { host_and_port.to_owned() } else { format!("{host_and_port}:{default_port}") };
    let uri = format!("{scheme}://{host_and_port}/").parse().map_err(|_| InvalidProxy::NotAUrl)?;
    let hidden = if userinfo.is_some() { "***@" } else { "" };
    let authorization = userinfo.map(basic);
    Ok(Proxy { uri, authorization, shown: format!("{scheme}://{hidden}{host_and_port}") })
}

fn basic(userinfo: &str) -> Secret {
    let (user, password) = userinfo.split_once(':').unwrap_or((userinfo, ""));
    let mut plain = Zeroizing::new(Vec::with_capacity(userinfo.len() + 1));
    plain.extend(percent_decode_str(user));
    plain.push(b':');
    plain.extend(percent_decode_str(password));
    Secret::new(format!("Basic {}", *Zeroizing::new(STANDARD.encode(&*plain))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "https://oidc.eu-west-1.amazonaws.com/token";

    fn way(variables: &[(&str, &str)], to: &str) -> Result<Option<Arc<Proxy>>, String> {
        let env = variables.iter().copied().collect();
        Proxies::of(&env).way_to(&to.parse().unwrap()).map_err(|failure| failure.to_string())
    }

    fn through(variables: &[(&str, &str)]) -> String {
        way(variables, SERVICE).unwrap().map_or_else(|| "directly".to_owned(), |proxy| proxy.uri.to_string())
    }

    #[test]
    fn the_proxy_is_the_one_of_the_environment_in_the_order_of_other_tools() {
        assert_eq!(through(&[]), "directly");
        assert_eq!(through(&[("HTTPS_PROXY", "http://p:1")]), "http://p:1/");
        assert_eq!(through(&[("ALL_PROXY", "http://a:1"), ("HTTPS_PROXY", "http://p:1")]), "http://p:1/");
        assert_eq!(through(&[("HTTPS_PROXY", "http://upper:1"), ("https_proxy", "http://lower:1")]), "http://lower:1/");
        assert_eq!(through(&[("all_proxy", "a:1"), ("HTTPS_PROXY", "")]), "http://a:1/");
        assert_eq!(through(&[("HTTP_PROXY", "http://plain:1")]), "directly");
    }

    #[test]
    fn a_proxy_is_written_with_or_without_scheme_port_and_path() {
        for (written, meant) in [
            ("p", "http://p:80/"),
            ("p:3128", "http://p:3128/"),
            (" http://P.Example:3128/ ", "http://p.example:3128/"),
            ("https://p", "https://p:443/"),
            ("HTTP://p:1/path?query", "http://p:1/"),
            ("http://[::1]:3128", "http://[::1]:3128/"),
            ("http://[::1]", "http://[::1]:80/"),
        ] {
            assert_eq!(through(&[("HTTPS_PROXY", written)]), meant, "{written}");
        }
    }

    #[test]
    fn this_machine_is_never_reached_through_a_proxy() {
        let proxy = [("ALL_PROXY", "http://p:1"), ("HTTPS_PROXY", "http://p:1")];
        for to in [
            "https://127.0.0.1:1/",
            "https://localhost/",
            "https://[::1]:1/",
            "https://127.9.9.9/",
            "http://localhost:1/",
        ] {
            assert!(way(&proxy, to).unwrap().is_none(), "{to}");
        }
        assert!(way(&[("HTTPS_PROXY", "nonsense://")], "https://127.0.0.1:1/").unwrap().is_none());
    }

    #[test]
    fn what_no_proxy_names_is_reached_directly() {
        let direct = |no_proxy| through(&[("HTTPS_PROXY", "http://p:1"), ("NO_PROXY", no_proxy)]) == "directly";
        assert!(direct("*") && direct("example.com, .amazonaws.com") && direct("oidc.eu-west-1.amazonaws.com:443"));
        assert!(!direct("example.com") && !direct("oidc.eu-west-1.amazonaws.com:8443"));
    }

    #[test]
    fn a_setting_that_is_no_proxy_fails_and_shows_nothing_of_itself() {
        for (written, expected) in [
            ("http://user:hunter2@", "is not the URL of a proxy"),
            ("http://user:hunter2@p:99999", "is not the URL of a proxy"),
            ("http://user:hunter2@p q:1", "is not the URL of a proxy"),
            ("http://user:12/hunter2@p:1", "is not the URL of a proxy"),
            ("http://hunter2#word@p:1", "is not the URL of a proxy"),
            ("socks5h://user:hunter2@p:1080", "SOCKS proxy, which is not supported"),
            ("ftp://user:hunter2@p:1", "is neither an http:// nor"),
        ] {
            let said = way(&[("HTTPS_PROXY", written)], SERVICE).unwrap_err();
            assert!(said.starts_with("HTTPS_PROXY ") && said.contains(expected), "{said}");
            assert!(!said.contains("hunter2"), "{said}");
        }
    }

    #[test]
    fn the_password_is_percent_decoded_and_never_shown() {
        let proxy = way(&[("HTTPS_PROXY", "http://us%40er:p%3Aa%25ss@p:1")], SERVICE).unwrap().unwrap();
        assert_eq!(proxy.authorization, Some(Secret::new(format!("Basic {}", STANDARD.encode("us@er:p:a%ss")))));
        let env = [("HTTPS_PROXY", "http://us%40er:hunter2@p:1")].into_iter().collect();
        let everything = format!("{:?} {proxy:?} {}", Proxies::of(&env), proxy.failed(Trouble::WantsPassword));
        assert!(everything.contains("http://***@p:1"), "{everything}");
        for hidden in ["us%40er", "us@er", "hunter2", "p%3Aa", "Basic"] {
            assert!(!everything.contains(hidden), "{everything}");
        }
        let unescaped = way(&[("HTTPS_PROXY", "http://user:p@ss@p:1")], SERVICE).unwrap().unwrap();
        assert_eq!(unescaped.authorization, Some(Secret::new(format!("Basic {}", STANDARD.encode("user:p@ss")))));
    }
}
