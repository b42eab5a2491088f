//! What the engine says when it says no: every problem is made here, with what helps.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::api::{Code, Problem};
use crate::aws_config::{SelectError, SessionDefinition};
use crate::identity_center::start_url::Misled;
use crate::identity_center::{ErrorName, Origin, ServiceError};
use crate::ids::{Assumption, Region, SessionName};
use crate::store::{Awaited, ManageError, Refused, StoreError, TokenRecord};
use crate::time::Timestamp;
use crate::untrusted::shown;
use crate::upstream::{Failure, NotSent, Trouble, Unclear};

/// A name as it can be typed into a shell.
pub(super) fn typed(name: &SessionName) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_./=,@+:-".contains(&byte);
    if name.as_str().bytes().all(plain) && !name.as_str().starts_with('-') {
        name.to_string()
    } else {
        format!("'{}'", name.as_str().replace('\'', r"'\''"))
    }
}

fn login_hint(name: &SessionName) -> String {
    format!("run: sso-agent login {}", typed(name))
}

/// A time as a person reads it on this machine's clock: the hour, with the day where it is not `now`'s.
pub(super) fn clock_time(time: Timestamp, now: Timestamp, zone: &TimeZone) -> String {
    let zoned = |time: Timestamp| jiff::Timestamp::from_millisecond(time.as_millis()).map(|t| t.to_zoned(zone.clone()));
    match (zoned(time), zoned(now)) {
        (Ok(time), Ok(now)) if time.date() == now.date() => time.strftime("%H:%M").to_string(),
        (Ok(time), _) => time.strftime("%Y-%m-%d %H:%M").to_string(),
        _ => time.to_string(),
    }
}

pub(super) fn signed_out(name: &SessionName, pending: bool) -> Problem {
    let problem =
        Problem::new(Code::SignInRequired, format!("nobody is signed in to session {}", shown(name.as_str())))
            .session(name);
    if pending {
        problem.hint("a sign-in is waiting for approval in the browser")
    } else {
        problem.hint(login_hint(name))
    }
}

/// What is held is about to be something else.
pub(super) fn being_replaced(name: &SessionName) -> Problem {
    Problem::new(Code::Busy, "this session is being signed in or refreshed just now")
        .session(name)
        .retry_after(Duration::from_secs(1))
}

/// A sign-in that a request has started waits for the user.
pub(super) fn sign_in_awaited(name: &SessionName) -> Problem {
    let detail = format!("a sign-in to session {} is waiting for you", shown(name.as_str()));
    Problem::new(Code::SignInRequired, detail).session(name).hint(login_hint(name))
}

/// A sign-in was not wanted lately, or the user has signed out.
pub(super) fn quiet(problem: Problem, until: Timestamp, now: Timestamp, zone: &TimeZone) -> Problem {
    let until = clock_time(until, now, zone);
    problem.caused_by(format!(
        "the last sign-in was given up, or you signed out: no other is started by itself before {until}"
    ))
}

/// The start URL leads nowhere that a sign-in could begin.
pub(super) fn misled(definition: &SessionDefinition, misled: &Misled) -> Problem {
    let detail = format!("the start URL {} is no access portal", shown(&definition.start_url));
    Problem::new(Code::InvalidConfig, detail)
        .caused_by(misled)
        .hint(format!("check sso_start_url at {}", definition.place))
}

/// Nobody could be asked where the start URL leads.
pub(super) fn start_url_not_asked(definition: &SessionDefinition, failure: &Failure) -> Problem {
    let problem = failed(&definition.name, "asking where the start URL leads", failure, None);
    let no_such_host = match failure {
        Failure::NotSent(NotSent::Dns(_)) => true,
        Failure::NotSent(NotSent::Proxy(proxy)) => matches!(proxy.trouble, Trouble::Refused { .. }),
        _ => false,
    };
    if no_such_host {
        problem.hint(format!("check sso_start_url at {}, and the network", definition.place))
    } else {
        problem
    }
}

