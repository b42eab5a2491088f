//! The documents say what the program does, where a program can check it.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;
use sso_agent::api::Code;

use crate::architecture::source::sources_below;
use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{Agent, Sandbox};

#[test]
fn every_shape_in_the_protocol_document_is_what_the_agent_answers() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("AWS_ENDPOINT_URL_SIGNIN", service.url());
    let agent = sandbox.start_agent();
    let mut documented: Vec<(String, Vec<Value>)> = routes(&document("docs/PROTOCOL.md"));
    let mut say = |agent: &Agent<'_>, route: &str, path: &str| {
        let index = documented.iter().position(|(known, _)| known == route);
        let (_, shapes) = documented.remove(index.unwrap_or_else(|| panic!("{route} is not in the document")));
        let method = route.split(' ').next().expect("a route begins with a method");
        // The key of this agent is in a file, and a passphrase needs nothing of the machine.
        let body = if path.ends_with("/migrate") { r#"{"to":"passphrase","passphrase":"correct horse"}"# } else { "" };
        let (status, body) = agent.request(method, path, body);
        assert!(status < 300, "{route}: {body}");
        for shape in shapes {
            assert_same_shape(route, &shape, &body);
        }
    };
    say(&agent, "POST /v1/sessions/{s}/login", "/v1/sessions/corp/login");
    say(&agent, "DELETE /v1/sessions/{s}/login", "/v1/sessions/-/login?profile=dev");
    agent.sign_in(&service);
    say(&agent, "GET /v1/sessions/{s}/login", "/v1/sessions/corp/login");
    say(&agent, "GET /v1/credentials", "/v1/credentials?profile=dev");
    say(&agent, "GET /v1/token", "/v1/token?session=corp");
    say(&agent, "POST /v1/console", "/v1/console?profile=dev");
    say(&agent, "GET /v1/status", "/v1/status");
    say(&agent, "GET /v1/metrics", "/v1/metrics");
    say(&agent, "GET /v1/health", "/v1/health");
    say(&agent, "POST /v1/sessions/{s}/refresh", "/v1/sessions/corp/refresh");
    say(&agent, "GET /v1/sessions/{s}/accounts", "/v1/sessions/corp/accounts");
    say(&agent, "GET /v1/sessions/{s}/accounts/{account}/roles", "/v1/sessions/-/accounts/111122223333/roles");
    say(&agent, "POST /v1/reload", "/v1/reload");
    say(&agent, "POST /v1/lock", "/v1/lock");
    say(&agent, "POST /v1/unlock", "/v1/unlock");
    say(&agent, "GET /v1/storage", "/v1/storage");
    say(&agent, "POST /v1/storage/unlock", "/v1/storage/unlock");
    say(&agent, "POST /v1/storage/migrate", "/v1/storage/migrate");
    say(&agent, "DELETE /v1/sessions/{s}", "/v1/sessions/corp");
    leave_a_sign_in(&service, &sandbox);
    say(&agent, "POST /v1/sessions/{s}/adopt", "/v1/sessions/corp/adopt");
    agent.request("DELETE", "/v1/sessions/corp", "");
    assert_eq!(documented, [], "routes that nobody has tried");

    let (_, problem) = agent.request("GET", "/v1/credentials?profile=dev", "");
    let text = document("docs/PROTOCOL.md");
    let errors = text.split("\n## Errors").nth(1).expect("there is a chapter on errors");
    assert_eq!(json_blocks(errors), [problem], "the example is the real thing");
}

/// As `aws sso login` does.
fn leave_a_sign_in(service: &FakeIdentityCenter, sandbox: &Sandbox) {
    let (client, tokens) = service.sign_in_directly("https://corp.awsapps.com/start");
    let set = serde_json::json!({
        "startUrl": "https://corp.awsapps.com/start",
        "region": "eu-west-1",
        "accessToken": tokens.access_token,
        "expiresAt": "2999-01-01T00:00:00Z",
        "clientId": client.client_id,
        "clientSecret": client.client_secret,
        "registrationExpiresAt": "2999-01-01T00:00:00Z",
        "refreshToken": tokens.refresh_token,
    });
    let file = "home/.aws/sso/cache/ee0bfd2552fbd840c02cc48b6e823320543c450f.json";
    sandbox.write(file, &set.to_string());
}

