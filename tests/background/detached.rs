//! What an agent in the background has of whoever started it: nothing but what it needs.

use std::collections::BTreeMap;
use std::path::Path;

use rustix::process::Pid;

use crate::support::fake::{FakeConfig, FakeIdentityCenter};
use crate::support::sandbox::{AGENT, Finished, SHIM, Sandbox};

/// What only the system's own user can look at, for the agent keeps others out.
fn looked_at<T>(look: impl FnOnce() -> T) -> Option<T> {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("left out: only root can look into the agent");
    }
    root.then(look)
}

fn environment(pid: Pid) -> BTreeMap<String, String> {
    let bytes = std::fs::read(format!("/proc/{}/environ", pid.as_raw_nonzero())).unwrap();
    let variables = bytes.split(|byte| *byte == 0).filter(|variable| !variable.is_empty());
    let text = variables.map(|variable| String::from_utf8(variable.to_vec()).unwrap());
    text.map(|variable| variable.split_once('=').map(|(name, value)| (name.into(), value.into())).unwrap()).collect()
}

/// Session, terminal, directory and open files.
fn has_nothing_of_ours(pid: Pid, root: &Path) {
    let number = pid.as_raw_nonzero();
    let stat = std::fs::read_to_string(format!("/proc/{number}/stat")).unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let (group, session, terminal) = (fields[2], fields[3], fields[4]);
    assert_eq!((group, session, terminal), (number.to_string().as_str(), number.to_string().as_str(), "0"), "{stat}");
    let places = looked_at(|| {
        assert_eq!(std::fs::read_link(format!("/proc/{number}/cwd")).unwrap(), Path::new("/"));
        let entries = std::fs::read_dir(format!("/proc/{number}/fd")).unwrap().map(Result::unwrap);
        let places = entries.map(|entry| {
            let number: u32 = entry.file_name().to_str().unwrap().parse().unwrap();
            (number, std::fs::read_link(entry.path()).unwrap_or_default())
        });
        places.collect::<BTreeMap<u32, _>>()
    });
    for (number, place) in places.unwrap_or_default() {
        let its_own = place.starts_with(root.join("state"))
            || ["socket:", "anon_inode:"].iter().any(|kind| place.to_string_lossy().starts_with(kind));
        assert!(if number < 3 { place == Path::new("/dev/null") } else { its_own }, "{number}: {}", place.display());
    }
}

/// Runs a program of ours below a careless one: in a session with a terminal, with files and pipes left open.
fn carelessly(sandbox: &Sandbox, program: &str, arguments: &str) -> Finished {
    let script = format!("exec 7</etc/passwd 8>>\"$HOME/left-open\"; exec '{program}' {arguments} 9<\"$HOME\"");
    let typescript = sandbox.root().join("typescript");
    let mut command = sandbox.command("script");
    command.args(["--quiet", "--return", "--command", &format!("sh -c '{}'", script.replace('\'', r"'\''"))]);
    Finished::of(command.arg(typescript))
}

#[test]
fn an_agent_on_demand_has_nothing_of_its_caller_but_what_is_on_the_list() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::on_demand(service.url());
    let foreign = [
        ("AWS_ENDPOINT_URL_SSO_OIDC", "http://127.0.0.1:4566"),
        ("AWS_CA_BUNDLE", "/tmp/ca.pem"),
        ("AWS_PROFILE", "dev"),
        ("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE"),
        ("LD_LIBRARY_PATH", "/tmp/evil"),
        ("RUST_BACKTRACE", "full"),
        ("NOTIFY_SOCKET", "/tmp/notify"),
        ("LISTEN_FDS", "1"),
        ("GITHUB_TOKEN", "secret"),
    ];
    foreign.iter().for_each(|(name, value)| sandbox.set(name, value));
    sandbox.set("HTTPS_PROXY", "http://127.0.0.1:3128");
    sandbox.set("LC_ALL", "C.UTF-8");
    // Relative to where the caller is, which the agent is not.
    std::fs::copy(sandbox.home().join(".aws/config"), sandbox.root().join("config")).unwrap();
    sandbox.set("AWS_CONFIG_FILE", "config");
    carelessly(&sandbox, SHIM, "--profile dev");
    let agent = sandbox.in_background().unwrap();
    has_nothing_of_ours(agent, sandbox.root());
    assert_eq!(sandbox.status()["sessions"][0]["session"], "corp");
    let Some(environment) = looked_at(|| environment(agent)) else { return };
    for (name, _) in foreign {
        assert_eq!(environment.get(name), None);
    }
    assert_eq!(environment["PATH"], "/usr/local/bin:/usr/bin:/bin");
    assert_eq!(environment["HTTPS_PROXY"], "http://127.0.0.1:3128");
    assert_eq!(environment["LC_ALL"], "C.UTF-8");
    assert_eq!(environment["AWS_CONFIG_FILE"], sandbox.root().join("config").to_str().unwrap());
}

#[test]
fn start_passes_the_environment_on_and_nothing_else() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let mut sandbox = Sandbox::with_session(service.url());
    sandbox.set("AWS_CA_BUNDLE", "ca.pem");
    sandbox.set("NOTIFY_SOCKET", "/tmp/notify");
    let printed = carelessly(&sandbox, AGENT, "start").expect_success();
    let agent = sandbox.in_background().unwrap();
    let words = [format!("pid {}", agent.as_raw_nonzero()), "agent.sock".to_owned(), "agent.log".to_owned()];
    assert!(words.iter().all(|word| printed.contains(word)), "{printed}");
    has_nothing_of_ours(agent, sandbox.root());
    if let Some(environment) = looked_at(|| environment(agent)) {
        assert_eq!(environment["AWS_ENDPOINT_URL_SSO"], service.url());
        assert_eq!(environment["AWS_CA_BUNDLE"], sandbox.root().join("ca.pem").to_str().unwrap());
        assert_eq!(environment.get("NOTIFY_SOCKET"), None);
    }
    // Ready means that requests are answered.
    assert_eq!(sandbox.status()["pid"], agent.as_raw_nonzero().get());

    let again = sandbox.cli(&["start"]);
    assert_eq!(again.code, Some(0));
    assert!(again.stderr.contains(&format!("already: pid {}", agent.as_raw_nonzero())), "{again:?}");
    let json = sandbox.cli(&["start", "--json"]).json();
    assert_eq!((&json["started"], &json["pid"]), (&false.into(), &agent.as_raw_nonzero().get().into()));
    let quiet = sandbox.cli(&["start", "--quiet"]);
    assert_eq!((quiet.code, quiet.stdout, quiet.stderr), (Some(0), String::new(), String::new()));
}

#[test]
fn the_log_is_rotated_by_an_agent_that_runs() {
    let service = FakeIdentityCenter::start(FakeConfig::default());
    let sandbox = Sandbox::with_session(service.url());
    sandbox.write("state/agent.log", &"x".repeat(1024 * 1024));
    sandbox.write("state/agent.log.1", "one");
    sandbox.write("state/agent.log.2", "two");
    assert_eq!(sandbox.cli(&["start"]).code, Some(0));
    let text = |name: &str| std::fs::read_to_string(sandbox.state().join(name)).unwrap_or_default();
    assert!(text("agent.log").contains("ready"));
    assert_eq!((text("agent.log.1").len(), text("agent.log.2").as_str()), (1024 * 1024, "one"));
    assert!(!sandbox.state().join("agent.log.3").exists());
}
