//! What is left out of a field that the CMDB refused or that is too long (design.md 5).
//!
//! A repair is a pure function of the unrepaired text: the same text gives the same repair on
//! every instance, at every start, so a repaired record compares equal to what the CMDB holds.

use super::parts::Parts;
use crate::model::{Field, FieldKind};
use std::fmt;

/// Bytes the CMDB takes in a long text field (protocol.md 2).
pub const LONG_TEXT_LIMIT: usize = 2000;
/// Bytes the CMDB takes in any other text field (protocol.md 2).
const CHAR_TEXT_LIMIT: usize = 256;
/// Code of a text that is too long (protocol.md 2).
const TOO_LONG: i64 = 1_199_015;
/// Code of a text that its pattern refuses (protocol.md 2).
const PATTERN: i64 = 1_199_016;

/// The steps taken to make one field acceptable. They add up: entries are dropped, then the rest
/// is shortened; a cleared field is cleared whatever was tried before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Repairs {
    drop_entries: bool,
    shorten: bool,
    clear: bool,
}

impl Repairs {
    /// Whether nothing is repaired.
    pub fn is_none(self) -> bool {
        self == Self::default()
    }

    /// The next step after `field`, repaired like this, was refused with `code` (protocol.md 2);
    /// `None` when nothing is left to try: the field is required, or already empty.
    pub fn next(self, field: Field, code: i64) -> Option<Self> {
        if field.required() || self.clear {
            return None;
        }
        let has_entries = matches!(field, Field::Labels | Field::Annotations);
        Some(match code {
            PATTERN if has_entries && !self.drop_entries => Self { drop_entries: true, ..self },
            TOO_LONG if field.kind() == FieldKind::Long && !self.shorten => Self { shorten: true, ..self },
            _ => Self { clear: true, ..self },
        })
    }

    /// The repaired text of `field`, from the unrepaired one.
    pub fn apply(self, field: Field, value: &str) -> String {
        if self.clear {
            return cleared(field).to_owned();
        }
        let mut value = value.to_owned();
        if self.drop_entries {
            value = drop_entries(field, &value);
        }
        if self.shorten {
            value = shorten(field, &value, LONG_TEXT_LIMIT);
        }
        value
    }
}

impl fmt::Display for Repairs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match (self.clear, self.drop_entries, self.shorten) {
            (true, _, _) => "it is left empty",
            (_, true, true) => "entries with white space are left out, and the biggest ones",
            (_, true, false) => "entries that are empty or hold white space are left out",
            (_, false, true) => "its biggest entries are left out",
            (false, false, false) => "it is written as it is",
        })
    }
}

/// Whether `stored` is what the repairs leave of `wanted`, a text the CMDB would not take: then a
/// record that holds it is as equal as it can be.
pub fn accounts_for(field: Field, wanted: &str, stored: &str) -> bool {
    if field.required() || wanted == stored {
        return false;
    }
    let dropping = Repairs { drop_entries: true, ..Repairs::default() };
    match field.kind() {
        FieldKind::Long => {
            let short = Repairs { shorten: true, ..Repairs::default() };
            let both = Repairs { shorten: true, ..dropping };
            let has_entries = matches!(field, Field::Labels | Field::Annotations);
            let ladder = [Some(short), has_entries.then_some(dropping), has_entries.then_some(both)];
            ladder.into_iter().flatten().any(|repairs| repairs.apply(field, wanted) == stored)
        }
        // These are left empty, but an empty one may also be one that was never written.
        FieldKind::Ip => stored.is_empty() && wanted.parse::<std::net::Ipv4Addr>().is_err(),
        FieldKind::Char => stored.is_empty() && wanted.len() > CHAR_TEXT_LIMIT,
        FieldKind::Int | FieldKind::Time => false,
    }
}

/// What a field holds when everything is left out of it.
fn cleared(field: Field) -> &'static str {
    match field {
        Field::Labels | Field::Annotations => "{}",
        _ => "",
    }
}