#[test]
fn the_line_of_the_audit_log_in_the_protocol_document_is_one() {
    let text = document("docs/PROTOCOL.md");
    let section = text.split("\n## The audit log\n").nth(1).expect("there is a chapter on it");
    let documented = json_blocks(section.split("\n## ").next().unwrap_or_default()).remove(0);
    let line: sso_agent::audit::Line = serde_json::from_value(documented.clone()).unwrap();
    assert_eq!(serde_json::to_value(line).unwrap(), documented, "it has these members and no others");
}

#[test]
fn the_table_of_codes_is_the_programs() {
    let text = document("docs/PROTOCOL.md");
    let mut documented = BTreeSet::new();
    for row in text.lines().filter(|line| line.starts_with("| `")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let word = cells[1].trim_matches('`');
        let Ok(status) = cells[2].parse::<u16>() else { continue };
        let code: Code = serde_json::from_value(Value::from(word)).unwrap();
        assert_eq!(code.as_str(), word, "the program knows this code");
        assert_eq!((code.status(), code.exit().code().to_string()), (status, cells[3].to_owned()), "{word}");
        documented.insert(word.to_owned());
    }
    let source = document("src/api/problem.rs");
    let in_source = source.lines().filter_map(|line| line.trim().strip_prefix("Self::")?.split_once(" => (\""));
    let known: BTreeSet<String> =
        in_source.map(|(_, rest)| rest.split('"').next().unwrap_or_default().to_owned()).collect();
    assert_eq!(documented, known.into_iter().filter(|word| word != "unknown").collect());
}

#[test]
fn the_readmes_exit_codes_are_the_programs() {
    let text = document("README.md");
    let table = text.split("\n## Exit codes").nth(1).expect("there is a chapter on exit codes");
    let table = table.split("\n## ").next().unwrap_or_default();
    let rows = table.lines().filter_map(|line| line.strip_prefix("| ")?.split(" |").next()?.parse::<u8>().ok());
    let source = document("src/exit.rs");
    let codes =
        source.lines().filter_map(|line| line.trim().split_once(" = ")?.1.strip_suffix(',')?.parse::<u8>().ok());
    assert_eq!(rows.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
}

#[test]
fn the_documents_settings_are_accepted() {
    for other in ["README.md", "docs/REMOTE.md"] {
        for block in document(other).split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            sso_agent::settings::Settings::parse(block).unwrap();
        }
    }
    let text = document("docs/CONFIGURATION.md");
    let blocks: Vec<&str> = text.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty(), "there is an example of config.toml");
    for block in blocks {
        sso_agent::settings::Settings::parse(block).unwrap();
    }
    // The block of that chapter has everything that may be set.
    let chapter = text.split("\n## Settings\n").nth(1).unwrap().split("\n```\n").next().unwrap();
    let source = document("src/settings/read.rs");
    let known = source.split("const SESSION_KEYS: &[&str] = &[").nth(1).unwrap().split("];").next().unwrap();
    let top = source.split("const TOP_KEYS: &[&str] = &[").nth(1).unwrap().split("];").next().unwrap();
    let keys = [known, top].into_iter().flat_map(|list| list.split(',')).map(|key| key.trim().trim_matches('"'));
    let missing: Vec<&str> = keys
        .filter(|key| {
            let lines = || chapter.lines().map(|line| line.trim_start_matches('['));
            !key.is_empty()
                && !lines().any(|line| line.strip_prefix(key).is_some_and(|rest| rest.starts_with([' ', '.', ']'])))
        })
        .collect();
    assert_eq!(missing, [""; 0]);
}

