//! A link that works once: it leads a browser on this machine to an address that is itself a secret.
//!
//! A browser is told what to open by its arguments, which everybody can read. Owns: the listener, its one visitor and
//! the end. Refuses to know what the address is for. Invariants: it is told once, to a program of our user or of root
//! where that can be found out, and in nothing but a header; whatever else comes changes nothing.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener, TcpStream};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::secret::{Secret, SecretBytes};

/// The listener, open for one visitor.
pub(super) struct Doorway {
    listener: TcpListener,
    port: u16,
    name: String,
}

/// What connections share.
struct Room {
    port: u16,
    name: String,
    /// Taken by the first who may have it.
    address: Mutex<Option<Secret>>,
    told: Mutex<Sender<io::Result<()>>>,
}

impl Doorway {
    /// Listens at any free port of 127.0.0.1.
    pub(super) fn open() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let port = listener.local_addr()?.port();
        let mut random = [0; 16];
        SystemRandom::new().fill(&mut random).map_err(|_| io::Error::other("the system has no randomness"))?;
        Ok(Self { listener, port, name: format!("{:032x}", u128::from_be_bytes(random)) })
    }

    /// What to open.
    pub(super) fn link(&self) -> String {
        format!("http://127.0.0.1:{}/{}", self.port, self.name)
    }

    /// Lets the one visitor through to `address`. Whether there was one before `goes_on` said no; it is asked now and
    /// then.
    pub(super) fn wait(self, address: Secret, goes_on: &mut dyn FnMut() -> ControlFlow<()>) -> io::Result<bool> {
        let (told, was_told) = channel();
        let address = Mutex::new(Some(address));
        let room = Arc::new(Room { port: self.port, name: self.name, address, told: Mutex::new(told) });
        loop {
            if let Some(told) = taken(&was_told) {
                return told.map(|()| true);
            }
            if goes_on().is_break() {
                // Nobody gets it any more; who has it already is waited for.
                let unused = room.address.lock().unwrap_or_else(PoisonError::into_inner).take().is_some();
                return if unused { Ok(false) } else { was_told.recv().unwrap_or(Ok(())).map(|()| true) };
            }
            let moment = Timespec::try_from(MOMENT).ok();
            match poll(&mut [PollFd::new(&self.listener, PollFlags::IN)], moment.as_ref()) {
                Ok(0) | Err(rustix::io::Errno::INTR) => continue,
                Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            // A browser connects ahead of its need, and says nothing there: each has a thread, and no more than a few.
            if Arc::strong_count(&room) <= MOST_VISITORS
                && let Ok((visitor, _)) = self.listener.accept()
            {
                let room = Arc::clone(&room);
                std::thread::spawn(move || room.receive(visitor));
            }
        }
    }
}

fn taken(was_told: &Receiver<io::Result<()>>) -> Option<io::Result<()>> {
    was_told.try_recv().ok()
}

impl Room {
    /// Answers one request. A visitor who breaks off is none.
    fn receive(&self, mut visitor: TcpStream) {
        let Ok(request) = read_head(&mut visitor) else { return };
        if !self.is_invited(&request) || !is_of_this_user(&visitor) {
            let _ = visitor.write_all(NOTHING_HERE);
            return;
        }
        let address = self.address.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(address) = address else {
            let _ = visitor.write_all(USED_UP);
            return;
        };
        let answer = [BEFORE, address.expose().as_bytes(), AFTER].concat();
        let written = visitor.write_all(SecretBytes::new(answer).expose()).and_then(|()| visitor.flush());
        // Nobody listens any more only where the command has ended.
        let _ = self.told.lock().unwrap_or_else(PoisonError::into_inner).send(written);
    }

    /// The exact link, with `GET`, to the host that it names.
    fn is_invited(&self, head: &str) -> bool {
        let mut lines = head.split("\r\n");
        let asks = lines.next() == Some(&format!("GET /{} HTTP/1.1", self.name));
        let header =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()));
        let mut hosts = lines.filter_map(header).filter(|(name, _)| name == "host");
        let host = hosts.next().is_some_and(|(_, host)| host == format!("127.0.0.1:{}", self.port));
        asks && host && hosts.next().is_none()
    }
}

