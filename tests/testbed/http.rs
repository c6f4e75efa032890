//! HTTP as far as the suites need it: a page fetched, and a server that has some.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// Longest time that one answer may take.
const LIMIT: Duration = Duration::from_secs(20);

/// What a server answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The status code.
    pub status: u16,
    /// What came after the header.
    pub body: String,
}

/// Fetches `target`, a path or for a proxy a whole URL, by a connection of its own.
///
/// # Errors
/// What the connection meets; InvalidData for an answer that is no HTTP.
pub fn get(server: SocketAddr, target: &str) -> io::Result<Page> {
    let mut stream = TcpStream::connect_timeout(&server, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.write_all(format!("GET {target} HTTP/1.0\r\nHost: test\r\n\r\n").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (header, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = header.split(' ').nth(1).and_then(|code| code.parse().ok());
    let status = status.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, answer.clone()))?;
    Ok(Page { status, body: body.to_owned() })
}

/// A server of the test's own, on all its addresses. Every page of it is `page N of PATH`, N counting requests from 1.
/// It ends with the test's process.
#[derive(Debug)]
pub struct Server {
    port: u16,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// Starts to serve.
    #[track_caller]
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
        let port = listener.local_addr().expect("its number").port();
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                // A client that goes away in the middle is the client's test to judge.
                let _ = stream.and_then(|stream| serve(stream, &counter));
            }
        });
        Self { port, requests }
    }

    /// How many requests came so far.
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }

    /// The URL of `path` as the guest at `guest` reaches it.
    #[track_caller]
    pub fn url(&self, guest: IpAddr, path: &str) -> String {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
        // Sends nothing; it tells our address on the way there.
        socket.connect((guest, 9)).expect("a route to the guest");
        format!("http://{}:{}{path}", socket.local_addr().expect("our address").ip(), self.port)
    }
}

fn serve(mut stream: TcpStream, counter: &AtomicUsize) -> io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    let number = counter.fetch_add(1, Ordering::SeqCst) + 1;
    let body = format!("page {number} of {}", request.split(' ').nth(1).unwrap_or("?"));
    let header = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    stream.write_all((header + &body).as_bytes())
}
