//! A model of the service that never forgets: registrations, device codes, sessions with one-time refresh tokens whose
//! reuse ends them, and what the portal hands out.
//!
//! Owns the truth about every session: who it was issued to, whether and why it is over. Refuses to know networks: what
//! arrives here was not lost, what is answered may still be. Invariant: a session ends for one reason, which is kept.

use std::collections::BTreeMap;
use std::time::Duration;

use sso_agent::identity_center::{
    ClientRegistration, DeviceAuthorization, ErrorName, Flow, RoleCredentials, ServiceError, TokenResponse,
};
use sso_agent::secret::Secret;
use sso_agent::untrusted::Untrusted;
use sso_agent::upstream::Answer;

use super::chance::Chance;
use super::moment::{At, DAY, HOUR, MINUTE, SECOND, duration, service_time};

/// Everything the service knows.
#[derive(Debug)]
pub struct Service {
    clients: Vec<Client>,
    devices: Vec<Device>,
    /// Every session there ever was.
    pub families: Vec<Family>,
    /// Every set of role credentials that was handed out.
    pub sets: Vec<RoleSet>,
    /// How long things live, by realm.
    realms: BTreeMap<usize, Realm>,
}

#[derive(Debug)]
struct Client {
    elsewhere: bool,
    expires: At,
    revoked: bool,
}

#[derive(Debug)]
struct Device {
    realm: usize,
    client: usize,
    expires: At,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Pending,
    Approved,
    Denied,
    Used,
}

/// A session: all tokens that came of one sign-in.
#[derive(Debug)]
pub struct Family {
    /// Where.
    pub realm: usize,
    client: usize,
    /// When the service ends it.
    cap: At,
    /// Whether and why it is over.
    pub ended: Option<Why>,
    /// The refresh token that is good: the others have been used.
    pub newest: usize,
    rotates: bool,
    /// The ends of the access tokens.
    pub access: Vec<At>,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// It had its time.
    Cap,
    /// The user signed out.
    SignedOut,
    /// An administrator ended it.
    Revoked,
    /// A refresh token was presented that had been used.
    Reused,
    /// Its client registration is over.
    ClientGone,
}

/// A set of role credentials.
#[derive(Debug, Clone, Copy)]
pub struct RoleSet {
    /// When it ends.
    pub ends: At,
    /// In which session of the configuration.
    pub session: usize,
    /// Which of its roles.
    pub role: usize,
}

/// How long things live.
#[derive(Debug, Clone, Copy)]
struct Realm {
    access: At,
    role: At,
    cap: At,
    client: At,
    rotates: bool,
    interval: u64,
}

/// What arrives at the service.
#[derive(Debug, Clone, Copy)]
pub enum Arrival {
    /// `RegisterClient`.
    Register,
    /// `StartDeviceAuthorization` by this client.
    StartDevice { client: usize },
    /// `CreateToken` with a device code.
    Poll { client: usize, device: usize },
    /// `CreateToken` with a refresh token.
    Refresh { client: usize, family: usize, index: usize },
    /// `GetRoleCredentials`.
    Role { family: usize, serial: usize, role: usize },
    /// `AssumeRole`, with this set of role credentials.
    Assume { set: usize, role: usize },
    /// A list.
    List { family: usize, serial: usize, accounts: bool },
    /// `Logout`.
    Logout { family: usize, serial: usize },
}

impl Service {
    /// A service without any users.
    pub const fn new() -> Self {
        Self {
            clients: Vec::new(),
            devices: Vec::new(),
            families: Vec::new(),
            sets: Vec::new(),
            realms: BTreeMap::new(),
        }
    }