/// The request line and the headers.
fn read_head(visitor: &mut TcpStream) -> io::Result<String> {
    visitor.set_nonblocking(false)?;
    visitor.set_read_timeout(Some(PATIENCE))?;
    visitor.set_write_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut piece = [0; 1024];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        let count = visitor.read(&mut piece)?;
        if count == 0 || head.len() > LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        head.extend_from_slice(&piece[..count]);
    }
    String::from_utf8(head).map_err(|_| io::ErrorKind::InvalidData.into())
}

/// Whether the program at the other end may be ours. Another user could have read the link from the browser's
/// arguments; on Linux the kernel tells whose a connection is.
fn is_of_this_user(visitor: &TcpStream) -> bool {
    let (Ok(SocketAddr::V4(theirs)), Ok(SocketAddr::V4(here))) = (visitor.peer_addr(), visitor.local_addr()) else {
        return false;
    };
    let ours = rustix::process::getuid().as_raw();
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].iter().filter_map(|table| std::fs::read_to_string(table).ok());
    let owner = tables.into_iter().find_map(|table| owner_of(&table, theirs, here));
    owner.is_none_or(|owner| owner == ours || owner == 0)
}

/// The user of the connection from one address to another, in a table of the kernel's. The ports alone would not do:
/// one that is over, between other loopback addresses, belongs to nobody, which reads as root.
fn owner_of(table: &str, from: SocketAddrV4, to: SocketAddrV4) -> Option<u32> {
    table.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace().skip(1);
        let is = |column: Option<&str>, end| column.is_some_and(|column| ends_there(column, end));
        let is_it = is(columns.next(), from) & is(columns.next(), to);
        // Then come state, queues, timer and retransmissions.
        is_it.then(|| columns.nth(4)?.parse().ok()).flatten()
    })
}

/// Whether `ADDRESS:PORT` of the kernel's tables is this end; in that of IPv6 the address is a mapped one.
fn ends_there(column: &str, end: SocketAddrV4) -> bool {
    // The kernel prints the bytes of an address as numbers of this machine.
    let address = format!("{:08X}", u32::from_ne_bytes(end.ip().octets()));
    let mapped = format!("0000000000000000{:08X}{address}", u32::from_ne_bytes([0, 0, 0xff, 0xff]));
    let port = format!("{:04X}", end.port());
    column.split_once(':').is_some_and(|(found, at)| at == port && (found == address || found == mapped))
}

/// How long until it is looked again whether to go on.
const MOMENT: Duration = Duration::from_millis(250);
const PATIENCE: Duration = Duration::from_secs(5);
const LONGEST_HEAD: usize = 16 * 1024;
const MOST_VISITORS: usize = 16;
const BEFORE: &[u8] = b"HTTP/1.1 303 See Other\r\nLocation: ";
const AFTER: &[u8] = b"\r\nCache-Control: no-store\r\nReferrer-Policy: no-referrer\r\n\
    Content-Length: 0\r\nConnection: close\r\n\r\n";
const NOTHING_HERE: &[u8] = b"HTTP/1.1 404 Not Found\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\
    Connection: close\r\n\r\n";
