//! The real [`Upstream`]: calls as HTTP requests.
//!
//! Owns: which request and which parser belong to a call, the time limit over a whole call, and lists of many pages.
//! Refuses to know sessions and schedules. Invariants: a call is one request (a list: one for each page, and a page
//! that was throttled again); nothing touches the network before every secret in it was found to belong there.

use std::collections::HashSet;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use tokio::time::{Instant, sleep_until, timeout_at};
use zeroize::Zeroizing;

use super::body::Unusable;
use super::errors::{Dialect, judge, service_time};
use super::http::{Clients, Outgoing, Pair};
use super::portal::Page;
use super::proxy::Proxies;
use super::{
    Answer, Call, Failure, NotSent, Reply, Route, ServiceTime, Unclear, Upstream, oidc, portal, resolve, signin, sts,
};
use crate::clock::Clock;
use crate::env::Env;
use crate::identity_center::Endpoint;
use crate::time::Now;

/// Calls over HTTPS, and over HTTP to this machine.
pub struct Https {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) clients: Clients,
}

impl Https {
    /// Takes the proxies of the environment; reads nothing and connects nowhere yet.
    #[must_use]
    pub fn new(clock: Arc<dyn Clock>, env: &Env) -> Self {
        Self { clock, clients: Clients::new(Proxies::of(env)) }
    }

    async fn answer(&self, route: &Route, call: &Call, deadline: Instant) -> Result<Received<Answer>, Ended> {
        let Route { endpoints, .. } = route;
        let line = Line { https: self, route, deadline };
        match call {
            Call::RegisterClient { client_name, scopes, flow, start_url } => {
                let request = oidc::register_client(&endpoints.oidc, client_name, scopes, *flow, start_url)?;
                let received = line.send(&endpoints.oidc, request).await?;
                let started = received.started;
                received.read(|body| oidc::registered(body, scopes, *flow, started).map(Answer::Registered))
            }
            Call::StartDeviceAuthorization { registration, start_url } => {
                let request = oidc::start_device_authorization(&endpoints.oidc, registration, start_url)?;
                let received = line.send(&endpoints.oidc, request).await?;
                received.read(|body| {
                    oidc::device_authorization(body, &endpoints.oidc, start_url).map(Answer::DeviceAuthorization)
                })
            }
            Call::CreateTokenFromDeviceCode { registration, device_code } => {
                let request = oidc::create_token_from_device_code(&endpoints.oidc, registration, device_code)?;
                line.send(&endpoints.oidc, request).await?.read(|body| oidc::token(body).map(Answer::Token))
            }
            Call::CreateTokenFromAuthorizationCode { registration, code } => {
                let request = oidc::create_token_from_authorization_code(&endpoints.oidc, registration, code)?;
                line.send(&endpoints.oidc, request).await?.read(|body| oidc::token(body).map(Answer::Token))
            }
            Call::CreateTokenFromRefreshToken { registration, refresh_token } => {
                let request = oidc::create_token_from_refresh_token(&endpoints.oidc, registration, refresh_token)?;
                line.send(&endpoints.oidc, request).await?.read(|body| oidc::token(body).map(Answer::Token))
            }
            Call::GetRoleCredentials { access_token, account, role } => {
                let request = portal::get_role_credentials(&endpoints.portal, access_token, account, role)?;
                let received = line.send(&endpoints.portal, request).await?;
                received.read(|body| portal::role_credentials(body).map(Answer::RoleCredentials))
            }
            Call::GetSigninToken { at, credentials, duration } => {
                let request = signin::get_signin_token(at, credentials, *duration)?;
                line.send(at, request).await?.read(|body| signin::signin_token(body).map(Answer::SigninToken))
            }
            Call::ListAccounts { access_token } => {
                let request = |next: Option<&str>| portal::list_accounts(&endpoints.portal, access_token, next);
                Ok(line.all_pages(request, portal::accounts).await?.map(Answer::Accounts))
            }
            Call::ProbeAccounts { access_token } => {
                let request = portal::probe_accounts(&endpoints.portal, access_token)?;
                let received = line.send(&endpoints.portal, request).await?;
                received.read(|body| portal::accounts(body).map(|page| Answer::Accounts(page.items)))
            }
            Call::ListAccountRoles { access_token, account } => {
                let request =
                    |next: Option<&str>| portal::list_account_roles(&endpoints.portal, access_token, account, next);
                Ok(line.all_pages(request, |body| portal::roles(body, account)).await?.map(Answer::Roles))
            }
            Call::Logout { access_token } => {
                let request = portal::logout(&endpoints.portal, access_token)?;
                let received = line.send(&endpoints.portal, request).await?;
                received.read(|body| portal::logged_out(body).map(|()| Answer::LoggedOut))
            }
            Call::ResolveStartUrl { start_url } => line.resolve(start_url).await,
            Call::AssumeRole { credentials, assumption, signed_at } => {
                let request = sts::assume_role(credentials, assumption, *signed_at)?;
                let clients = line.clients(&Endpoint::from(&assumption.sts.address)).await?;
                let received = line.send_with(&clients, request, Dialect::Xml).await?;
                received.read(|body| sts::assumed(body).map(Answer::RoleCredentials))
            }
        }
    }
}