    /// Does what is asked, at this moment.
    pub fn act(&mut self, at: At, realm: usize, arrival: Arrival, chance: &mut Chance) -> Result<Answer, ServiceError> {
        match arrival {
            Arrival::Register => {
                let lifetime = self.realm(realm, chance).client;
                self.clients.push(Client { elsewhere: realm % 2 == 1, expires: at + lifetime, revoked: false });
                Ok(Answer::Registered(ClientRegistration {
                    client_id: format!("c-{}", self.clients.len() - 1),
                    client_secret: secret("client-secret"),
                    issued_at: service_time(at),
                    expires_at: service_time(at + lifetime),
                    scopes: vec!["sso:account:access".to_owned()],
                    flow: Flow::Device,
                }))
            }
            Arrival::StartDevice { client } => {
                self.check_client(at, realm, client)?;
                let interval = self.realm(realm, chance).interval;
                self.devices.push(Device { realm, client, expires: at + 10 * MINUTE, verdict: Verdict::Pending });
                let number = self.devices.len() - 1;
                Ok(Answer::DeviceAuthorization(DeviceAuthorization {
                    device_code: secret(&format!("d-{number}")),
                    user_code: Untrusted::new(number.to_string()),
                    verification_uri: Untrusted::new("https://device.sso.eu-west-1.amazonaws.com/"),
                    verification_uri_complete: Untrusted::new(format!(
                        "https://device.sso.eu-west-1.amazonaws.com/?user_code={number}"
                    )),
                    expires_in: Duration::from_secs(600),
                    interval: Duration::from_secs(interval),
                }))
            }
            Arrival::Poll { client, device } => self.poll(at, realm, client, device, chance),
            Arrival::Refresh { client, family, index } => self.refresh(at, client, family, index, chance),
            Arrival::Role { family, serial, role } => {
                self.check_access(at, family, serial)?;
                if role == FORBIDDEN_ROLE {
                    return Err(error(ErrorName::Forbidden, 403));
                }
                let ends = at + self.realm(realm, chance).role;
                self.sets.push(RoleSet { ends, session: realm / 2, role });
                Ok(Answer::RoleCredentials(RoleCredentials {
                    access_key_id: format!("ASIA{:016}", self.sets.len() - 1),
                    secret_access_key: secret("role-secret"),
                    session_token: secret("role-session"),
                    expires_at: service_time(ends),
                }))
            }
            Arrival::Assume { set, role } => {
                let source = self.sets[set];
                if source.ends <= at {
                    return Err(error(ErrorName::ExpiredToken, 403));
                }
                assert!(role >= CHAINED_ROLE && source.session == realm / 2, "role credentials of another session");
                let ends = at + HOUR;
                self.sets.push(RoleSet { ends, session: realm / 2, role });
                Ok(Answer::RoleCredentials(RoleCredentials {
                    access_key_id: format!("ASIA{:016}", self.sets.len() - 1),
                    secret_access_key: secret("role-secret"),
                    session_token: secret("role-session"),
                    expires_at: service_time(ends),
                }))
            }
            Arrival::List { family, serial, accounts } => {
                self.check_access(at, family, serial)?;
                Ok(if accounts { Answer::Accounts(Vec::new()) } else { Answer::Roles(Vec::new()) })
            }
            Arrival::Logout { family, serial } => {
                self.check_access(at, family, serial)?;
                self.end(family, Why::SignedOut);
                Ok(Answer::LoggedOut)
            }
        }
    }

    fn poll(
        &mut self,
        at: At,
        realm: usize,
        client: usize,
        device: usize,
        chance: &mut Chance,
    ) -> Result<Answer, ServiceError> {
        self.check_client(at, realm, client)?;
        let known = &mut self.devices[device];
        if at >= known.expires {
            return Err(error(ErrorName::ExpiredToken, 400));
        }
        match known.verdict {
            Verdict::Pending => Err(error(ErrorName::AuthorizationPending, 400)),
            Verdict::Denied => Err(error(ErrorName::AccessDenied, 400)),
            Verdict::Used => Err(error(ErrorName::InvalidGrant, 400)),
            Verdict::Approved => {
                assert_eq!((known.realm, known.client), (realm, client), "a device code of another client");
                known.verdict = Verdict::Used;
                let Realm { cap, rotates, .. } = self.realm(realm, chance);
                let cap = at + chance.between(cap / 2, cap + cap / 2);
                self.families.push(Family { realm, client, cap, ended: None, newest: 0, rotates, access: Vec::new() });
                Ok(self.issue(at, self.families.len() - 1, true, chance))
            }
        }
    }