/// Leaves out every entry whose key or value the strict pattern of protocol.md 2 refuses: those
/// that are empty and those with white space.
///
/// The pattern sees the serialised text, in which a line break is the two characters `\n`: only
/// what is white space there counts, and a value of several lines passes.
fn drop_entries(field: Field, value: &str) -> String {
    let refused =
        |serialised: &str| serialised == "\"\"" || serialised.bytes().any(|byte| byte.is_ascii_whitespace());
    match Parts::parse(field, value) {
        Some(mut parts) => {
            parts.retain(|part| !refused(part.key) && !refused(part.text));
            parts.render()
        }
        None => cleared(field).to_owned(),
    }
}

/// A long text field in at most `limit` bytes: whole entries of labels and annotations, or whole
/// elements of containers and volumes, are left out, biggest first (of equal ones the last), until
/// the rest fits. The result is valid JSON, or empty where not even `{}` fits.
pub fn shorten(field: Field, value: &str, limit: usize) -> String {
    if value.len() <= limit {
        return value.to_owned();
    }
    let shortened = match Parts::parse(field, value) {
        Some(mut parts) => {
            parts.shorten(limit);
            parts.render()
        }
        None => cleared(field).to_owned(),
    };
    if shortened.len() <= limit { shortened } else { String::new() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repaired_text_accounts_for_its_difference_and_a_lost_one_does_not() {
        let check = |field, wanted: &str, stored: &str, expected| {
            assert_eq!(accounts_for(field, wanted, stored), expected, "{field:?} {wanted:.40} {stored:.40}");
        };
        let long = format!(r#"{{"a":"b","long":"{}"}}"#, "x".repeat(3000));
        check(Field::Annotations, r#"{"a b":"c","d":"e"}"#, r#"{"d":"e"}"#, true);
        check(Field::Annotations, r#"{"a b":"c"}"#, "{}", true);
        check(Field::Annotations, &long, r#"{"a":"b"}"#, true);
        check(Field::Annotations, r#"{"a":"b","d":"e"}"#, r#"{"d":"e"}"#, false);
        check(Field::Annotations, r#"{"a":"b"}"#, "{}", false);
        check(Field::PodIp, "fd00::1", "", true);
        check(Field::PodIp, "10.0.0.1", "", false);
        check(Field::PodIp, "fd00::1", "10.0.0.1", false);
        check(Field::Status, &"x".repeat(300), "", true);
        check(Field::Status, "Running", "", false);
        check(Field::WorkloadName, &"x".repeat(300), "", false);
        check(Field::StartTime, "2026-01-01 00:00:00", "", false);
    }

    /// Follows the ladder: each code with the text the step leads to, then the end.
    fn check(field: Field, value: &str, steps: &[(i64, &str)]) {
        let mut repairs = Repairs::default();
        assert_eq!(repairs.apply(field, value), value);
        for (code, expected) in steps {
            repairs = repairs.next(field, *code).unwrap();
            assert_eq!(repairs.apply(field, value), *expected, "{} after {code}", field.name());
        }
    }

    #[test]
    fn a_refused_pattern_drops_exactly_the_entries_with_white_space_or_nothing_in_them() {
        let value = r#"{"":"x","a":"","b":"c d","e f":"g","h":"i\nj","k":"\"","l":"m","n":" "}"#;
        for field in [Field::Labels, Field::Annotations] {
            check(field, value, &[(PATTERN, r#"{"h":"i\nj","k":"\"","l":"m"}"#), (PATTERN, "{}")]);
            check(field, r#"{"a":"b c"}"#, &[(PATTERN, "{}"), (PATTERN, "{}")]);
        }
    }

    #[test]
    fn a_text_that_is_too_long_loses_its_biggest_entries() {
        let entry = |key: &str, size: usize| format!("\"{key}\":\"{}\"", "x".repeat(size));
        let applied = entry("kubectl.kubernetes.io/last-applied-configuration", 10);
        let (a, b, c) = (entry("a", 900), entry("b", 900), entry("c", 300));
        let whole = format!("{{{a},{b},{c},{applied}}}");
        check(Field::Annotations, &whole, &[(TOO_LONG, &format!("{{{a},{c}}}")), (TOO_LONG, "{}")]);
        let fits = format!("{{{a},{b},{applied}}}");
        check(Field::Annotations, &fits, &[(TOO_LONG, &fits), (TOO_LONG, "{}")]);
        let applied_alone_is_too_much = format!("{{{a},{b},{},{applied}}}", entry("c", 130));
        let without = format!("{{{a},{b},{}}}", entry("c", 130));
        check(Field::Annotations, &applied_alone_is_too_much, &[(TOO_LONG, &without)]);
    }

    #[test]
    fn lists_lose_elements() {
        let element = |size: usize| format!("{{\"name\":\"{}\"}}", "x".repeat(size));
        let (small, big) = (element(10), element(1990));
        let list = format!("[{small},{big},{small}]");
        let rest = format!("[{small},{small}]");
        check(Field::Volumes, &list, &[(TOO_LONG, &rest), (TOO_LONG, "")]);
        check(Field::Containers, &list, &[(TOO_LONG, &rest)]);
        let both = format!(r#"{{"containers":[{small},{big}],"containerStatuses":[{big}]}}"#);
        let rest = format!(r#"{{"containers":[{small}],"containerStatuses":[]}}"#);
        check(Field::Containers, &both, &[(TOO_LONG, &rest), (-2, "")]);
    }

    #[test]
    fn steps_add_up_and_clearing_wins() {
        let long = format!(r#"{{"a":"{}","b":"c d","e":"f"}}"#, "x".repeat(2000));
        check(
            Field::Labels,
            &long,
            &[(PATTERN, &long.replace(r#""b":"c d","#, "")), (TOO_LONG, r#"{"e":"f"}"#)],
        );
        check(Field::Labels, &long, &[(TOO_LONG, r#"{"b":"c d","e":"f"}"#), (PATTERN, r#"{"e":"f"}"#)]);
        check(Field::Labels, &long, &[(PATTERN, &long.replace(r#""b":"c d","#, "")), (1_199_006, "{}")]);
    }

    #[test]
    fn any_other_refused_field_is_left_empty_unless_it_is_required() {
        for field in Field::ALL {
            let next = Repairs::default().next(field, 1_199_032);
            if field.required() {
                assert_eq!(next, None, "{}", field.name());
                continue;
            }
            let next = next.unwrap();
            let empty = if matches!(field, Field::Labels | Field::Annotations) { "{}" } else { "" };
            assert_eq!(next.apply(field, "fe80::1"), empty);
            for code in [TOO_LONG, PATTERN, 1_199_032] {
                assert_eq!(next.next(field, code), None, "a ladder has an end");
            }
        }
        check(Field::Containers, "[{}]", &[(PATTERN, "")]);
        check(Field::Status, "x", &[(TOO_LONG, "")]);
    }

    #[test]
    fn shortening_ends_with_valid_json_or_nothing() {
        for (field, value, limit, expected) in [
            (Field::Labels, r#"{"a":"b"}"#, 9, r#"{"a":"b"}"#),
            (Field::Labels, r#"{"a":"b"}"#, 8, "{}"),
            (Field::Labels, r#"{"a":"b"}"#, 1, ""),
            (Field::Labels, r#"{"a":"b"#, 5, "{}"),
            (Field::Labels, r#"["a","b"]"#, 5, "{}"),
            (Field::Volumes, "[1,22,333]", 9, "[1,22]"),
            (Field::Volumes, "[22,22]", 6, "[22]"),
            (Field::Volumes, "volumes", 5, ""),
            (
                Field::Containers,
                r#"{"containers":[1,2],"containerStatuses":[3]}"#,
                43,
                r#"{"containers":[1,2],"containerStatuses":[]}"#,
            ),
            (
                Field::Containers,
                r#"{"containers":[333],"containerStatuses":[2]}"#,
                41,
                r#"{"containers":[],"containerStatuses":[2]}"#,
            ),
            (
                Field::Containers,
                r#"{"containers":[333],"containerStatuses":[2]}"#,
                40,
                r#"{"containers":[],"containerStatuses":[]}"#,
            ),
            (Field::Containers, r#"{"containers":[1],"containerStatuses":"x"}"#, 20, ""),
            (Field::Containers, r#"{"containers":[1],"containerStatuses":[]}"#, 20, ""),
        ] {
            assert_eq!(shorten(field, value, limit), expected, "{value} in {limit}");
        }
    }
}
