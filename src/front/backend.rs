//! The tiny_http side: a Unix socket in a private directory, and the threads that call the handler.
//!
//! Each request gets a connection of its own. tiny_http gives every connection a thread for as long
//! as it is open and counts idle threads loosely, so a connection kept open can leave the next one
//! waiting in its queue for ever; one that closes cannot. On a Unix socket this costs microseconds.
//!
//! tiny_http's accept loop ends for good when the process runs out of files or threads. That shows
//! as a refused connection, and a new server takes its place; the old one finishes what it has.

use std::io::{self, Cursor};
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::crew::Crew;
use super::directory::{PrivateDirectory, random_token};
use super::head::{Head, INTERNAL};
use super::listener::Peers;
use super::stream::{StreamWriter, stream_head};
use super::tally::Tally;
use super::{Body, Handler, Request, Response, StreamBody};

/// Threads that call the handler. Handlers wait for databases and disks, not for clients.
const WORKERS: usize = 16;
/// Stack of a thread that runs a handler: the usual one, handlers are free in what they do.
const HANDLER_STACK: usize = 2 * 1024 * 1024;
/// A longer answer is written by a thread of its own: it does not fit in the socket's buffer
/// (about 200 KiB), and a client slow to take it must not hold a worker.
const INLINE_ANSWER: usize = 64 * 1024;
/// How long a stop waits for handlers that are at work.
const STOP_WAIT: Duration = Duration::from_millis(700);

/// The way from the listener to the handler.
pub struct Backend {
    shared: Arc<Shared>,
    /// Dropped before the directory: a server ends by connecting to its own socket.
    current: Mutex<Arc<Service>>,
    directory: PrivateDirectory,
}

/// What all threads of one port need.
struct Shared {
    name: String,
    handler: Arc<dyn Handler>,
    token: String,
    peers: Arc<Peers>,
    tally: Arc<Tally>,
}

impl Backend {
    /// Makes the directory and the first server.
    pub fn start(
        name: &str,
        handler: Arc<dyn Handler>,
        peers: Arc<Peers>,
        tally: Arc<Tally>,
    ) -> io::Result<Self> {
        let directory = PrivateDirectory::create()?;
        let shared =
            Arc::new(Shared { name: name.to_owned(), handler, token: random_token()?, peers, tally });
        let current = Mutex::new(Arc::new(Service::start(Arc::clone(&shared), &directory)?));
        Ok(Self { shared, current, directory })
    }

    /// A connection to tiny_http, and the server it leads to: keep that for as long as the
    /// connection, it stops when nobody holds it.
    pub fn connect(&self) -> io::Result<(Arc<Service>, UnixStream)> {
        let service = Arc::clone(&self.current.lock());
        match UnixStream::connect(&service.path) {
            Ok(stream) => Ok((service, stream)),
            Err(error) if is_refused(&error) => {
                let service = self.replace(service)?;
                let stream = UnixStream::connect(&service.path)?;
                Ok((service, stream))
            }
            Err(error) => Err(error),
        }
    }

    /// Puts a new server in the place of one that accepts no more, unless another thread has done so.
    fn replace(&self, dead: Arc<Service>) -> io::Result<Arc<Service>> {
        let mut current = self.current.lock();
        if Arc::ptr_eq(&current, &dead) {
            log::warn!("{}: the inner server stopped accepting; a new one takes over", self.shared.name);
            *current = Arc::new(Service::start(Arc::clone(&self.shared), &self.directory)?);
        }
        Ok(Arc::clone(&current))
    }

    /// The request head as tiny_http gets it: normalised, with an explicit length and our own headers.
    pub fn head_for(&self, head: &Head, body_length: usize, connection: u64, peer: &str) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\n", head.method, head.target);
        for (name, value) in &head.headers {
            text.extend([name, ": ", value, "\r\n"]);
        }
        text.push_str(&format!(
            "content-length: {body_length}\r\nconnection: close\r\n{INTERNAL}token: {}\r\n{INTERNAL}peer: {peer}\r\n\
             {INTERNAL}connection: {connection}\r\n\r\n",
            self.shared.token
        ));
        text.into_bytes()
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
}

/// One tiny_http server with its workers; stops when dropped.
pub struct Service {
    path: PathBuf,
    server: Arc<tiny_http::Server>,
    workers: Arc<Crew>,
    stopping: Arc<AtomicBool>,
    shared: Arc<Shared>,
}

impl Service {
    fn start(shared: Arc<Shared>, directory: &PrivateDirectory) -> io::Result<Self> {
        let path = directory.next_socket();
        let listener = UnixListener::bind(&path)?;
        let server = tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?;
        let service = Self {
            path,
            server: Arc::new(server),
            workers: Arc::default(),
            stopping: Arc::default(),
            shared: Arc::clone(&shared),
        };
        for number in 0..WORKERS {
            let worker = Worker {
                shared: Arc::clone(&shared),
                server: Arc::clone(&service.server),
                crew: Arc::clone(&service.workers),
                stopping: Arc::clone(&service.stopping),
            };
            service
                .workers
                .spawn(format!("{} web {number}", shared.name), HANDLER_STACK, move || worker.run())?;
        }
        Ok(service)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        for _ in 0..WORKERS {
            self.server.unblock();
        }
        let left = self.workers.wait(Instant::now() + STOP_WAIT);
        if left > 0 {
            log::warn!("{}: {left} requests are still at work; they are left behind", self.shared.name);
        }
    }
}

/// One thread that calls the handler.
struct Worker {
    shared: Arc<Shared>,
    server: Arc<tiny_http::Server>,
    crew: Arc<Crew>,
    stopping: Arc<AtomicBool>,
}