    fn refresh(
        &mut self,
        at: At,
        client: usize,
        number: usize,
        index: usize,
        chance: &mut Chance,
    ) -> Result<Answer, ServiceError> {
        let realm = self.families[number].realm;
        if let Err(refused) = self.check_client(at, realm, client) {
            self.end(number, Why::ClientGone);
            return Err(refused);
        }
        let family = &mut self.families[number];
        assert_eq!(family.client, client, "a refresh token of another client");
        if family.ended.is_none() && at >= family.cap {
            family.ended = Some(Why::Cap);
        }
        if family.ended.is_none() && index != family.newest {
            family.ended = Some(Why::Reused);
        }
        if family.ended.is_some() {
            let name = if chance.permille(300) { ErrorName::ExpiredToken } else { ErrorName::InvalidGrant };
            return Err(error(name, 400));
        }
        let rotates = family.rotates;
        family.newest += usize::from(rotates);
        Ok(self.issue(at, number, rotates, chance))
    }

    fn issue(&mut self, at: At, number: usize, with_refresh_token: bool, chance: &mut Chance) -> Answer {
        let lifetime = self.realm(self.families[number].realm, chance).access;
        let family = &mut self.families[number];
        let lifetime = if chance.permille(500) { lifetime } else { lifetime.min(family.cap.saturating_sub(at)) };
        let lifetime = (lifetime / SECOND).max(1) * SECOND;
        family.access.push(at + lifetime);
        Answer::Token(TokenResponse {
            access_token: secret(&format!("a-{number}-{}", family.access.len() - 1)),
            token_type: "Bearer".to_owned(),
            expires_in: duration(lifetime),
            refresh_token: with_refresh_token.then(|| secret(&format!("r-{number}-{}", family.newest))),
        })
    }

    /// The user decides about a device code, at the service's page.
    pub fn decide(&mut self, device: usize, approved: bool) {
        if let Some(device) = self.devices.get_mut(device)
            && device.verdict == Verdict::Pending
        {
            device.verdict = if approved { Verdict::Approved } else { Verdict::Denied };
        }
    }

    /// The session ends, unless it has.
    pub fn end(&mut self, family: usize, why: Why) {
        self.families[family].ended.get_or_insert(why);
    }

    /// Whether a session lives, as far as the next refresh is concerned.
    pub fn lives(&self, family: usize, at: At) -> bool {
        let family = &self.families[family];
        let client = &self.clients[family.client];
        family.ended.is_none() && at < family.cap && !client.revoked && at < client.expires
    }

    /// The service no longer knows the client of this session.
    pub fn revoke_client_of(&mut self, family: usize) {
        let client = self.families[family].client;
        self.clients[client].revoked = true;
    }

    fn check_client(&self, at: At, realm: usize, client: usize) -> Result<(), ServiceError> {
        let known = self.clients.get(client).filter(|known| !known.revoked && at < known.expires);
        match known {
            Some(known) => {
                assert_eq!(known.elsewhere, realm % 2 == 1, "a client of another place");
                Ok(())
            }
            None => Err(error(ErrorName::InvalidClient, 401)),
        }
    }

    fn check_access(&self, at: At, family: usize, serial: usize) -> Result<(), ServiceError> {
        let known = &self.families[family];
        let over = matches!(known.ended, Some(Why::SignedOut | Why::Revoked | Why::Reused));
        if over || known.access[serial] <= at { Err(error(ErrorName::Unauthorized, 401)) } else { Ok(()) }
    }

    fn realm(&mut self, realm: usize, chance: &mut Chance) -> Realm {
        *self.realms.entry(realm).or_insert_with(|| Realm {
            access: chance.pick(&[HOUR, HOUR, HOUR, HOUR, HOUR, HOUR, HOUR, 15 * MINUTE, 8 * HOUR, 8 * HOUR]),
            role: chance.pick(&[HOUR, HOUR, 8 * HOUR, 12 * HOUR, 15 * MINUTE]),
            cap: chance.pick(&[8 * HOUR, DAY, 7 * DAY, 30 * DAY, 90 * DAY]),
            client: chance.pick(&[90 * DAY, 90 * DAY, DAY]),
            rotates: chance.permille(850),
            interval: chance.pick(&[5, 5, 5, 5, 5, 5, 5, 1]),
        })
    }
}

fn secret(text: &str) -> Secret {
    Secret::new(text.to_owned())
}

/// An error in the service's words.
pub fn error(name: ErrorName, status: u16) -> ServiceError {
    ServiceError { name, status, message: Untrusted::new("the service's words") }
}

/// The role that the portal says the user does not have.
pub const FORBIDDEN_ROLE: usize = 9;
/// The first of the roles that are assumed with the credentials of another one: with those of the first; the next one
/// with those of this one.
pub const CHAINED_ROLE: usize = 20;
