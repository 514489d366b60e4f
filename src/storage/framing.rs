//! Where one JSON value ends and the next begins, in bytes that arrive in pieces.
//!
//! bcs-storage sends events back to back, with a newline between them in one generation and nothing
//! in the other (protocol.md 1.3), and list pages of many megabytes. This file finds the extent of
//! a value without parsing it: brackets are counted, strings are skipped. What a value says, and
//! whether it is valid JSON or UTF-8 at all, is judged later, by whoever parses that one value: a
//! bad one costs only itself.

/// Bytes of one document or event; a larger one is passed over. The largest object etcd takes is
/// 1.5 MiB, MongoDB's is 16 MiB.
pub const VALUE_LIMIT: usize = 16 * 1024 * 1024;
/// A buffer that once held a large value is given back down to this.
const KEPT_CAPACITY: usize = 256 * 1024;

/// A value that was longer than the limit; its bytes are gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a value of {bytes} bytes is larger than the {VALUE_LIMIT} this service takes")]
pub struct TooLarge {
    /// Its length.
    pub bytes: u64,
}

/// White space between JSON tokens.
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Shape {
    /// No byte seen yet.
    #[default]
    Unknown,
    /// An object or array: ends with the bracket that closes the first one.
    Nested,
    /// A string: ends with its quote.
    Text,
    /// A number, `true`, or anything else: ends before a delimiter.
    Bare,
}

/// How far into one value the bytes have come.
#[derive(Clone, Debug, Default)]
struct Extent {
    shape: Shape,
    depth: u64,
    in_string: bool,
    escaped: bool,
}

impl Extent {
    /// How many of `bytes` belong to the value, and whether it ends there.
    fn advance(&mut self, bytes: &[u8]) -> (usize, bool) {
        if self.shape == Shape::Unknown {
            self.shape = match bytes.first() {
                None => return (0, false),
                Some(b'{' | b'[') => Shape::Nested,
                Some(b'"') => Shape::Text,
                Some(_) => Shape::Bare,
            };
        }
        match self.shape {
            Shape::Bare => bare_end(bytes),
            _ => self.advance_structured(bytes),
        }
    }

    fn advance_structured(&mut self, bytes: &[u8]) -> (usize, bool) {
        let mut at = 0;
        while at < bytes.len() {
            if self.in_string {
                at += self.advance_string(&bytes[at..]);
                if !self.in_string && self.shape == Shape::Text {
                    return (at, true);
                }
                continue;
            }
            match bytes[at] {
                b'"' => self.in_string = true,
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        return (at + 1, true);
                    }
                }
                _ => {}
            }
            at += 1;
        }
        (at, false)
    }

    /// Bytes up to the end of the string, its quote included, or all of them.
    fn advance_string(&mut self, bytes: &[u8]) -> usize {
        let mut at = 0;
        loop {
            if self.escaped {
                if at == bytes.len() {
                    return at;
                }
                self.escaped = false;
                at += 1;
            }
            match quote_or_backslash(&bytes[at..]) {
                None => return bytes.len(),
                Some(found) if bytes[at + found] == b'"' => {
                    self.in_string = false;
                    return at + found + 1;
                }
                Some(found) => {
                    self.escaped = true;
                    at += found + 1;
                }
            }
        }
    }
}

/// Where the first quote or backslash is. Most strings are short: the first bytes are looked at right
/// here, eight at a time, before a search that is made for long ones is called.
fn quote_or_backslash(bytes: &[u8]) -> Option<usize> {
    const NEAR: usize = 3;
    let (words, _) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().take(NEAR).enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = zero_bytes(word ^ repeated(b'"')) | zero_bytes(word ^ repeated(b'\\'));
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let near = words.len().min(NEAR) * 8;
    memchr::memchr2(b'"', b'\\', &bytes[near..]).map(|found| near + found)
}

/// Eight times that byte.
const fn repeated(byte: u8) -> u64 {
    u64::from_le_bytes([byte; 8])
}

/// The high bit of each byte that is zero; above the first such byte others may be set as well.
const fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeated(1)) & !word & repeated(0x80)
}