impl Worker {
    fn run(&self) {
        loop {
            match self.server.recv() {
                Ok(request) => self.serve(request),
                Err(_) if self.stopping.load(Ordering::Acquire) => return,
                // The accept loop ended: `connect` will notice; what was accepted is still served.
                Err(error) => log::warn!("{}: the inner server reports: {error}", self.shared.name),
            }
        }
    }

    fn serve(&self, mut inner: tiny_http::Request) {
        // Not from the front, or cut off on the way: nobody waits for an answer.
        let Some((connection, request)) = self.read_request(&mut inner) else { return };
        let response = self.call_handler(request);
        match response.body {
            Body::Bytes(body) => {
                self.answer(inner, response.status, headers(response.content_type, &response.headers), body)
            }
            Body::Stream(stream) => {
                let head = stream_head(response.status, response.content_type, &response.headers);
                self.stream(inner, connection, head, stream);
            }
        }
    }

    fn read_request(&self, inner: &mut tiny_http::Request) -> Option<(u64, Request)> {
        let mut headers = Vec::with_capacity(inner.headers().len());
        let mut ours = [None, None, None];
        for header in inner.headers() {
            let name = header.field.as_str().as_str().to_ascii_lowercase();
            let value = header.value.as_str();
            match name.strip_prefix(INTERNAL) {
                Some("token") => ours[0] = Some(value.to_owned()),
                Some("peer") => ours[1] = value.parse().ok().map(|_: std::net::SocketAddr| value.to_owned()),
                Some("connection") => ours[2] = Some(value.to_owned()),
                _ => headers.push((name, value.to_owned())),
            }
        }
        let [token, peer, connection] = ours;
        if token? != self.shared.token {
            return None;
        }
        let expected = inner.body_length().unwrap_or(0);
        let mut body = Vec::new();
        inner.as_reader().read_to_end(&mut body).ok().filter(|length| *length == expected)?;
        let (path, query) = inner.url().split_once('?').unwrap_or((inner.url(), ""));
        let request = Request {
            method: inner.method().as_str().to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
            headers,
            body,
            peer: peer?.parse().ok()?,
        };
        Some((connection?.parse().ok()?, request))
    }

    fn call_handler(&self, request: Request) -> Response {
        let what = format!("{} {}", request.method, request.path);
        catch_unwind(AssertUnwindSafe(|| self.shared.handler.handle(request))).unwrap_or_else(|panic| {
            self.shared.tally.panic();
            log::error!("{}: {what} panicked: {}; answered 500", self.shared.name, panic_text(&*panic));
            Response::error(500, "internal", "the request failed inside; the log says why")
        })
    }

    fn answer(&self, inner: tiny_http::Request, status: u16, headers: Vec<tiny_http::Header>, body: Vec<u8>) {
        let length = body.len();
        let response =
            tiny_http::Response::new(status.into(), headers, Cursor::new(body), Some(length), None)
                .with_chunked_threshold(usize::MAX);
        // The client left: there is nobody to tell.
        let respond = move || drop(inner.respond(response));
        if length <= INLINE_ANSWER {
            respond();
        } else {
            // Without a thread the connection is closed; the crew has told.
            let _ = self.crew.spawn(format!("{} answer", self.shared.name), HANDLER_STACK, respond);
        }
    }

    fn stream(&self, inner: tiny_http::Request, connection: u64, head: String, stream: StreamBody) {
        let name = self.shared.name.clone();
        let peers = Arc::clone(&self.shared.peers);
        let head_only = *inner.method() == tiny_http::Method::Head;
        let work = move || {
            let mut writer = StreamWriter::new(inner.into_writer(), head, peers, connection);
            let outcome = if head_only { writer.send_buffer() } else { writer.run(stream) };
            if let Err(error) = outcome {
                log::debug!("{name}: a stream ended early: {error}");
            }
        };
        let _ = self.crew.spawn(format!("{} stream", self.shared.name), HANDLER_STACK, work);
    }
}

/// What a panic said.
pub fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref().copied())
        .unwrap_or("?")
}

/// Headers for tiny_http; one that is not valid HTTP, or would begin a line of its own, is left out.
pub fn headers(content_type: &str, further: &[(&'static str, String)]) -> Vec<tiny_http::Header> {
    std::iter::once(("content-type", content_type))
        .chain(further.iter().map(|(name, value)| (*name, value.as_str())))
        .filter(|(_, value)| !value.contains(char::is_control))
        .filter_map(|(name, value)| tiny_http::Header::from_bytes(name, value).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::{Read, Write};
    use std::os::unix::fs::PermissionsExt;

    fn backend() -> Backend {
        let handler = |_: Request| Response::error(404, "x", "x");
        Backend::start("test", Arc::new(handler), Arc::default(), Arc::default()).unwrap()
    }

    #[test]
    fn an_inner_server_that_stopped_accepting_is_replaced_once() {
        let backend = backend();
        let dead = Arc::clone(&backend.current.lock());
        fs::remove_file(&dead.path).unwrap();
        let (first, _stream) = backend.connect().unwrap();
        let (second, _stream) = backend.connect().unwrap();
        assert!(!Arc::ptr_eq(&dead, &first) && Arc::ptr_eq(&first, &second));
    }

    #[test]
    fn the_directory_is_private_and_goes_with_the_backend() {
        let backend = backend();
        let socket = backend.current.lock().path.clone();
        let path = socket.parent().unwrap();
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        drop(backend);
        assert!(!path.exists());
    }

    #[test]
    fn a_request_without_the_token_gets_nothing() {
        let backend = backend();
        let (_service, mut stream) = backend.connect().unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nx-front-token: guess\r\nConnection: close\r\n\r\n")
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 500 ") && !answer.contains("error"), "{answer}");
    }
}
