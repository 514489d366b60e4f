//! JSON scalars as peers really write them: numbers as texts, texts as numbers, `null` for absent.
//!
//! Several servers behind one protocol do not agree on the type of a field. A value of a shape
//! nobody can use is [`Loose::Other`], so that one odd field never costs the whole answer.

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A scalar of any type, or its absence.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Loose<'a> {
    /// `null`, or no such key.
    #[default]
    Absent,
    /// `true` or `false`.
    Bool(bool),
    /// An integer.
    Int(i64),
    /// Any other number.
    Float(f64),
    /// A text.
    Text(Cow<'a, str>),
    /// An object or a list.
    Other,
}

impl Loose<'_> {
    /// The integer it is or spells; `17`, `17.0` and `" 17 "` are one value.
    pub fn int(&self) -> Option<i64> {
        match self {
            Self::Int(value) => Some(*value),
            Self::Float(value) if value.fract() == 0.0 && value.abs() < 9e15 => Some(*value as i64),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The text it is or spells, trimmed; empty for what has none.
    pub fn text(&self) -> Cow<'_, str> {
        match self {
            Self::Text(text) => Cow::Borrowed(text.trim()),
            Self::Bool(value) => Cow::Owned(value.to_string()),
            Self::Int(value) => Cow::Owned(value.to_string()),
            Self::Float(value) => Cow::Owned(value.to_string()),
            Self::Absent | Self::Other => Cow::Borrowed(""),
        }
    }

    /// The text it is or spells, without a copy where it already is one of its own.
    pub fn into_text(self) -> String {
        match self {
            Self::Text(text) => text.into_owned(),
            other => other.text().into_owned(),
        }
    }

    /// The flag it is or spells; absent is `false`, `None` is none of both.
    pub fn flag(&self) -> Option<bool> {
        match self {
            Self::Absent => Some(false),
            Self::Bool(value) => Some(*value),
            Self::Int(value) => Some(*value != 0),
            Self::Text(text) => match text.trim() {
                "" => Some(false),
                text => text.to_ascii_lowercase().parse().ok(),
            },
            _ => None,
        }
    }

    /// Whether there is nothing: no key, `null`, or an empty text.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Text(text) => text.trim().is_empty(),
            _ => false,
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Loose<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LooseVisitor)
    }
}

struct LooseVisitor;

impl<'de> Visitor<'de> for LooseVisitor {
    type Value = Loose<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Loose<'de>, E> {
        Ok(Loose::Absent)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Loose<'de>, E> {
        Ok(Loose::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Loose<'de>, E> {
        Ok(Loose::Int(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Loose<'de>, E> {
        Ok(i64::try_from(value).map_or(Loose::Float(value as f64), Loose::Int))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Loose<'de>, E> {
        Ok(Loose::Float(value))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Borrowed(value)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Loose<'de>, E> {
        Ok(Loose::Text(Cow::Owned(value.to_owned())))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Loose<'de>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Loose<'de>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Loose::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(json: &str, int: Option<i64>, text: &str, flag: Option<bool>) {
        let loose: Loose<'_> = serde_json::from_str(json).unwrap();
        assert_eq!(loose.int(), int, "{json} as integer");
        assert_eq!(loose.text(), text, "{json} as text");
        assert_eq!(loose.flag(), flag, "{json} as flag");
    }

    #[test]
    fn a_value_is_read_whatever_type_it_was_written_in() {
        check("null", None, "", Some(false));
        check("17", Some(17), "17", Some(true));
        check("-3", Some(-3), "-3", Some(true));
        check("17.0", Some(17), "17", None);
        check("1.5", None, "1.5", None);
        check("18446744073709551615", None, "18446744073709552000", None);
        check(r#"" 17 ""#, Some(17), "17", None);
        check(r#""web-0""#, None, "web-0", None);
        check(r#""""#, None, "", Some(false));
        check(r#""True""#, None, "True", Some(true));
        check("true", None, "true", Some(true));
        check("false", None, "false", Some(false));
        check(r#"{"a":[1]}"#, None, "", None);
        check(r#"[{"a":1}]"#, None, "", None);
    }
}