const USED_UP: &[u8] = b"HTTP/1.1 410 Gone\r\nCache-Control: no-store\r\nContent-Length: 0\r\n\
    Connection: close\r\n\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: &str = "https://signin.aws.amazon.com/federation?SigninToken=s3cr3t";

    /// What a visitor gets who says this.
    fn visit(port: u16, request: &str) -> String {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    }

    #[test]
    fn the_first_visitor_with_the_link_is_led_to_the_address_and_nobody_before() {
        let doorway = Doorway::open().unwrap();
        let (port, name) = (doorway.port, doorway.name.clone());
        assert_eq!(doorway.link(), format!("http://127.0.0.1:{port}/{name}"));
        assert_eq!(name.len(), 32);
        // One that says nothing must not hold up the others.
        let silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        let browser = std::thread::spawn(move || {
            let host = format!("Host: 127.0.0.1:{port}");
            for wrong in [
                format!("GET /x HTTP/1.1\r\n{host}\r\n\r\n"),
                format!("GET /{name}x HTTP/1.1\r\n{host}\r\n\r\n"),
                format!("GET /{name}?x HTTP/1.1\r\n{host}\r\n\r\n"),
                format!("POST /{name} HTTP/1.1\r\n{host}\r\n\r\n"),
                format!("HEAD /{name} HTTP/1.1\r\n{host}\r\n\r\n"),
                format!("GET /{name} HTTP/1.1\r\nHost: evil.example:{port}\r\n\r\n"),
                format!("GET /{name} HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n"),
                format!("GET /{name} HTTP/1.1\r\n{host}\r\n{host}\r\n\r\n"),
                format!("GET /{name} HTTP/1.1\r\n\r\n"),
            ] {
                let answer = visit(port, &wrong);
                assert!(answer.starts_with("HTTP/1.1 404 "), "{wrong}: {answer}");
            }
            visit(port, &format!("GET /{name} HTTP/1.1\r\nAccept: */*\r\nhost: 127.0.0.1:{port}\r\n\r\n"))
        });
        let visited = doorway.wait(Secret::new(ADDRESS.to_owned()), &mut || ControlFlow::Continue(())).unwrap();
        assert!(visited);
        let answer = browser.join().unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 303 See Other\r\nLocation: {ADDRESS}\r\n")), "{answer}");
        assert!(answer.contains("no-store") && answer.contains("no-referrer"), "{answer}");
        drop(silent);
    }

    #[test]
    fn the_address_is_told_once() {
        let (told, was_told) = channel();
        let address = Mutex::new(Some(Secret::new(ADDRESS.to_owned())));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let room = Room { port, name: "n".to_owned(), address, told: Mutex::new(told) };
        for (status, told) in [("303", true), ("410", false)] {
            let request = format!("GET /n HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
            let visitor = std::thread::spawn(move || visit(port, &request));
            room.receive(listener.accept().unwrap().0);
            let answer = visitor.join().unwrap();
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
            assert_eq!((answer.contains("s3cr3t"), taken(&was_told).is_some()), (told, told));
        }
    }

    #[test]
    fn who_does_not_come_in_time_is_not_waited_for() {
        // The listener ends with `wait`, which takes it; a port cannot tell, because it may be another's by then.
        let doorway = Doorway::open().unwrap();
        assert!(!doorway.wait(Secret::new(ADDRESS.to_owned()), &mut || ControlFlow::Break(())).unwrap());
    }

    #[test]
    fn the_kernels_table_tells_whose_a_connection_is() {
        // The second line is over, and between other addresses: nobody's, which is not the answer.
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
            0: 0100007F:1267 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 1 1 0 100 0 0 10 0\n   \
            1: 0200007F:C350 0100007F:1267 06 00000000:00000000 03:00000000 00000000     0        0 0 3 0\n   \
            2: 0100007F:1267 0100007F:C350 01 00000000:00000000 00:00000000 00000000  1000        0 2 1 0 20 4 30 10 -1\n   \
            3: 0100007F:C350 0100007F:1267 01 00000000:00000000 00:00000000 00000000  1001        0 3 1 0 20 4 30 10 -1\n";
        let at = |port| SocketAddrV4::new(Ipv4Addr::LOCALHOST, port);
        assert_eq!(owner_of(table, at(0xC350), at(0x1267)), Some(1001));
        assert_eq!(owner_of(table, at(0x1267), at(0xC350)), Some(1000));
        assert_eq!(owner_of(table, at(0xC351), at(0x1267)), None);
        let mapped = table.replace("0100007F", "0000000000000000FFFF00000100007F");
        assert_eq!(owner_of(&mapped, at(0xC350), at(0x1267)), Some(1001));
        assert_eq!(owner_of("", at(1), at(2)), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_kernel_knows_whose_a_connection_of_ours_is() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let visitor = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (SocketAddr::V4(from), SocketAddr::V4(to)) = (visitor.local_addr().unwrap(), visitor.peer_addr().unwrap())
        else {
            panic!("IPv4 was asked for")
        };
        let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
        assert_eq!(owner_of(&table, from, to), Some(rustix::process::getuid().as_raw()));
    }
}