/// The start URL leads to an instance in another region than the configured one.
pub(super) fn other_region(definition: &SessionDefinition, region: &Region) -> Problem {
    let detail = format!(
        "the start URL {} leads to an instance in {region}, not in {}",
        shown(&definition.start_url),
        definition.region
    );
    Problem::new(Code::InvalidConfig, detail).hint(format!("set sso_region = {region} at {}", definition.place))
}

/// A restricted socket does not hand that out.
pub(super) fn not_at_this_door() -> Problem {
    Problem::new(Code::NotAllowed, "this socket hands out the credentials of some targets and nothing else")
}

/// Another program removed the published sign-in, and the portal agrees.
pub(super) fn signed_out_elsewhere(name: &SessionName, file: Option<&str>) -> Problem {
    let detail = format!(
        "session {} was signed out by another program: {} was removed, and the portal does not accept the token",
        shown(name.as_str()),
        shown(file.unwrap_or("its file in the AWS CLI's cache"))
    );
    Problem::new(Code::SignInRequired, detail).session(name).hint(login_hint(name))
}

/// A sign-in is stored and its key is not there.
pub(super) fn sealed(name: &SessionName, awaited: &Awaited) -> Problem {
    let detail = format!("the stored sign-in of session {} cannot be read", shown(name.as_str()));
    Problem::new(Code::Storage, detail)
        .session(name)
        .caused_by(&awaited.message)
        .hint(&awaited.hint)
        .retry_after(ASKED_AGAIN)
}

