//! A second chance for documents that are almost JSON.
//!
//! Two things that other JSON writers let through make a strict parser give up a whole document:
//! escapes that are half of a surrogate pair, and numbers beyond what a double holds. Neither is
//! worth a pod.

/// The text with lone surrogate escapes replaced by U+FFFD and numbers out of range by `null`;
/// `None` if there was neither.
pub(super) fn mended(json: &str) -> Option<String> {
    let mut mended = String::new();
    let mut copied = 0;
    let mut at = 0;
    let mut in_string = false;
    while let Some(byte) = json.as_bytes().get(at) {
        let (length, replacement) = match byte {
            b'"' => {
                in_string = !in_string;
                (1, None)
            }
            b'\\' if in_string => escape(&json.as_bytes()[at..]),
            b'-' | b'0'..=b'9' if !in_string => number(&json[at..]),
            _ => (1, None),
        };
        if let Some(replacement) = replacement {
            mended.push_str(&json[copied..at]);
            mended.push_str(replacement);
            copied = at + length;
        }
        at += length;
    }
    if copied == 0 {
        return None;
    }
    mended.push_str(&json[copied..]);
    Some(mended)
}

/// Length of the escape `text` begins with, or of a whole surrogate pair, and what should stand
/// there instead.
fn escape(text: &[u8]) -> (usize, Option<&'static str>) {
    match code_unit(text) {
        Some(0xD800..=0xDBFF) => match text.get(6..).and_then(code_unit) {
            Some(0xDC00..=0xDFFF) => (12, None),
            _ => (6, Some("\\ufffd")),
        },
        Some(0xDC00..=0xDFFF) => (6, Some("\\ufffd")),
        _ => (2, None),
    }
}

/// The value of a `\uXXXX` escape at the beginning of `text`.
fn code_unit(text: &[u8]) -> Option<u32> {
    let digits = text.strip_prefix(b"\\u")?.get(..4)?;
    digits.iter().try_fold(0, |value, digit| Some(value * 16 + char::from(*digit).to_digit(16)?))
}

/// Length of the number `text` begins with, and what should stand there instead.
fn number(text: &str) -> (usize, Option<&'static str>) {
    let is_part = |c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.' | 'e' | 'E');
    let length = text.find(|c| !is_part(c)).unwrap_or(text.len());
    let out_of_range = text[..length].parse::<f64>().is_ok_and(f64::is_infinite);
    (length, out_of_range.then_some("null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, expected: Option<&str>) {
        let found = mended(json);
        assert_eq!(found.as_deref(), expected, "{json}");
        if let Some(found) = found {
            serde_json::from_str::<serde_json::Value>(&found).unwrap();
        }
    }

    #[test]
    fn lone_surrogates_become_replacement_characters() {
        check(r#"{"a":"\ud83d\ude00"}"#, None);
        check(r#"{"a":"x\ud83d"}"#, Some(r#"{"a":"x\ufffd"}"#));
        check(r#"{"a":"\ude00\ud83d\ude00"}"#, Some(r#"{"a":"\ufffd\ud83d\ude00"}"#));
        check(r#"{"\uD83Dz":"\ud83d\ud83d\ude00"}"#, Some(r#"{"\ufffdz":"\ufffd\ud83d\ude00"}"#));
        check(r#"{"a":"\\ud83d","b":"\"\\"}"#, None);
    }

    #[test]
    fn numbers_out_of_range_become_null() {
        check(r#"{"a":1e308,"b":-0.5,"c":"1e999"}"#, None);
        check(r#"{"a":1e999,"b":[-1E+9999,7]}"#, Some(r#"{"a":null,"b":[null,7]}"#));
        check(&format!("[1{}]", "0".repeat(400)), Some("[null]"));
    }

    #[test]
    fn text_that_is_cut_short_is_left_to_the_parser() {
        for json in ["", "{", r#"{"a":"\"#, r#"{"a":"\u"#, r#"{"a":"\ud8"#, "{\"a\":\"\\\u{e9}", "-"] {
            check(json, None);
        }
    }
}
