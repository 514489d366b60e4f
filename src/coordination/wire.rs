//! The few pieces of ZooKeeper's wire format the relay must understand: frames, the handshake, the
//! auth packet, and the headers of requests and replies.
//!
//! Pure apart from reading a stream; everything is big endian, every length is bounded.

use std::io::{self, Read};

/// The biggest frame let through, in bytes. A server refuses requests above 1 MiB; a listing of
/// 20,000 children with names of 100 bytes takes 2 MiB.
const FRAME_LIMIT: usize = 4 << 20;
/// How much is read at a time, in bytes.
const CHUNK: usize = 16 << 10;

/// xid of a watch event.
pub(super) const WATCH_EVENT: i32 = -1;
/// xid of a ping.
pub(super) const PING: i32 = -2;
/// xid of an auth packet.
pub(super) const AUTH: i32 = -4;

/// Error code: the connection broke, the request may have been carried out.
pub(super) const CONNECTION_LOSS: i32 = -4;
/// Error code: the session is over.
pub(super) const SESSION_EXPIRED: i32 = -112;

const OP_AUTH: i32 = 100;
const OP_CLOSE: i32 = -11;

/// What identifies a session to a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SessionKey {
    pub id: i64,
    pub password: Vec<u8>,
    /// The negotiated timeout.
    pub timeout_ms: u32,
}

/// Head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub xid: i32,
    /// Whether it asks for the end of the session.
    pub closes: bool,
}

/// Head of a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReplyHead {
    pub xid: i32,
    pub zxid: i64,
    pub error: i32,
}

/// Takes frames off a byte stream, whatever the pieces it arrives in.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
}

impl Frames {
    /// The next frame, its length included, or `None` when the stream's read timeout passed first.
    ///
    /// # Errors
    /// The stream ended or broke, or announces a frame that cannot be.
    pub fn next(&mut self, stream: &mut impl Read) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(frame) = self.take()? {
                return Ok(Some(frame));
            }
            let filled = self.buffer.len();
            self.buffer.resize(filled + CHUNK, 0);
            let read = stream.read(&mut self.buffer[filled..]);
            self.buffer.truncate(filled + read.as_ref().copied().unwrap_or(0));
            match read {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn take(&mut self) -> io::Result<Option<Vec<u8>>> {
        let Some(announced) = int(&self.buffer, 0) else { return Ok(None) };
        let length =
            usize::try_from(announced).ok().filter(|length| *length <= FRAME_LIMIT).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {announced} bytes"))
            })?;
        if self.buffer.len() < 4 + length {
            return Ok(None);
        }
        let rest = self.buffer.split_off(4 + length);
        Ok(Some(std::mem::replace(&mut self.buffer, rest)))
    }
}

/// The request that opens a session, or takes up `resume` where `zxid` was seen last.
pub(super) fn connect_request(timeout_ms: u32, resume: Option<(&SessionKey, i64)>) -> Vec<u8> {
    let (id, zxid) = resume.map_or((0, 0), |(key, zxid)| (key.id, zxid));
    let password = resume.map_or(&[0; 16][..], |(key, _)| &key.password);
    let mut body = Vec::with_capacity(64);
    put(&mut body, 0);
    body.extend(zxid.to_be_bytes());
    body.extend(timeout_ms.to_be_bytes());
    body.extend(id.to_be_bytes());
    put_bytes(&mut body, password);
    body.push(0);
    framed(&body)
}

/// The timeout a connect request asks for, in milliseconds.
pub(super) fn requested_timeout(frame: &[u8]) -> Option<i32> {
    int(frame, 4 + 4 + 8)
}

/// The answer a server gives to a connect request.
pub(super) fn connect_response(key: &SessionKey) -> Vec<u8> {
    let mut body = Vec::with_capacity(64);
    put(&mut body, 0);
    body.extend(key.timeout_ms.to_be_bytes());
    body.extend(key.id.to_be_bytes());
    put_bytes(&mut body, &key.password);
    body.push(0);
    framed(&body)
}

/// Reads the answer to a connect request: `Ok(None)` when the session is over.
///
/// # Errors
/// It is not such an answer.
pub(super) fn parse_connect_response(frame: &[u8]) -> Result<Option<SessionKey>, String> {
    let malformed = || "the answer to the connect request is malformed".to_owned();
    let timeout = int(frame, 8).ok_or_else(malformed)?;
    let id = long(frame, 12).ok_or_else(malformed)?;
    if timeout <= 0 || id == 0 {
        return Ok(None);
    }
    let length = int(frame, 20).and_then(|length| usize::try_from(length).ok()).ok_or_else(malformed)?;
    let password = frame.get(24..24 + length.min(FRAME_LIMIT)).ok_or_else(malformed)?.to_vec();
    Ok(Some(SessionKey { id, password, timeout_ms: timeout.unsigned_abs() }))
}