#[test]
fn what_documents_link_to_is_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut missing = Vec::new();
    for name in DOCUMENTS {
        let path = root.join(name);
        let Ok(text) = std::fs::read_to_string(&path) else { continue };
        for target in text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next()) {
            let elsewhere = target.contains("://") || target.is_empty();
            if !elsewhere && !path.parent().expect("a file is in a directory").join(target).exists() {
                missing.push(format!("{name}: {target}"));
            }
        }
        for word in text.split('`').skip(1).step_by(2) {
            let source = ["src/", "tests/", "docs/"].iter().any(|directory| word.starts_with(directory));
            if source && !word.contains(['*', '{', ' ']) && !root.join(word).exists() {
                missing.push(format!("{name}: {word}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

#[test]
fn every_test_that_the_reliability_document_names_exists() {
    let text = document("docs/RELIABILITY.md");
    let words = text.split('`').skip(1).step_by(2).filter(|word| word.matches('_').count() > 2);
    let named: BTreeSet<&str> =
        words.filter(|word| !word.contains(|c: char| c != '_' && !c.is_alphanumeric())).collect();
    assert!(named.len() > 50, "the document was not understood: {named:?}");
    assert_eq!(without_a_test(named), [""; 0]);
    // Every row of a table of faults says what proves it.
    let tables = text.split("\n\n").filter(|table| table.starts_with("| ") && table.contains("| proof |\n"));
    let rows = tables.flat_map(|table| table.lines().skip(2));
    let unproven: Vec<&str> = rows.filter(|row| !row.trim_end_matches(" |").ends_with('`')).collect();
    assert_eq!(unproven, [""; 0]);
}

#[test]
fn every_test_that_the_security_document_names_exists() {
    let text = document("docs/SECURITY.md");
    let listed = text.lines().filter_map(|line| line.strip_prefix("- `")).filter_map(|rest| rest.split('`').next());
    let listed: Vec<&str> = listed.filter(|word| word.matches('_').count() > 2).collect();
    assert!(listed.len() > 20, "the document was not understood: {listed:?}");
    assert_eq!(without_a_test(listed), [""; 0]);
}

/// The names that no function has.
fn without_a_test<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let sources: Vec<String> = ["src", "tests"].into_iter().flat_map(sources_below).map(|file| file.text).collect();
    let exists = |name: &&str| sources.iter().any(|source| source.contains(&format!("fn {name}(")));
    names.into_iter().filter(|name| !exists(name)).collect()
}

const DOCUMENTS: [&str; 9] = [
    "README.md",
    "CHANGELOG.md",
    "docs/ARCHITECTURE.md",
    "docs/CONFIGURATION.md",
    "docs/PROTOCOL.md",
    "docs/RELIABILITY.md",
    "docs/REMOTE.md",
    "docs/SECURITY.md",
    "docs/SERVICE.md",
];

/// Every route with the shapes in its section.
fn routes(text: &str) -> Vec<(String, Vec<Value>)> {
    let sections = text.split("\n### `").skip(1);
    sections
        .map(|section| {
            let (route, rest) = section.split_once("`\n").expect("a heading is a route");
            (route.to_owned(), json_blocks(rest.split("\n## ").next().unwrap_or_default()))
        })
        .collect()
}

fn json_blocks(text: &str) -> Vec<Value> {
    let blocks = text.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.map(|block| serde_json::from_str(block).unwrap_or_else(|error| panic!("{error} in {block}"))).collect()
}

/// Whether both have the same members, all the way down; null fits everything.
fn assert_same_shape(place: &str, documented: &Value, answered: &Value) {
    match (documented, answered) {
        (Value::Object(documented), Value::Object(answered)) => {
            let members = |object: &serde_json::Map<String, Value>| object.keys().cloned().collect::<BTreeSet<_>>();
            assert_eq!(members(documented), members(answered), "{place}");
            for (name, value) in documented {
                assert_same_shape(&format!("{place}: {name}"), value, &answered[name]);
            }
        }
        (Value::Array(documented), Value::Array(answered)) => {
            for (documented, answered) in documented.iter().zip(answered) {
                assert_same_shape(place, documented, answered);
            }
        }
        (Value::Null, _) | (_, Value::Null) => {}
        (documented, answered) => {
            let same = std::mem::discriminant(documented) == std::mem::discriminant(answered);
            assert!(same, "{place}: {documented} in the document, {answered} in the answer");
        }
    }
}

fn document(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