impl Upstream for Https {
    fn call(&self, route: Route, call: Call) -> impl Future<Output = Reply> + Send {
        // Boxed: hyper's futures are large, and the engine keeps many calls.
        Box::pin(async move {
            let called = self.clock.now();
            let deadline = Instant::now() + route.timeout.min(LONGEST_CALL);
            let (result, started, service_time) = match self.answer(&route, &call, deadline).await {
                Ok(received) => (Ok(received.content), received.started, received.service_time),
                Err(ended) => (Err(ended.failure), ended.started.unwrap_or(called), ended.service_time),
            };
            let elapsed = self.clock.now().mono.since(called.mono);
            match &result {
                Ok(_) => tracing::debug!(operation = call.operation(), ?elapsed, "answered"),
                Err(failure) => tracing::debug!(operation = call.operation(), ?elapsed, %failure, "not answered"),
            }
            Reply { result, started, service_time }
        })
    }
}

/// What a request brought, or what was made of it.
struct Received<T> {
    content: T,
    started: Now,
    service_time: Option<ServiceTime>,
}

impl<T> Received<T> {
    fn map<U>(self, make: impl FnOnce(T) -> U) -> Received<U> {
        Received { content: make(self.content), started: self.started, service_time: self.service_time }
    }
}

impl Received<Zeroizing<Vec<u8>>> {
    fn read<T>(self, parse: impl FnOnce(&[u8]) -> Result<T, Unusable>) -> Result<Received<T>, Ended> {
        match parse(&self.content) {
            Ok(content) => Ok(Received { content, started: self.started, service_time: self.service_time }),
            // Whoever wrote that body is not the service, so its clock does not count.
            Err(unusable) => Err(Ended {
                failure: Failure::Unknown(unusable.into()),
                started: Some(self.started),
                service_time: None,
            }),
        }
    }
}

/// A call that came to nothing.
struct Ended {
    failure: Failure,
    started: Option<Now>,
    service_time: Option<ServiceTime>,
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self { failure, started: None, service_time: None }
    }
}

impl From<NotSent> for Ended {
    fn from(not_sent: NotSent) -> Self {
        Failure::NotSent(not_sent).into()
    }
}

/// A call's way out and its time limit.
#[derive(Clone, Copy)]
struct Line<'a> {
    https: &'a Https,
    route: &'a Route,
    deadline: Instant,
}

