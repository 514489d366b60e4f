//! Paths and queries as the simulated peers read them.

use crate::front::Limits;
use percent_encoding::percent_decode_str;
use std::collections::BTreeMap;
use std::time::Duration;

/// Bounds of a simulated peer's port: loopback only, and as many streams as a test may open.
pub(super) fn limits() -> Limits {
    Limits {
        connections: 1024,
        head: 64 << 10,
        body: 1 << 20,
        request_time: Duration::from_secs(10),
        idle_time: Duration::from_secs(60),
        ..Limits::default()
    }
}

/// The decoded segments of a path; empty ones are kept, so that a slash at the end shows.
pub(super) fn segments(path: &str) -> Vec<String> {
    path.trim_start_matches('/').split('/').map(decode).collect()
}

/// A query, decoded; of a repeated key the first value counts, as in Go's `url.Values.Get`.
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    /// Reads the part of a URL behind `?`.
    pub(super) fn parse(query: &str) -> Self {
        let mut values = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            values.entry(decode_form(key)).or_insert_with(|| decode_form(value));
        }
        Self(values)
    }

    /// The value of `key`; empty if absent.
    pub(super) fn text(&self, key: &str) -> &str {
        self.0.get(key).map_or("", String::as_str)
    }

    /// The value of `key` as a count; 0 if absent.
    pub(super) fn count(&self, key: &str) -> Result<usize, String> {
        match self.text(key) {
            "" => Ok(0),
            text => text.parse().map_err(|_| format!("{key} is not a count: {text:.40}")),
        }
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn decode_form(text: &str) -> String {
    decode(&text.replace('+', " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_as_go_reads_them() {
        let query = Query::parse("a=1%2B2&a=9&b=x+y&limit=7&&empty");
        assert_eq!((query.text("a"), query.text("b"), query.text("empty")), ("1+2", "x y", ""));
        assert_eq!((query.count("limit"), query.count("offset")), (Ok(7), Ok(0)));
        assert!(query.count("b").is_err());
    }

    #[test]
    fn segments_are_decoded_after_they_are_split() {
        assert_eq!(segments("/a/b%2Fc/"), ["a", "b/c", ""]);
    }
}