fn bare_end(bytes: &[u8]) -> (usize, bool) {
    let delimiter = |byte: &u8| is_space(*byte) || b",:]}[{\"".contains(byte);
    match bytes.iter().position(delimiter) {
        Some(end) => (end, true),
        None => (bytes.len(), false),
    }
}

/// Gathers the bytes of one value at a time; the buffer is used again for the next.
#[derive(Debug)]
pub(super) struct Gatherer {
    extent: Extent,
    bytes: Vec<u8>,
    length: u64,
    limit: usize,
}

impl Gatherer {
    pub(super) fn new() -> Self {
        Self { extent: Extent::default(), bytes: Vec::new(), length: 0, limit: 0 }
    }

    /// Forgets the last value; the next one may have `limit` bytes.
    pub(super) fn begin(&mut self, limit: usize) {
        self.extent = Extent::default();
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_CAPACITY);
        self.length = 0;
        self.limit = limit;
    }

    /// Takes what belongs to the value from the beginning of `input`: how much, and whether the
    /// value is complete.
    pub(super) fn feed(&mut self, input: &[u8]) -> (usize, bool) {
        let (taken, complete) = self.extent.advance(input);
        self.length += taken as u64;
        if self.length <= self.limit as u64 {
            self.bytes.extend_from_slice(&input[..taken]);
        } else {
            self.bytes.clear();
        }
        (taken, complete)
    }

    /// The bytes so far; of a complete value, all of them.
    pub(super) fn value(&self) -> Result<&[u8], TooLarge> {
        if self.length > self.limit as u64 { Err(TooLarge { bytes: self.length }) } else { Ok(&self.bytes) }
    }
}

/// Splits a stream into its top-level values, with or without white space between them.
#[derive(Debug)]
pub struct Splitter {
    gatherer: Gatherer,
    limit: usize,
    state: Between,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Between {
    Values,
    Inside,
    /// A complete value waits to be looked at.
    Complete,
}

impl Default for Splitter {
    fn default() -> Self {
        Self::new(VALUE_LIMIT)
    }
}

impl Splitter {
    /// Values longer than `limit` bytes are passed over.
    pub fn new(limit: usize) -> Self {
        Self { gatherer: Gatherer::new(), limit, state: Between::Values }
    }

    /// Takes bytes from the beginning of `input` up to the end of a value, or all of them: how
    /// many, and whether [`Splitter::value`] is one now.
    pub fn feed(&mut self, input: &[u8]) -> (usize, bool) {
        let mut at = 0;
        if self.state != Between::Inside {
            match input.iter().position(|byte| !is_space(*byte)) {
                None => return (input.len(), false),
                Some(begin) => at = begin,
            }
            self.gatherer.begin(self.limit);
            self.state = Between::Inside;
        }
        let (taken, complete) = self.gatherer.feed(&input[at..]);
        at += taken;
        if !complete {
            return (at, false);
        }
        self.state = Between::Complete;
        // A stray delimiter outside any value would otherwise be an empty value for ever.
        if taken == 0 && at < input.len() && self.gatherer.length == 0 {
            at += 1;
        }
        (at, true)
    }

    /// The value that ended last.
    pub fn value(&self) -> Result<&[u8], TooLarge> {
        self.gatherer.value()
    }

    /// Whether the bytes so far end inside a value: what follows is missing.
    pub fn is_inside(&self) -> bool {
        self.state == Between::Inside
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The values found when `input` arrives in pieces that end at `cuts`.
    fn split(input: &[u8], cuts: &[usize], limit: usize) -> Vec<Result<Vec<u8>, TooLarge>> {
        let mut splitter = Splitter::new(limit);
        let mut found = Vec::new();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut % (input.len() + 1)).collect();
        cuts.extend([0, input.len()]);
        cuts.sort_unstable();
        for piece in cuts.windows(2) {
            let mut piece = &input[piece[0]..piece[1]];
            while !piece.is_empty() {
                let (taken, complete) = splitter.feed(piece);
                piece = &piece[taken..];
                if complete {
                    found.push(splitter.value().map(<[u8]>::to_vec));
                }
            }
        }
        found
    }

