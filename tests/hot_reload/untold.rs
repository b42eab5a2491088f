//! A machine that has no watches left: the files are looked at when somebody asks.

use std::io::Write;

use super::with_session;
use crate::support::sandbox::{AGENT, CORP, Sandbox};

#[test]
fn without_watches_a_question_is_answered_by_the_files_as_they_are() {
    for limit in ["max_inotify_instances", "max_inotify_watches"] {
        let sandbox = Sandbox::with_session("http://127.0.0.1:9");
        let mut command = sandbox.command("unshare");
        let script = format!("echo 0 > /proc/sys/user/{limit} && exec \"$0\" \"$@\"");
        command.args(["--user", "--map-root-user", "sh", "-c", &script]);
        let may = std::process::Command::new("unshare").args(["--user", "--map-root-user", "true"]).status();
        if !may.is_ok_and(|status| status.success()) {
            let _ = writeln!(std::io::stderr(), "left out: this machine allows no user namespaces");
            return;
        }
        let agent = sandbox.start_agent_by(command.arg(AGENT), &[]);
        let sessions = || agent.get("/v1/status")["sessions"].as_array().unwrap().len();
        for count in 0..3 {
            sandbox.write_config(&with_session(&format!("s{count}")));
            // What was seen counts for a second.
            let mut asked = 0;
            let name = format!("s{count}");
            while agent.get("/v1/status")["sessions"]
                .as_array()
                .unwrap()
                .iter()
                .all(|session| session["session"] != name)
            {
                asked += 1;
                assert!(asked < 10_000, "{}", sandbox.log());
                assert!(agent.runs_for(std::time::Duration::from_millis(20)));
            }
        }
        assert_eq!(sessions(), 2);
        // What is asked for after a while is answered by what is there then, at once.
        assert!(agent.runs_for(std::time::Duration::from_millis(1100)));
        sandbox.write_config(CORP);
        assert_eq!(sessions(), 1);
        assert!(sandbox.log().contains("does not tell of them"), "{}", sandbox.log());
    }
}
