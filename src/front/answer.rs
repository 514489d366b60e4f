//! The answer of tiny_http on its way to the client: read, cleaned, and copied as it arrives.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use super::chunked::{Chunked, Step};
use super::head::{self, Head, ReadError};
use super::wire::Wire;

/// Bytes of an answer's head: our own handlers write it, this is only a bound.
const HEAD_LIMIT: usize = 64 * 1024;
/// A client must take a whole answer of known length at this pace at least, beside the time for a
/// request; slower, it holds memory and threads for nothing.
const MIN_BYTES_PER_SECOND: u64 = 16 * 1024;
/// How often a silent stream looks whether its client is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How the body of an answer is delimited.
enum Framing {
    Nothing,
    Length(u64),
    Chunked,
}

/// An answer whose head has been read.
pub struct Answer<'a> {
    input: BufReader<&'a UnixStream>,
    status: u16,
    headers: Vec<(String, Vec<u8>)>,
    framing: Framing,
}

impl<'a> Answer<'a> {
    /// Waits for the head of the answer to `request`.
    pub fn read(backend: &'a UnixStream, request: &Head) -> io::Result<Self> {
        let mut input = BufReader::with_capacity(16 * 1024, backend);
        let bytes = head::read_head(&mut input, HEAD_LIMIT).map_err(|error| match error {
            ReadError::Io(error) => error,
            ReadError::Refused(refusal) => io::Error::new(io::ErrorKind::InvalidData, refusal.message),
        })?;
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut response = httparse::Response::new(&mut fields);
        response.parse(&bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        let status = response.code.unwrap_or(500);
        let mut framing = Framing::Nothing;
        let mut headers = Vec::new();
        for field in response.headers {
            let name = field.name.to_ascii_lowercase();
            match name.as_str() {
                "transfer-encoding" => framing = Framing::Chunked,
                "content-length" => {
                    let length = std::str::from_utf8(field.value).ok().and_then(|text| text.parse().ok());
                    framing = Framing::Length(length.unwrap_or(0));
                }
                // Nobody need know what serves; the connection is ours to manage.
                "connection" | "server" => {}
                _ => headers.push((name, field.value.to_vec())),
            }
        }
        let without_body = request.method == "HEAD" || matches!(status, 204 | 304);
        if without_body {
            // The length it would have had is worth telling, a coding is not.
            if let Framing::Length(length) = framing {
                headers.push(("content-length".into(), length.to_string().into_bytes()));
            }
            framing = Framing::Nothing;
        }
        Ok(Self { input, status, headers, framing })
    }

    /// Whether the client can tell where the answer ends without the connection closing.
    pub fn is_delimited_for(&self, request: &Head) -> bool {
        request.http11 || !matches!(self.framing, Framing::Chunked)
    }

    /// Copies the answer to the client. `patience` is how long the client may take for a piece.
    pub fn copy(
        mut self,
        client: &mut Wire,
        request: &Head,
        keep_alive: bool,
        patience: Duration,
    ) -> io::Result<()> {
        let head = self.head_for(request, keep_alive);
        client.set_deadline(Instant::now() + patience);
        match self.framing {
            Framing::Nothing => client.write_all(&head),
            Framing::Length(length) => {
                let pace = Duration::from_secs(length / MIN_BYTES_PER_SECOND);
                client.set_deadline(Instant::now() + patience + pace);
                self.copy_length(client, head, length)
            }
            Framing::Chunked => {
                client.write_all(&head)?;
                client.flush()?;
                self.copy_stream(client, request.http11, patience)
            }
        }?;
        client.flush()
    }

    fn head_for(&self, request: &Head, keep_alive: bool) -> Vec<u8> {
        let reason = tiny_http::StatusCode(self.status).default_reason_phrase();
        let mut head = format!("HTTP/1.1 {} {reason}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value);
            head.extend_from_slice(b"\r\n");
        }
        match self.framing {
            Framing::Length(length) => {
                head.extend_from_slice(format!("content-length: {length}\r\n").as_bytes())
            }
            Framing::Chunked if request.http11 => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Framing::Chunked | Framing::Nothing => {}
        }
        let connection = if keep_alive { "keep-alive" } else { "close" };
        head.extend_from_slice(format!("connection: {connection}\r\n\r\n").as_bytes());
        head
    }

    /// The head goes out with the first piece of the body: one packet for a short answer.
    fn copy_length(&mut self, client: &mut Wire, mut out: Vec<u8>, mut left: u64) -> io::Result<()> {
        while left > 0 {
            let available = self.input.fill_buf()?;
            if available.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let length = available.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            out.extend_from_slice(&available[..length]);
            self.input.consume(length);
            left -= length as u64;
            client.write_all(&out)?;
            out.clear();
        }
        client.write_all(&out)
    }

    /// Each piece goes out as it comes in, in chunks if the client knows them.
    fn copy_stream(&mut self, client: &mut Wire, http11: bool, patience: Duration) -> io::Result<()> {
        self.input.get_ref().set_read_timeout(Some(LOOK_INTERVAL))?;
        let mut chunked = Chunked::new();
        let mut out = Vec::new();
        loop {
            let available = match self.input.fill_buf() {
                Ok([]) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(available) => available,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if client.has_left() {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                    continue;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            let (used, step) =
                chunked.advance(available).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
            out.clear();
            match &step {
                Step::Framing => {}
                Step::Data(range) if http11 => {
                    out.extend_from_slice(format!("{:x}\r\n", range.len()).as_bytes());
                    out.extend_from_slice(&available[range.clone()]);
                    out.extend_from_slice(b"\r\n");
                }
                Step::Data(range) => out.extend_from_slice(&available[range.clone()]),
                Step::End if http11 => out.extend_from_slice(b"0\r\n\r\n"),
                Step::End => {}
            }
            self.input.consume(used);
            if !out.is_empty() {
                client.set_deadline(Instant::now() + patience);
                client.write_all(&out)?;
                client.flush()?;
            }
            if step == Step::End {
                return Ok(());
            }
        }
    }
}
