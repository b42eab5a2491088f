//! A command of `exec` that waits, and its endpoint as any program sees it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::process::{Child, ChildStdout, ExitStatus, Stdio};
use std::time::Duration;

use serde_json::Value;

use crate::support::sandbox::{AGENT, Sandbox};

/// `exec` with a command that waits for a line.
pub(crate) struct Running {
    exec: Child,
    _stdout: BufReader<ChildStdout>,
    pub(crate) url: String,
    pub(crate) token: String,
}

impl Running {
    pub(crate) fn start(sandbox: &Sandbox, arguments: &[&str]) -> Self {
        let script = "echo $AWS_CONTAINER_CREDENTIALS_FULL_URI; echo $AWS_CONTAINER_AUTHORIZATION_TOKEN; read line";
        let mut exec = sandbox.command(AGENT);
        exec.arg("exec").args(arguments).args(["--", "sh", "-c", script]);
        let mut exec = exec.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(exec.stdout.take().unwrap());
        let mut line = || {
            let mut line = String::new();
            stdout.read_line(&mut line).unwrap();
            line.trim_end().to_owned()
        };
        let (url, token) = (line(), line());
        Self { exec, _stdout: stdout, url, token }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.exec.id()
    }

    pub(crate) fn port(&self) -> u16 {
        let port = self.url.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix("/credentials"));
        port.unwrap_or_else(|| panic!("{}", self.url)).parse().unwrap()
    }

    /// What the command would get.
    pub(crate) fn credentials(&self) -> Value {
        let (status, body) = get(self.port(), &self.token).unwrap();
        assert_eq!(status, 200, "{body}");
        body
    }

    /// Lets the command end.
    pub(crate) fn finish(mut self) -> ExitStatus {
        self.exec.stdin.take().unwrap().write_all(b"\n").unwrap();
        self.exec.wait().unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its command reads the end of its input.
        drop(self.exec.stdin.take());
        let _ = self.exec.wait();
    }
}

/// The endpoint's answer to who shows this token.
pub(crate) fn get(port: u16, token: &str) -> Option<(u16, Value)> {
    let (status, body) = answer(port, &[&format!("Host: 127.0.0.1:{port}"), &format!("Authorization: {token}")])?;
    Some((status, serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))))
}

/// The answer to a `GET` with these headers: status and body.
pub(crate) fn answer(port: u16, headers: &[&str]) -> Option<(u16, String)> {
    let text = raw(port, &format!("GET /credentials HTTP/1.1\r\n{}\r\n\r\n", headers.join("\r\n")))?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

/// Whatever comes back; none where nobody is there.
pub(crate) fn raw(port: u16, request: &str) -> Option<String> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