/// Something about the key that was not done.
pub(super) fn not_managed(error: &ManageError) -> Problem {
    let code = match error {
        ManageError::NothingKept | ManageError::AlreadyThere(_) | ManageError::NoPassphrase => Code::InvalidRequest,
        _ => Code::Storage,
    };
    let problem = Problem::new(code, error.to_string());
    match error.hint() {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

/// The session is over because the service said so.
pub(super) fn ended(record: &TokenRecord, refused: &Refused, now: Timestamp, zone: &TimeZone) -> Problem {
    let name = &record.session;
    let when = |time| clock_time(time, now, zone);
    let detail = if refused.registration {
        format!(
            "the client registration of session {} is no longer valid since {}",
            shown(name.as_str()),
            when(refused.at)
        )
    } else {
        format!(
            "session {} ended between {} and {}; it began at {}",
            shown(name.as_str()),
            when(refused.last_alive),
            when(refused.at),
            when(record.signed_in_at)
        )
    };
    Problem::new(Code::SignInRequired, detail).session(name).caused_by(shown(&refused.message)).hint(login_hint(name))
}

/// The access token is over and there is nothing to refresh it with.
pub(super) fn expired(record: &TokenRecord, expired_at: Timestamp, now: Timestamp, zone: &TimeZone) -> Problem {
    let detail = format!(
        "session {} ended at {}; it began at {} and cannot be refreshed",
        shown(record.session.as_str()),
        clock_time(expired_at, now, zone),
        clock_time(record.signed_in_at, now, zone)
    );
    Problem::new(Code::SignInRequired, detail).session(&record.session).hint(login_hint(&record.session))
}

/// The portal says 401 although the token was just refreshed, or cannot be.
pub(super) fn rejected(name: &SessionName) -> Problem {
    let detail = format!("the portal does not accept the access token of session {}", shown(name.as_str()));
    Problem::new(Code::SignInRequired, detail).session(name).hint(login_hint(name))
}

/// Configuration leads elsewhere than the sign-in did.
pub(super) fn moved(name: &SessionName, origin: &Origin, definition: &SessionDefinition) -> Problem {
    let detail = format!(
        "session {} was signed in at {}, but is now configured for {} (by {}); nothing was sent",
        shown(name.as_str()),
        origin,
        definition.origin(),
        shown(&definition.endpoints_from)
    );
    Problem::new(Code::InvalidConfig, detail).session(name).hint(format!(
        "undo the change at {}:{}, or sign in there: sso-agent login {}",
        definition.place.file.display(),
        definition.place.line,
        typed(name)
    ))
}

pub(super) fn unselected(error: SelectError) -> Problem {
    let did_you_mean = |name: Option<String>| name.map(|name| format!("did you mean {}?", shown(&name)));
    let with_hint = |problem: Problem, hint: Option<String>| match hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    };
    match error {
        SelectError::UnknownSession { name, did_you_mean: near } => {
            let detail = format!("there is no session {} in the AWS configuration", shown(&name));
            with_hint(Problem::new(Code::UnknownSession, detail), did_you_mean(near.map(|near| near.to_string())))
        }
        SelectError::UnknownProfile { name, exists: true, .. } => {
            let detail = format!("profile {} does not use IAM Identity Center", shown(&name));
            Problem::new(Code::UnknownProfile, detail).hint("give it sso_session, sso_account_id and sso_role_name")
        }
        SelectError::UnknownProfile { name, did_you_mean: near, .. } => {
            let detail = format!("there is no profile {} in the AWS configuration", shown(&name));
            with_hint(Problem::new(Code::UnknownProfile, detail), did_you_mean(near.map(|near| near.to_string())))
        }
        SelectError::NoTarget(profile) => {
            let detail = format!("profile {} names a session, but no account and role", shown(profile.as_str()));
            Problem::new(Code::InvalidConfig, detail).hint("give it sso_account_id and sso_role_name")
        }
        SelectError::Rejected(rejected) => {
            let place = format!("{}:{}", rejected.place.file.display(), rejected.place.line);
            Problem::new(Code::InvalidConfig, format!("{place}: {}", shown(&rejected.message)))
        }
        SelectError::Ambiguous(names) => {
            let names: Vec<String> = names.iter().map(|name| shown(name.as_str()).to_string()).collect();
            Problem::new(Code::InvalidRequest, format!("there are several sessions: {}", names.join(", ")))
                .hint("name one")
        }
        SelectError::NoSessions => Problem::new(Code::InvalidConfig, "the AWS configuration has no sso-session")
            .hint("make one with: sso-agent configure session"),
    }
}

/// A call that brought nothing, in the words of whom it was made for.
pub(super) fn failed(name: &SessionName, doing: &str, failure: &Failure, retry_after: Option<Duration>) -> Problem {
    let (code, hint) = match failure {
        Failure::NotSent(cause) if cause.is_setting() => (Code::InvalidConfig, cause.hint()),
        Failure::NotSent(cause) => (Code::Unavailable, cause.hint()),
        Failure::NotProcessed { throttled: true, .. } => (Code::Throttled, None),
        Failure::NotProcessed { status: 300..400, .. } | Failure::Unknown(Unclear::UnusableBody(_)) => {
            (Code::Unavailable, Some("if this network has a sign-in page of its own, open that first"))
        }
        Failure::NotProcessed { .. } | Failure::Unknown(_) => (Code::Unavailable, None),
        Failure::Refused(_) => (Code::Refused, None),
    };
    let mut problem = Problem::new(code, format!("{doing} for session {} failed", shown(name.as_str())))
        .session(name)
        .caused_by(failure);
    if let Some(hint) = hint {
        problem = problem.hint(hint);
    }
    match retry_after {
        Some(pause) => problem.retry_after(pause),
        None => problem,
    }
}

/// The portal's definite "no such role".
pub(super) fn no_such_role(name: &SessionName, what: &str, error: &ServiceError) -> Problem {
    Problem::new(Code::AccessDenied, format!("the user of session {} may not use {what}", shown(name.as_str())))
        .session(name)
        .caused_by(error)
        .hint(format!("see: sso-agent roles {}", typed(name)))
}

/// STS's definite no to a role.
pub(super) fn may_not_assume(name: &SessionName, assumption: &Assumption, error: &ServiceError) -> Problem {
    let Assumption { source, role, external_id, .. } = assumption;
    let detail = format!("{} may not assume {role}", super::request::role(source));
    let hint = match external_id {
        Some(_) => "check who that role trusts, and whether external_id is the one that it asks for",
        None => "check who that role trusts, and whether it asks for an external_id",
    };
    Problem::new(Code::AccessDenied, detail).session(name).caused_by(error).hint(hint)
}

/// The words for a definite no to a refresh.
pub(super) fn refusal(error: &ServiceError) -> String {
    let meaning = match error.name {
        ErrorName::InvalidGrant => "the service does not accept the refresh token any more",
        ErrorName::ExpiredToken => "the service says that the refresh token has expired",
        _ => "the service does not know this client any more",
    };
    format!("{meaning} ({error})")
}

pub(super) fn timed_out(doing: &str, name: &SessionName) -> Problem {
    Problem::new(Code::Timeout, format!("{doing} for session {} took too long", shown(name.as_str()))).session(name)
}

/// The token is worth nothing although it was refreshed a moment ago.
pub(super) fn refreshed_lately(name: &SessionName) -> Problem {
    let detail = format!("the access token of session {} was refreshed a moment ago", shown(name.as_str()));
    Problem::new(Code::Unavailable, detail).session(name).caused_by("the portal does not accept it")
}

pub(super) fn locked() -> Problem {
    Problem::new(Code::Locked, "the agent is locked").hint("run: sso-agent unlock")
}

pub(super) fn passphrase_needed() -> Problem {
    Problem::new(Code::Locked, "the agent is locked with a passphrase").hint("run: sso-agent unlock")
}

pub(super) fn wrong_passphrase() -> Problem {
    Problem::new(Code::Locked, "that is not the passphrase the agent is locked with").hint("run: sso-agent unlock")
}

pub(super) fn locked_with_another_passphrase() -> Problem {
    Problem::new(Code::Locked, "the agent is locked already, and what it was locked with stays")
        .hint("to lock it with another passphrase, unlock it first: sso-agent unlock")
}

pub(super) fn lock_not_saved(error: &StoreError) -> Problem {
    Problem::new(Code::Storage, "the agent is locked, but that could not be saved: a restart would open it")
        .caused_by(error)
        .hint("make room in the state directory, then: sso-agent unlock, and lock it again")
}

pub(super) fn not_locked(error: &StoreError) -> Problem {
    Problem::new(Code::Storage, "the agent is NOT locked").caused_by(error)
}

pub(super) fn lock_not_removed(error: &StoreError) -> Problem {
    Problem::new(Code::Storage, "the agent is unlocked, but that could not be saved: a restart would lock it again")
        .caused_by(error)
}

pub(super) fn lock_took_too_long() -> Problem {
    Problem::new(Code::Timeout, "the lock took too long: the disk does not answer, or others try to unlock")
        .hint("see: sso-agent status")
}

pub(super) fn lock_is_damaged(path: &std::path::Path, reason: &str) -> String {
    let path = shown(&path.to_string_lossy()).to_string();
    format!("{path} says that the agent is locked, and cannot be understood: {}", shown(reason))
}

pub(super) fn remove_the_lock(path: &std::path::Path) -> String {
    format!("if it is you who wants it unlocked: stop the agent, remove {}, start it", shown(&path.to_string_lossy()))
}

pub(super) fn shutting_down() -> Problem {
    Problem::new(Code::ShuttingDown, "the agent is shutting down").retry_after(Duration::from_secs(1))
}

/// A key that is not there is asked for again about that often.
const ASKED_AGAIN: Duration = Duration::from_secs(15);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_a_hint_cannot_leave_its_quotes() {
        assert_eq!(typed(&"corp".parse().unwrap()), "corp");
        assert_eq!(typed(&"https://x.awsapps.com/start".parse().unwrap()), "https://x.awsapps.com/start");
        assert_eq!(typed(&"a'; curl x".parse().unwrap()), r"'a'\''; curl x'");
        assert_eq!(typed(&"-rf".parse().unwrap()), "'-rf'");
    }

    #[test]
    fn a_clock_time_names_the_day_only_when_it_is_another() {
        let noon = Timestamp::from_secs(1_700_000_000);
        assert_eq!(clock_time(noon, noon, &TimeZone::UTC), "22:13");
        assert_eq!(clock_time(noon, noon.after(Duration::from_secs(86_400)), &TimeZone::UTC), "2023-11-14 22:13");
    }
}
