//! Whether a service can be reached: one question that carries nothing.
//!
//! Owns: the question, on the same way and with the same trust as every call. Refuses to know what a service answers.
//! Invariant: it holds no secret, and any answer over a trusted connection is a good one.

use std::path::Path;
use std::time::Duration;

use http::header::USER_AGENT;
use http::{Request, Uri};
use tokio::time::{Instant, timeout_at};

use super::errors::service_time;
use super::http::{Connection, Outgoing};
use super::{AGENT, Failure, Https, NotSent, ProxyFailure, ServiceTime};
use crate::identity_center::Endpoint;

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// The HTTP status, or why there is none.
    pub result: Result<u16, Failure>,
    /// The service's clock beside ours.
    pub service_time: Option<ServiceTime>,
    /// How long it took.
    pub took: Duration,
}

impl Https {
    /// Asks `HEAD /`.
    pub async fn probe(&self, endpoint: &Endpoint, ca_bundle: Option<&Path>, patience: Duration) -> Probe {
        let started = self.clock.now();
        let answered = Box::pin(self.head(endpoint, ca_bundle, Instant::now() + patience)).await;
        let took = self.clock.now().mono.since(started.mono);
        match answered {
            Ok((status, service_time)) => Probe { result: Ok(status), service_time, took },
            Err(failure) => Probe { result: Err(failure), service_time: None, took },
        }
    }

    /// The proxy that leads to this endpoint, as it may be shown.
    ///
    /// # Errors
    /// The setting for it is none.
    pub fn proxy_for(&self, endpoint: &Endpoint) -> Result<Option<String>, ProxyFailure> {
        let Ok(uri) = endpoint.as_str().parse::<Uri>() else { return Ok(None) };
        let proxy = self.clients.way_to(&uri)?;
        Ok(proxy.map(|proxy| proxy.shown().to_owned()))
    }

    async fn head(
        &self,
        endpoint: &Endpoint,
        ca_bundle: Option<&Path>,
        deadline: Instant,
    ) -> Result<(u16, Option<ServiceTime>), Failure> {
        let request = Request::head(format!("{endpoint}/"))
            .header(USER_AGENT, AGENT)
            .body(http_body_util::Full::default())
            .map_err(|error| Failure::NotSent(NotSent::Malformed(error.to_string())))?;
        let trusting = self.clients.trusting(endpoint, ca_bundle, self.clock.now().mono);
        let late = || NotSent::Roots("not read in time".to_owned());
        let clients = timeout_at(deadline, trusting).await.map_err(|_| Failure::NotSent(late()))?;
        let clients = clients.map_err(Failure::NotSent)?;
        let outgoing = Outgoing { request, connection: Connection::Fresh };
        let response = clients.exchange(outgoing, deadline, &*self.clock).await?;
        Ok((response.status.as_u16(), service_time(&response)))
    }
}
