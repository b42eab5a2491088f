//! Whether AWS can be reached from here: names, proxy, trust, clocks. Nothing secret is sent.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;

use crate::cli::context::Context;
use crate::cli::words;
use crate::clock::SystemClock;
use crate::exit::Exit;
use crate::identity_center::Endpoint;
use crate::upstream::{Failure, Https, NotSent, Probe, ProxyFailure, ServiceTime};

use super::configuration::Work;
use super::sheet::Sheet;

pub(super) fn look(work: &Work, offline: bool, sheet: &mut Sheet, context: &mut Context<'_>) {
    if offline {
        return sheet.skipped("network", "left out");
    }
    let mut places = BTreeMap::new();
    for session in &work.sessions {
        for endpoint in [&session.endpoints.oidc, &session.endpoints.portal] {
            let key = (endpoint.as_str().to_owned(), session.ca_bundle.clone());
            places.entry(key).or_insert_with(|| endpoint.clone());
        }
    }
    if places.is_empty() {
        return sheet.skipped("network", "there is no session whose services could be asked");
    }
    let https = Arc::new(Https::new(Arc::new(SystemClock), &work.env));
    proxy(&https, places.values(), sheet);
    context.progress("asking the services");
    let probes = probe(&https, places);
    context.progress_done();
    match probes {
        Ok(probes) => {
            for (endpoint, probe) in &probes {
                reached(endpoint, probe, sheet);
            }
            clock(probes.iter().filter_map(|(_, probe)| probe.service_time), sheet);
        }
        Err(error) => sheet.skipped("network", format!("this process cannot make connections: {error}")),
    }
}

fn proxy<'e>(https: &Https, endpoints: impl Iterator<Item = &'e Endpoint>, sheet: &mut Sheet) {
    let mut proxies: Vec<String> = Vec::new();
    for endpoint in endpoints {
        match https.proxy_for(endpoint) {
            Ok(None) => {}
            Ok(Some(proxy)) if proxies.contains(&proxy) => {}
            Ok(Some(proxy)) => proxies.push(proxy),
            Err(failure) => {
                let hint = failure.hint().to_owned();
                return sheet.error("proxy", Exit::Configuration, failure.to_string(), hint);
            }
        }
    }
    match proxies.as_slice() {
        [] => sheet.ok("proxy", "none on the way"),
        proxies => sheet.ok("proxy", format!("through {}", proxies.join(" and "))),
    }
}

/// Asks all of them at once.
fn probe(
    https: &Arc<Https>,
    places: BTreeMap<(String, Option<PathBuf>), Endpoint>,
) -> std::io::Result<Vec<(Endpoint, Probe)>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut probes = runtime.block_on(async {
        let mut asking = JoinSet::new();
        for ((_, bundle), endpoint) in places {
            let https = Arc::clone(https);
            asking.spawn(async move {
                let probe = https.probe(&endpoint, bundle.as_deref(), PATIENCE).await;
                (endpoint, probe)
            });
        }
        asking.join_all().await
    });
    // A name server that hangs must not keep the process.
    runtime.shutdown_background();
    probes.sort_by(|(one, _), (other, _)| one.as_str().cmp(other.as_str()));
    Ok(probes)
}

/// How far it came: name, connection, trust, answer.
fn reached(endpoint: &Endpoint, probe: &Probe, sheet: &mut Sheet) {
    let host = endpoint.as_str().split_once("://").map_or(endpoint.as_str(), |(_, host)| host);
    let failure = match &probe.result {
        Ok(status) => {
            let took = probe.took.as_millis();
            let tls = if endpoint.as_str().starts_with("https:") { ", certificate trusted" } else { "" };
            return sheet.ok("endpoint", format!("{host} answers{tls} (HTTP {status} in {took} ms)"));
        }
        Err(failure) => failure,
    };
    let Failure::NotSent(cause) = failure else {
        // Connected and trusted, and then no answer.
        let remedy = "try again; see https://health.aws.amazon.com if it stays".to_owned();
        return sheet.error("endpoint", Exit::Unavailable, format!("{host}: {failure}"), remedy);
    };
    let (check, exit) = match cause {
        NotSent::Dns(_) => ("name", Exit::Unavailable),
        NotSent::Proxy(ProxyFailure { .. }) => ("proxy", Exit::Unavailable),
        NotSent::Roots(_) => ("certificates", Exit::Configuration),
        NotSent::Tls(_) | NotSent::Untrusted(_) => ("certificates", Exit::Unavailable),
        NotSent::WrongOrigin(_) | NotSent::Malformed(_) => ("endpoint", Exit::Configuration),
        NotSent::Connect(_) | NotSent::ConnectTimeout => ("connection", Exit::Unavailable),
    };
    let remedy = cause.hint().map(str::to_owned).or_else(|| match cause {
        NotSent::Roots(_) => {
            Some("correct AWS_CA_BUNDLE or ca_bundle, or install your system's certificates".to_owned())
        }
        _ => None,
    });
    sheet.error(check, exit, format!("{host}: {cause}"), remedy);
}

/// Ours beside the service's.
fn clock(times: impl Iterator<Item = ServiceTime>, sheet: &mut Sheet) {
    let off =
        times.map(|time| (time.service.as_millis() - time.ours.as_millis(), time)).min_by_key(|(off, _)| off.abs());
    let Some((off, _)) = off else {
        return sheet.skipped("clock", "no service has told its time");
    };
    let far = Duration::from_millis(off.unsigned_abs());
    let (which, set) =
        (if off > 0 { "behind" } else { "ahead of" }, if cfg!(target_os = "macos") { SET_MAC } else { SET });
    let detail = format!("this machine's clock is {} {which} AWS's", words::duration(far));
    if far < TOLERATED {
        sheet.ok("clock", "this machine's clock agrees with AWS's");
    } else if far < REFUSED {
        sheet.warning("clock", detail + "; the agent reckons with that, other tools do not", set.to_owned());
    } else {
        sheet.error("clock", Exit::Unavailable, detail + ": AWS refuses what other tools sign", set.to_owned());
    }
}

/// Of one question.
const PATIENCE: Duration = Duration::from_secs(10);
/// What a `Date` header can say at all.
const TOLERATED: Duration = Duration::from_secs(60);
/// So far off, AWS refuses signatures.
const REFUSED: Duration = Duration::from_secs(300);
const SET: &str = "sudo timedatectl set-ntp true";
const SET_MAC: &str = "sudo sntp -sS time.apple.com";