/// The packet that makes the session one of `user:password` (protocol.md 5).
pub(super) fn auth_packet(user_and_password: &[u8]) -> Vec<u8> {
    let mut body = Vec::with_capacity(32 + user_and_password.len());
    put(&mut body, AUTH);
    put(&mut body, OP_AUTH);
    put(&mut body, 0);
    put_bytes(&mut body, b"digest");
    put_bytes(&mut body, user_and_password);
    framed(&body)
}

/// A reply without a body.
pub(super) fn reply(xid: i32, error: i32) -> Vec<u8> {
    let mut body = Vec::with_capacity(16);
    put(&mut body, xid);
    body.extend(0_i64.to_be_bytes());
    put(&mut body, error);
    framed(&body)
}

/// Head of a request frame.
pub(super) fn request_head(frame: &[u8]) -> Option<RequestHead> {
    Some(RequestHead { xid: int(frame, 4)?, closes: int(frame, 8)? == OP_CLOSE })
}

/// Head of a reply frame.
pub(super) fn reply_head(frame: &[u8]) -> Option<ReplyHead> {
    Some(ReplyHead { xid: int(frame, 4)?, zxid: long(frame, 8)?, error: int(frame, 16)? })
}

fn framed(body: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity(4 + body.len());
    put_bytes(&mut frame, body);
    frame
}

fn put(to: &mut Vec<u8>, value: i32) {
    to.extend(value.to_be_bytes());
}

fn put_bytes(to: &mut Vec<u8>, bytes: &[u8]) {
    put(to, i32::try_from(bytes.len()).unwrap_or(i32::MAX));
    to.extend(bytes);
}

fn int(frame: &[u8], at: usize) -> Option<i32> {
    Some(i32::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

fn long(frame: &[u8], at: usize) -> Option<i64> {
    Some(i64::from_be_bytes(*frame.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A stream that hands its bytes out in given pieces and then times out.
    struct Pieces(std::vec::IntoIter<Vec<u8>>);

    impl Read for Pieces {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let piece = self.0.next().ok_or(io::ErrorKind::WouldBlock)?;
            buffer[..piece.len()].copy_from_slice(&piece);
            Ok(piece.len())
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn frames_come_out_whole_however_they_arrive(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..8),
            size in 1_usize..30,
        ) {
            let frames: Vec<Vec<u8>> = bodies.iter().map(|body| framed(body)).collect();
            let pieces: Vec<Vec<u8>> = frames.concat().chunks(size).map(<[u8]>::to_vec).collect();
            let (mut stream, mut reader) = (Pieces(pieces.into_iter()), Frames::default());
            for frame in frames {
                prop_assert_eq!(reader.next(&mut stream).unwrap(), Some(frame));
            }
            prop_assert_eq!(reader.next(&mut stream).unwrap(), None);
        }

        #[test]
        fn hostile_bytes_are_refused_and_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = (parse_connect_response(&bytes), reply_head(&bytes), request_head(&bytes));
            let mut stream = Pieces(vec![bytes].into_iter().filter(|bytes| !bytes.is_empty()).collect::<Vec<_>>().into_iter());
            let _ = Frames::default().next(&mut stream);
        }
    }

    #[test]
    fn a_frame_that_cannot_be_is_an_error_and_so_is_the_end() {
        for announced in [-1_i32, i32::MIN, 5 << 20, i32::MAX] {
            let mut stream = Pieces(vec![announced.to_be_bytes().to_vec()].into_iter());
            assert_eq!(Frames::default().next(&mut stream).unwrap_err().kind(), io::ErrorKind::InvalidData);
        }
        let mut half = &[0_u8, 0][..];
        assert_eq!(Frames::default().next(&mut half).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_session_survives_the_handshake_formats() {
        let key = SessionKey { id: 0x1_0000_0001, password: vec![7; 16], timeout_ms: 4000 };
        assert_eq!(parse_connect_response(&connect_response(&key)), Ok(Some(key.clone())));
        let over = SessionKey { id: 0, password: vec![0; 16], timeout_ms: 0 };
        assert_eq!(parse_connect_response(&connect_response(&over)), Ok(None));
        let request = connect_request(4000, Some((&key, 99)));
        assert_eq!(requested_timeout(&request), Some(4000));
        assert_eq!(request.len(), 4 + 4 + 8 + 4 + 8 + 4 + 16 + 1);
        assert!(parse_connect_response(&connect_response(&key)[..30]).is_err());
    }
}
