//! Chunked bodies, decoded as they arrive (RFC 9112, 7.1). Pure: bytes in, ranges out.
//!
//! Strict where leniency has let requests be smuggled: CRLF only, plain hexadecimal sizes. Chunk
//! extensions and trailers are read, bounded, and dropped.

use std::ops::Range;

/// Bytes of all chunk extensions and trailers of one body together.
const MAX_EXTRAS: usize = 16 * 1024;
/// Hexadecimal digits of a chunk size: 2^60 bytes are beyond any limit.
const MAX_DIGITS: usize = 15;

/// What `advance` found.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing but framing.
    Framing,
    /// That part of the input is data.
    Data(Range<usize>),
    /// The body is complete.
    End,
}

/// The body is not validly chunked.
#[derive(Debug, PartialEq, Eq)]
pub struct NotChunked;

#[derive(Clone, Copy, Debug)]
enum State {
    /// Within the size of a chunk.
    Size { value: usize, digits: usize },
    /// Within a chunk extension.
    Extension { size: usize },
    /// After the CR that ends the size.
    SizeLf { size: usize },
    /// That many bytes of data to come.
    Data { left: usize },
    /// The CR after data.
    DataCr,
    /// The LF after data.
    DataLf,
    /// Within the trailers, at the start of a line or not.
    Trailer { line_start: bool },
    /// After a CR in the trailers; an empty line ends the body.
    TrailerLf { empty: bool },
    /// Done.
    End,
}

/// Where in a chunked body we are.
#[derive(Debug)]
pub struct Chunked {
    state: State,
    extras: usize,
}

impl Chunked {
    /// At the start of a body.
    pub fn new() -> Self {
        Self { state: State::Size { value: 0, digits: 0 }, extras: 0 }
    }

    /// Takes from the front of `input` until there is something to say; returns how much it took.
    /// `input` must not be empty.
    pub fn advance(&mut self, input: &[u8]) -> Result<(usize, Step), NotChunked> {
        for (position, &byte) in input.iter().enumerate() {
            if let State::Data { left } = self.state {
                let length = left.min(input.len() - position);
                self.state = if length == left { State::DataCr } else { State::Data { left: left - length } };
                return Ok((position + length, Step::Data(position..position + length)));
            }
            self.state = self.next(byte)?;
            if matches!(self.state, State::End) {
                return Ok((position + 1, Step::End));
            }
        }
        Ok((input.len(), Step::Framing))
    }

    fn next(&mut self, byte: u8) -> Result<State, NotChunked> {
        Ok(match (self.state, byte) {
            (State::Size { value, digits }, _) if byte.is_ascii_hexdigit() && digits < MAX_DIGITS => {
                let digit = (byte as char).to_digit(16).map_or(0, |digit| digit as usize);
                State::Size { value: value * 16 + digit, digits: digits + 1 }
            }
            (State::Size { value, digits: 1.. }, b'\r') => State::SizeLf { size: value },
            (State::Size { value, digits: 1.. }, b';' | b' ' | b'\t') => State::Extension { size: value },
            (State::Extension { size }, b'\r') => State::SizeLf { size },
            (State::Extension { .. }, b'\n') => return Err(NotChunked),
            (State::Extension { size }, _) => self.extra(State::Extension { size })?,
            (State::SizeLf { size: 0 }, b'\n') => State::Trailer { line_start: true },
            (State::SizeLf { size }, b'\n') => State::Data { left: size },
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size { value: 0, digits: 0 },
            (State::Trailer { line_start }, b'\r') => State::TrailerLf { empty: line_start },
            (State::Trailer { .. }, b'\n') => return Err(NotChunked),
            (State::Trailer { .. }, _) => self.extra(State::Trailer { line_start: false })?,
            (State::TrailerLf { empty: true }, b'\n') => State::End,
            (State::TrailerLf { empty: false }, b'\n') => State::Trailer { line_start: true },
            _ => return Err(NotChunked),
        })
    }

    fn extra(&mut self, state: State) -> Result<State, NotChunked> {
        self.extras += 1;
        if self.extras > MAX_EXTRAS { Err(NotChunked) } else { Ok(state) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The data, and what was left over.
    type Decoded = (Vec<u8>, Vec<u8>);

    /// Decodes in pieces of `piece` bytes; `None` if the body does not end.
    fn decode(mut input: &[u8], piece: usize) -> Result<Option<Decoded>, NotChunked> {
        let mut chunked = Chunked::new();
        let mut data = Vec::new();
        while !input.is_empty() {
            let part = &input[..piece.min(input.len())];
            let (used, step) = chunked.advance(part)?;
            match step {
                Step::Framing => {}
                Step::Data(range) => data.extend_from_slice(&part[range]),
                Step::End => return Ok(Some((data, input[used..].to_vec()))),
            }
            input = &input[used..];
        }
        Ok(None)
    }

    #[test]
    fn the_same_data_comes_out_however_the_bytes_arrive() {
        let body =
            b"4\r\nWiki\r\n5;x=\"y\"\r\npedia\r\nE \r\n in\r\n\r\nchunks.\r\n0\r\nTrailer: x\r\n\r\nGET /";
        for piece in 1..body.len() {
            let (data, rest) = decode(body, piece).unwrap().unwrap();
            assert_eq!(data, b"Wikipedia in\r\n\r\nchunks.", "pieces of {piece}");
            assert_eq!(rest, b"GET /", "pieces of {piece}");
        }
    }

    #[test]
    fn a_body_cut_off_anywhere_never_ends() {
        let body = b"4\r\nWiki\r\n0\r\n\r\n";
        for length in 0..body.len() {
            assert_eq!(decode(&body[..length], 3), Ok(None), "{length} bytes");
        }
    }

    #[test]
    fn sizes_and_line_ends_are_strict() {
        let long = format!("1;{}\r\na\r\n0\r\n\r\n", "x".repeat(MAX_EXTRAS + 1));
        for body in [
            "\r\n",
            "x\r\n",
            "-1\r\n",
            "0x1\r\n",
            "1\na",
            "1\r\nab",
            "1\r\na\n",
            "0\r\n\n",
            "1000000000000000\r\n",
            &long,
        ] {
            assert_eq!(decode(body.as_bytes(), 7), Err(NotChunked), "{body:?}");
        }
    }
}
