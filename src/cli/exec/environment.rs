//! What the command finds in its environment.
//!
//! Owns: the names. Invariant: whatever else would lead an SDK to credentials is taken away, so that the command has
//! those that were asked for or none.

use std::ffi::OsString;

use crate::env::Env;
use crate::ids::Region;

/// Says that this is a command of `exec`, and for what.
pub(super) const MARK: &str = "SSO_AGENT_EXEC";

/// Variables that lead an SDK to other credentials, in one way or another.
pub(super) const LEADING_ELSEWHERE: [&str; 28] = [
    // The names of old, which Ruby and JavaScript (version 2) still read.
    "AMAZON_ACCESS_KEY_ID",
    "AMAZON_SECRET_ACCESS_KEY",
    "AMAZON_SESSION_TOKEN",
    "AWS_ACCESS_KEY",
    "AWS_ACCESS_KEY_ID",
    "AWS_ACCOUNT_ID",
    // Comes before every other credential, for that service.
    "AWS_BEARER_TOKEN_BEDROCK",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    // Comes before the full one in most SDKs.
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CREDENTIAL_EXPIRATION",
    "AWS_CREDENTIAL_FILE",
    // Another credentials file, to Java (version 1).
    "AWS_CREDENTIAL_PROFILES_FILE",
    "AWS_DEFAULT_PROFILE",
    // A profile comes before a container.
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
    "AWS_ROLE_SESSION_NAME",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SECRET_KEY",
    "AWS_SECURITY_TOKEN",
    "AWS_SESSION_EXPIRATION",
    "AWS_SESSION_TOKEN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    // Of tools that would take us for themselves.
    "AWSUME_PROFILE",
    "AWS_VAULT",
    "BOTO_CONFIG",
    "_AWS_CLI_PROFILE_CHAIN",
];

/// The region for SDKs that read one name or the other. What the user has set stays, and holds for both.
pub(super) fn regions(env: &Env, of_profile: Option<&Region>) -> Vec<(&'static str, OsString)> {
    let [first, second] = ["AWS_REGION", "AWS_DEFAULT_REGION"];
    match (env.get_os(first), env.get_os(second), of_profile) {
        (Some(_), Some(_), _) | (None, None, None) => Vec::new(),
        (Some(set), None, _) => vec![(second, set.to_owned())],
        (None, Some(set), _) => vec![(first, set.to_owned())],
        (None, None, Some(region)) => vec![(first, region.as_str().into()), (second, region.as_str().into())],
    }
}

/// What keeps the endpoint's requests, with its token, away from a proxy.
pub(super) fn past_proxies(env: &Env) -> Vec<(&'static str, OsString)> {
    let proxied = ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"].iter().any(|name| env.get_os(name).is_some());
    if !proxied {
        return Vec::new();
    }
    let names = ["no_proxy", "NO_PROXY"];
    let known = names.iter().find_map(|name| env.get(name)).unwrap_or_default();
    let all = known.split(',').any(|host| ["*", HERE].contains(&host.trim()));
    let hosts = if all {
        known.to_owned()
    } else if known.is_empty() {
        HERE.to_owned()
    } else {
        format!("{known},{HERE}")
    };
    names.map(|name| (name, OsString::from(&hosts))).into()
}

const HERE: &str = "127.0.0.1";

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(list: Vec<(&'static str, OsString)>) -> Vec<(&'static str, String)> {
        list.into_iter().map(|(name, value)| (name, value.into_string().unwrap())).collect()
    }

    #[test]
    fn a_region_that_is_set_beats_the_profiles_under_both_names() {
        let profiles: Region = "eu-west-1".parse().unwrap();
        let seen = |env: &[(&str, &str)], region| pairs(regions(&Env::from_iter(env.iter().copied()), region));
        let both = |region: &str| vec![("AWS_REGION", region.to_owned()), ("AWS_DEFAULT_REGION", region.to_owned())];
        assert_eq!(seen(&[], Some(&profiles)), both("eu-west-1"));
        assert_eq!(seen(&[], None), []);
        assert_eq!(seen(&[("AWS_REGION", "a")], Some(&profiles)), [("AWS_DEFAULT_REGION", "a".to_owned())]);
        assert_eq!(seen(&[("AWS_DEFAULT_REGION", "a")], Some(&profiles)), [("AWS_REGION", "a".to_owned())]);
        assert_eq!(seen(&[("AWS_REGION", "a"), ("AWS_DEFAULT_REGION", "b")], Some(&profiles)), []);
    }

    #[test]
    fn where_there_is_a_proxy_it_is_not_told_the_token() {
        let seen = |env: &[(&str, &str)]| pairs(past_proxies(&Env::from_iter(env.iter().copied())));
        let both = |hosts: &str| vec![("no_proxy", hosts.to_owned()), ("NO_PROXY", hosts.to_owned())];
        assert_eq!(seen(&[]), []);
        assert_eq!(seen(&[("HTTPS_PROXY", "http://p")]), [], "the endpoint does not speak TLS");
        assert_eq!(seen(&[("http_proxy", "http://p")]), both("127.0.0.1"));
        assert_eq!(seen(&[("HTTP_PROXY", "http://p"), ("NO_PROXY", "corp")]), both("corp,127.0.0.1"));
        assert_eq!(seen(&[("ALL_PROXY", "http://p"), ("no_proxy", "*")]), both("*"));
    }
}
