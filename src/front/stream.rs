//! A streamed answer on its way from the handler to the inner connection: each flush is a chunk.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::StreamBody;
use super::backend::{headers, panic_text};
use super::listener::Peers;

/// Turns what a handler writes into chunks, one a flush.
pub struct StreamWriter {
    out: Box<dyn Write + Send>,
    /// The head at first, then the chunk that collects; sent when long enough or flushed.
    buffer: Vec<u8>,
    peers: Arc<Peers>,
    connection: u64,
}

impl StreamWriter {
    /// A chunk is sent without a flush when it has grown that long.
    const FULL: usize = 16 * 1024;

    /// Begins with `head`, which [`stream_head`] made.
    pub fn new(out: Box<dyn Write + Send>, head: String, peers: Arc<Peers>, connection: u64) -> Self {
        Self { out, buffer: head.into_bytes(), peers, connection }
    }

    /// Sends the head and all that `stream` writes; ends the body only if that went well.
    pub fn run(&mut self, stream: StreamBody) -> io::Result<()> {
        self.send_buffer()?;
        let mut chunks = Chunks { writer: self };
        catch_unwind(AssertUnwindSafe(|| stream(&mut chunks))).unwrap_or_else(|panic| {
            log::error!("a streamed answer panicked: {}; it is broken off", panic_text(&*panic));
            Err(io::Error::other("the handler panicked"))
        })?;
        chunks.flush()?;
        self.buffer.extend_from_slice(b"0\r\n\r\n");
        self.send_buffer()
    }

    /// Sends what has collected: before [`run`](Self::run), the head alone.
    pub fn send_buffer(&mut self) -> io::Result<()> {
        self.out.write_all(&self.buffer)?;
        self.buffer.clear();
        self.out.flush()
    }
}

/// What the handler of a stream writes to.
struct Chunks<'a> {
    writer: &'a mut StreamWriter,
}

impl Write for Chunks<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.writer.buffer.extend_from_slice(data);
        if self.writer.buffer.len() >= StreamWriter::FULL {
            self.flush()?;
        }
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.writer.peers.is_gone(self.writer.connection) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if self.writer.buffer.is_empty() {
            return Ok(());
        }
        let size = format!("{:x}\r\n", self.writer.buffer.len());
        self.writer.out.write_all(size.as_bytes())?;
        self.writer.buffer.extend_from_slice(b"\r\n");
        self.writer.send_buffer()
    }
}

/// The head of a streamed answer, as the `answer` module reads it.
pub fn stream_head(status: u16, content_type: &str, further: &[(&'static str, String)]) -> String {
    let mut head = format!("HTTP/1.1 {status} \r\ntransfer-encoding: chunked\r\n");
    for header in headers(content_type, further) {
        head.push_str(&format!("{}: {}\r\n", header.field, header.value));
    }
    head.push_str("\r\n");
    head
}