impl Line<'_> {
    async fn send(self, endpoint: &Endpoint, request: Outgoing) -> Result<Received<Zeroizing<Vec<u8>>>, Ended> {
        let clients = self.clients(endpoint).await?;
        self.send_with(&clients, request, Dialect::Json).await
    }

    async fn clients(self, endpoint: &Endpoint) -> Result<Pair, Ended> {
        let now = self.https.clock.now().mono;
        let trusting = self.https.clients.trusting(endpoint, self.route.ca_bundle.as_deref(), now);
        let late = || NotSent::Roots("not read in time".to_owned());
        Ok(timeout_at(self.deadline, trusting).await.map_err(|_| late())??)
    }

    async fn send_with(
        self,
        clients: &Pair,
        request: Outgoing,
        dialect: Dialect,
    ) -> Result<Received<Zeroizing<Vec<u8>>>, Ended> {
        let started = self.https.clock.now();
        let response = clients.exchange(request, self.deadline, &*self.https.clock).await.map_err(|failure| Ended {
            failure,
            started: Some(started),
            service_time: None,
        })?;
        let clock_of_service = service_time(&response);
        let verdict = judge(response, dialect);
        match verdict.body {
            Ok(content) => Ok(Received { content, started, service_time: clock_of_service }),
            Err(failure) => {
                Err(Ended { failure, started: Some(started), service_time: clock_of_service.filter(|_| verdict.named) })
            }
        }
    }

    /// Asks where a start URL leads. Whoever answers is not the service, so its clock does not count.
    async fn resolve(self, start_url: &str) -> Result<Received<Answer>, Ended> {
        let clients = self.clients(&resolve::host(start_url)?).await?;
        let started = self.https.clock.now();
        let ended = |failure| Ended { failure, started: Some(started), service_time: None };
        let ask = async |method| {
            let request = resolve::request(start_url, method)?;
            clients.exchange(request, self.deadline, &*self.https.clock).await.map_err(ended)
        };
        let mut response = ask(Method::HEAD).await?;
        if resolve::wants_get(&response) {
            response = ask(Method::GET).await?;
        }
        let content = resolve::answer(start_url, &response).map_err(ended)?;
        Ok(Received { content, started, service_time: None })
    }

    /// A list to its end. A throttled page is asked for again while the call's time lasts: the hundreds of accounts
    /// before it must not be lost to it. The first page is not; nothing would be lost, and pauses are the engine's.
    async fn all_pages<T>(
        self,
        request: impl Fn(Option<&str>) -> Result<Outgoing, NotSent>,
        parse: impl Fn(&[u8]) -> Result<Page<T>, Unusable>,
    ) -> Result<Received<Vec<T>>, Ended> {
        let first_request = request(None)?;
        let clients = self.clients(&self.route.endpoints.portal).await?;
        let mut list = self.send_with(&clients, first_request, Dialect::Json).await?.read(&parse)?;
        let mut seen = HashSet::new();
        let mut pauses = std::iter::successors(Some(FIRST_PAUSE), |pause| Some((*pause * 2).min(LONGEST_PAUSE)));
        while let Some(next) = list.content.next.take() {
            if seen.len() + 1 >= MOST_PAGES || !seen.insert(next.clone()) {
                let failure = Failure::Unknown(Unclear::UnusableBody("the list does not end".to_owned()));
                return Err(Ended { failure, started: Some(list.started), service_time: None });
            }
            let page = loop {
                match self.send_with(&clients, request(Some(&next))?, Dialect::Json).await {
                    Ok(received) => break received.read(&parse)?,
                    Err(ended) => {
                        let pause = pauses.next().unwrap_or(LONGEST_PAUSE);
                        let Some(until) = self.pause_after(&ended.failure, pause) else { return Err(ended) };
                        // The service asked for a pause, and the call's deadline bounds it.
                        sleep_until(until).await;
                    }
                }
            };
            list.content.items.extend(page.content.items);
            list.content.next = page.content.next;
            list.service_time = page.service_time;
        }
        Ok(list.map(|page| page.items))
    }

    /// Until when to wait before a throttled page is asked for again, if that is before the call's end.
    fn pause_after(self, failure: &Failure, pause: Duration) -> Option<Instant> {
        let Failure::NotProcessed { throttled: true, retry_after, .. } = failure else { return None };
        let until = Instant::now().checked_add(retry_after.unwrap_or_default().max(pause))?;
        (until < self.deadline).then_some(until)
    }
}

/// No deadline overflows.
const LONGEST_CALL: Duration = Duration::from_secs(3600);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
const MOST_PAGES: usize = 1000;
