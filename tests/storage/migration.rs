//! Migrations that are killed, that meet each other, and that callers must not notice.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::support::fake::{FakeConfig, FakeIdentityCenter, Operation};
use crate::support::sandbox::{CORP, Sandbox, request};

use super::{credential, home, names};

const SESSIONS: [&str; 4] = ["corp", "lab", "other", "d"];
const RUNS: u64 = 30;

fn many_sessions(sandbox: &Sandbox) {
    let section = |name: &&str| {
        format!("[sso-session {name}]\nsso_start_url = https://s.awsapps.com/start\nsso_region = eu-west-1\n")
    };
    let others: String = SESSIONS[1..3].iter().map(section).collect();
    sandbox.write_config(&format!("{CORP}{others}{}", section(&SESSIONS[3])));
}

/// The other way than the key is now.
fn other_place(place: &str) -> &'static str {
    if place == "file" { "systemd-credential" } else { "file" }
}

/// Asks for a migration. Nobody is there to answer if the blow falls first.
fn migrate_in_vain(socket: &Path, to: &str) {
    let Ok(mut stream) = UnixStream::connect(socket) else { return };
    let body = format!(r#"{{"to":"{to}"}}"#);
    let header = "POST /v1/storage/migrate HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length:";
    let _ = write!(stream, "{header} {}\r\n\r\n{body}", body.len());
    let _ = stream.read_to_end(&mut Vec::new());
}

/// What can be seen of a migration's progress from outside.
fn progress(sandbox: &Sandbox) -> (Vec<String>, usize, Vec<u8>) {
    let names = names(sandbox, "");
    let files = names
        .iter()
        .filter(|name| name.starts_with("records"))
        .map(|name| std::fs::read_dir(sandbox.state().join(name)).map_or(0, Iterator::count));
    let files = files.sum();
    (names, files, std::fs::read(sandbox.state().join("key.json")).unwrap_or_default())
}

#[test]
fn killed_at_any_moment_of_a_migration_everything_is_served_and_nothing_is_left_over() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = home(&service, "auto");
    many_sessions(&sandbox);
    let agent = sandbox.start_agent();
    for session in SESSIONS {
        agent.begin_sign_in(&service, session);
        assert_eq!(agent.end_of_sign_in(session)["state"], "signed_in");
    }
    drop(agent);
    let directory = credential(&sandbox, b'a').display().to_string();
    sandbox.set("CREDENTIALS_DIRECTORY", &directory);
    let sandbox = sandbox;
    let mut seed: u64 = 0x5eed_0001;
    let mut random = |below: u64| {
        // Xorshift: the same runs every time.
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % below
    };
    let (mut moved, mut stayed) = (0, 0);
    let mut agent = sandbox.start_agent();
    for run in 0..RUNS {
        let before = agent.get("/v1/status")["storage"]["key"].as_str().unwrap().to_owned();
        let to = other_place(&before);
        let (steps, turns) = (random(16), random(400));
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (socket, done) = (sandbox.socket(), &done);
            scope.spawn(move || {
                migrate_in_vain(&socket, to);
                done.store(true, Ordering::SeqCst);
            });
            let mut seen = progress(&sandbox);
            for _ in 0..steps {
                while progress(&sandbox) == seen && !done.load(Ordering::SeqCst) {}
                seen = progress(&sandbox);
            }
            for _ in 0..turns {
                std::thread::yield_now();
            }
            agent.kill();
        });
        agent = sandbox.start_agent();
        let status = agent.get("/v1/status");
        let after = status["storage"]["key"].as_str().unwrap();
        if after == before {
            stayed += 1
        } else {
            moved += 1
        }
        assert_eq!((&status["storage"]["available"], &status["warnings"]), (&true.into(), &serde_json::json!([])));
        for session in status["sessions"].as_array().unwrap() {
            assert_eq!(session["state"], "signed_in", "run {run}, {steps} steps, {turns} turns: {status:#}");
        }
        assert_eq!(status["sessions"].as_array().unwrap().len(), SESSIONS.len());
        assert_eq!(names(&sandbox, "records").len(), 1, "run {run}");
        assert_eq!(names(&sandbox, "key").len(), 1 + usize::from(after == "file"), "run {run}");
        assert_eq!(names(&sandbox, ".unfinished").len(), 0, "run {run}");
        let key_record = std::fs::read_to_string(sandbox.state().join("key.json")).unwrap();
        assert!(!key_record.contains("leftovers"), "run {run}: {key_record}");
    }
    println!("{moved} migrations counted, {stayed} did not");
    assert!(moved > 0 && stayed > 0, "the blows fell on one side only: {moved} and {stayed}");
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!(service.count(Operation::StartDeviceAuthorization), SESSIONS.len());
}

#[test]
fn callers_notice_nothing_of_migrations_not_even_of_two_at_once() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = home(&service, "auto");
    let directory = credential(&sandbox, b'a').display().to_string();
    {
        let agent = sandbox.start_agent();
        agent.sign_in(&service);
    }
    sandbox.set("CREDENTIALS_DIRECTORY", &directory);
    let sandbox = sandbox;
    let agent = sandbox.start_agent();
    let over = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let askers: Vec<_> = (0..4)
            .map(|number| {
                let (over, socket) = (&over, sandbox.socket());
                scope.spawn(move || {
                    let paths = ["/v1/credentials?profile=dev", "/v1/token?session=corp", "/v1/status"];
                    let mut asked = 0;
                    while !over.load(Ordering::SeqCst) {
                        let (status, body) = request(&socket, "GET", paths[(asked + number) % 3], "");
                        assert_eq!(status, 200, "{body}");
                        asked += 1;
                    }
                    asked
                })
            })
            .collect();
        for round in 0..6 {
            let to = if round % 2 == 0 { "systemd-credential" } else { "file" };
            // Two want the same: one does it, the other is told that it is done.
            let body = format!(r#"{{"to":"{to}"}}"#);
            let ask = || request(&sandbox.socket(), "POST", "/v1/storage/migrate", &body);
            let (one, other) = std::thread::scope(|both| {
                let other = both.spawn(ask);
                (ask(), other.join().unwrap())
            });
            let mut answers = [one.0, other.0];
            answers.sort_unstable();
            assert_eq!(answers, [200, 400], "{one:?} {other:?}");
        }
        over.store(true, Ordering::SeqCst);
        askers.into_iter().map(|asker| asker.join().unwrap()).sum::<usize>()
    });
    assert!(asked > 0);
    assert_eq!(names(&sandbox, "records").len(), 1);
    // What is made now goes to where the next start looks.
    assert_eq!(agent.request("POST", "/v1/sessions/corp/refresh", "").0, 200);
    agent.wait_for_status("saved", |status| status["storage"]["saved"] == true);
    agent.kill();
    let _agent = sandbox.start_agent();
    assert_eq!(sandbox.shim(&["--profile", "dev"]).json()["Version"], 1);
    assert_eq!((service.refresh_token_reuses(), service.count(Operation::StartDeviceAuthorization)), (0, 1));
}