    fn check(input: &str, values: &[&str]) {
        let expected: Vec<_> = values.iter().map(|value| Ok(value.as_bytes().to_vec())).collect();
        assert_eq!(split(input.as_bytes(), &[], VALUE_LIMIT), expected, "{input}");
        let everywhere: Vec<usize> = (0..input.len()).collect();
        assert_eq!(split(input.as_bytes(), &everywhere, VALUE_LIMIT), expected, "{input}, byte by byte");
    }

    #[test]
    fn values_are_found_with_and_without_white_space_between_them() {
        check("", &[]);
        check(" \n\t\r ", &[]);
        check("{}{}", &["{}", "{}"]);
        check("{\"a\":1}\n{\"b\":[{}]}\n", &["{\"a\":1}", "{\"b\":[{}]}"]);
        check("[1]{}\"x\"", &["[1]", "{}", "\"x\""]);
        check("null {}", &["null", "{}"]);
        check("12{}", &["12", "{}"]);
    }

    #[test]
    fn brackets_and_quotes_inside_strings_mean_nothing() {
        check(r#"{"a":"}"}{"b":"\"}"}"#, &[r#"{"a":"}"}"#, r#"{"b":"\"}"}"#]);
        check(r#"{"a":"\\"}{"b":"\\\"{"}"#, &[r#"{"a":"\\"}"#, r#"{"b":"\\\"{"}"#]);
    }

    #[test]
    fn the_first_quote_or_backslash_is_found_wherever_it_is() {
        for length in 0..60 {
            let plain = vec![b'#'; length];
            assert_eq!(quote_or_backslash(&plain), None, "{length}");
            for at in 0..length {
                for (first, second) in [(b'"', b'\\'), (b'\\', b'"'), (b'"', b'!'), (b'"', b'#')] {
                    let mut text = plain.clone();
                    text[at] = first;
                    text.extend([second, first]);
                    assert_eq!(quote_or_backslash(&text), Some(at), "{first} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn what_is_no_json_still_ends() {
        check("<html> }{}", &["<html>", "", "{}"]);
        check("}{}", &["", "{}"]);
    }

    #[test]
    fn bytes_that_are_no_utf8_stay_inside_their_value() {
        let input = b"{\"a\":\"\xff\xfe\"}{}";
        let expected = vec![Ok(input[..10].to_vec()), Ok(b"{}".to_vec())];
        assert_eq!(split(input, &[6, 7], VALUE_LIMIT), expected);
    }

    #[test]
    fn a_value_above_the_limit_is_passed_over_and_reported() {
        let input = b"{\"a\":\"0123456789\"}{}";
        for cuts in [vec![], (0..input.len()).collect()] {
            let found = split(input, &cuts, 10);
            assert_eq!(found, [Err(TooLarge { bytes: 18 }), Ok(b"{}".to_vec())]);
        }
    }

    #[test]
    fn an_end_inside_a_value_is_known() {
        let mut splitter = Splitter::default();
        assert_eq!(splitter.feed(b"{} {\"a\":"), (2, true));
        assert!(!splitter.is_inside());
        assert_eq!(splitter.feed(b" {\"a\":"), (6, false));
        assert!(splitter.is_inside());
    }

    fn json() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<i64>().prop_map(Value::from),
            r#"[a-z"\\{}\[\]\n]{0,8}"#.prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map(r#"[a-z"{]{0,4}"#, inner, 0..5)
                    .prop_map(|map| Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn any_cutting_of_the_bytes_gives_the_same_values(
            values in prop::collection::vec(json(), 0..6),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            let mut input = Vec::new();
            let mut expected = Vec::new();
            for value in &values {
                let text = value.to_string();
                input.extend_from_slice(text.as_bytes());
                input.push(b'\n');
                expected.push(Ok(text.into_bytes()));
            }
            prop_assert_eq!(split(&input, &cuts, VALUE_LIMIT), expected);
        }

        #[test]
        fn any_bytes_are_taken_without_a_panic_or_a_standstill(
            input in prop::collection::vec(any::<u8>(), 0..200),
            cuts in prop::collection::vec(any::<usize>(), 0..12),
        ) {
            prop_assert_eq!(split(&input, &[], 50), split(&input, &cuts, 50));
        }
    }
}
