//! A browser as far as a sign-in needs one: cookies, redirects, forms. It does what it is told and looks at everything.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

use super::PATIENCE;

/// A browser with a jar of cookies of its own.
#[derive(Debug, Clone, Default)]
pub(super) struct Visitor {
    /// By host: cookies know no ports.
    cookies: BTreeMap<(String, String), String>,
}

/// What it shows in the end.
#[derive(Debug)]
pub(crate) struct Page {
    pub(super) url: String,
    pub(super) status: u16,
    head: String,
    pub(crate) html: String,
}

impl Visitor {
    /// Opens a URL and follows to where it leads.
    pub(super) fn open(&mut self, url: &str) -> Page {
        self.try_open(url).unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    /// The same, where nobody may be there.
    pub(super) fn try_open(&mut self, url: &str) -> io::Result<Page> {
        self.follow("GET", url)
    }

    /// Presses the button of this id, and follows to where that leads.
    pub(super) fn press(&mut self, page: &Page, button: &str) -> io::Result<Page> {
        self.follow("POST", &page.target_of(button))
    }

    /// Presses the button, and says where that would lead.
    pub(super) fn press_only(&mut self, page: &Page, button: &str) -> String {
        self.visit("POST", &page.target_of(button)).unwrap().header("location").unwrap().to_owned()
    }

    /// One request without following.
    pub(super) fn visit(&mut self, method: &str, url: &str) -> io::Result<Page> {
        let (authority, target) = split(url);
        let host = authority.split(':').next().unwrap_or_default().to_owned();
        let cookies: Vec<String> = self
            .cookies
            .iter()
            .filter(|((known, _), _)| *known == host)
            .map(|((_, name), value)| format!("{name}={value}"))
            .collect();
        let cookies = if cookies.is_empty() { String::new() } else { format!("Cookie: {}\r\n", cookies.join("; ")) };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: {authority}\r\n{cookies}Connection: close\r\n\r\n");
        let page = Page::parse(url, &exchange(authority, &head)?);
        if let Some(cookie) = page.header("set-cookie") {
            let (name, value) = cookie.split(';').next().unwrap_or_default().split_once('=').unwrap();
            self.cookies.insert((host, name.to_owned()), value.to_owned());
        }
        Ok(page)
    }

    /// All it has, as one header line.
    pub(super) fn cookie_header(&self) -> String {
        let pairs: Vec<String> = self.cookies.iter().map(|((_, name), value)| format!("{name}={value}")).collect();
        format!("Cookie: {}\r\n", pairs.join("; "))
    }

    /// What the jar holds.
    pub(super) fn cookie_values(&self) -> impl Iterator<Item = &String> {
        self.cookies.values()
    }

    fn follow(&mut self, method: &str, url: &str) -> io::Result<Page> {
        let mut page = self.visit(method, url)?;
        for _ in 0..5 {
            let Some(location) = page.header("location").map(str::to_owned) else { return Ok(page) };
            page = self.visit("GET", &location)?;
        }
        panic!("redirected for ever: {}", page.url);
    }
}

impl Page {
    /// The text of the page, without markup.
    pub(super) fn text(&self) -> String {
        let body = self.html.split_once("<body>").map_or(self.html.as_str(), |(_, body)| body);
        let parts = body.split('<').map(|part| part.split_once('>').map_or(part, |(_, text)| text));
        parts.collect::<String>().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn header(&self, name: &str) -> Option<&str> {
        let mut pairs = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        pairs.find(|(candidate, _)| candidate.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn target_of(&self, button: &str) -> String {
        let form = self.html.split("<form ").find(|form| form.contains(&format!("id={button}>")));
        let form = form.unwrap_or_else(|| panic!("no button {button}: {}", self.html));
        let action = form.split("action=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
        let (authority, _) = split(&self.url);
        format!("http://{authority}{action}")
    }

    fn parse(url: &str, text: &str) -> Self {
        let (head, html) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{url}: {text:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Self { url: url.to_owned(), status, head: head.to_owned(), html: html.to_owned() }
    }
}

/// Sends these bytes and reads to the end.
pub(super) fn exchange(authority: &str, request: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(authority)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// Authority and path of a URL.
pub(super) fn split(url: &str) -> (&str, &str) {
    let rest = url.strip_prefix("http://").unwrap_or_else(|| panic!("{url:?} is not on this machine"));
    rest.split_at(rest.find('/').unwrap_or(rest.len()))
}
