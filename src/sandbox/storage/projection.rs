//! The `field` parameter of a listing: a projection as MongoDB does it (protocol.md 1.1).

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};
use serde_json::Value;
use std::collections::BTreeMap;

/// Which parts of a document a listing shows.
#[derive(Debug)]
pub(super) enum Projection {
    /// Everything from here on.
    Whole,
    /// These members only.
    Members(BTreeMap<String, Projection>),
}

impl Projection {
    /// Reads comma separated dotted paths; none: the whole document. Two paths of which one
    /// contains the other are refused, as MongoDB 4.4 and later refuse them.
    pub(super) fn parse(fields: &str) -> Result<Self, String> {
        let mut root = BTreeMap::new();
        for path in fields.split(',').map(str::trim).filter(|path| !path.is_empty()) {
            insert(&mut root, path, path)?;
        }
        Ok(if root.is_empty() { Self::Whole } else { Self::Members(root) })
    }

    /// The projection of one member; `None`: it is left out.
    pub(super) fn member(&self, name: &str) -> Option<&Self> {
        match self {
            Self::Whole => Some(self),
            Self::Members(members) => members.get(name),
        }
    }

    /// `value` seen through this projection; `None` where nothing of it is left: a path that
    /// leads into a scalar.
    pub(super) fn of<'a>(&'a self, value: &'a Value) -> Option<Projected<'a>> {
        match (self, value) {
            (Self::Whole, _) | (_, Value::Object(_) | Value::Array(_)) => {
                Some(Projected { projection: self, value })
            }
            _ => None,
        }
    }
}

fn insert(members: &mut BTreeMap<String, Projection>, path: &str, whole: &str) -> Result<(), String> {
    let collision = || format!("Path collision at {whole:.80}");
    match path.split_once('.') {
        None => match members.insert(path.to_owned(), Projection::Whole) {
            Some(Projection::Members(_)) => Err(collision()),
            _ => Ok(()),
        },
        Some((first, rest)) => {
            let next = members.entry(first.to_owned());
            match next.or_insert_with(|| Projection::Members(BTreeMap::new())) {
                Projection::Members(inner) => insert(inner, rest, whole),
                Projection::Whole => Err(collision()),
            }
        }
    }
}

/// A value seen through a projection, written without a copy of it.
pub(super) struct Projected<'a> {
    projection: &'a Projection,
    value: &'a Value,
}

impl Serialize for Projected<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match (self.projection, self.value) {
            (Projection::Members(_), Value::Object(object)) => {
                let mut map = serializer.serialize_map(None)?;
                for (name, value) in object {
                    let shown = self.projection.member(name).and_then(|inner| inner.of(value));
                    if let Some(shown) = shown {
                        map.serialize_entry(name, &shown)?;
                    }
                }
                map.end()
            }
            (Projection::Members(_), Value::Array(items)) => {
                let mut list = serializer.serialize_seq(None)?;
                for shown in items.iter().filter_map(|item| self.projection.of(item)) {
                    list.serialize_element(&shown)?;
                }
                list.end()
            }
            (_, value) => value.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(fields: &str, expected: Value) {
        let value =
            json!({"a": 1, "b": {"c": 2, "d": null}, "l": [{"x": 1, "y": 2}, 5, [{"x": 3}]], "n": null});
        let projection = Projection::parse(fields).unwrap();
        let seen = serde_json::to_value(projection.of(&value).unwrap()).unwrap();
        assert_eq!(seen, expected, "{fields}");
    }

    #[test]
    fn paths_reach_through_objects_and_arrays_and_drop_the_rest() {
        check("a", json!({"a": 1}));
        check("a,b.c", json!({"a": 1, "b": {"c": 2}}));
        check("l.x", json!({"l": [{"x": 1}, [{"x": 3}]]}));
        check("b.d,n", json!({"b": {"d": null}, "n": null}));
        check("b.z", json!({"b": {}}));
    }

    #[test]
    fn a_path_into_a_scalar_or_a_missing_member_shows_nothing() {
        check("a.deeper,n.deeper,missing", json!({}));
    }

    #[test]
    fn paths_that_contain_each_other_are_refused() {
        for fields in ["a,a.b", "a.b,a", "a.b.c,a.b"] {
            assert!(Projection::parse(fields).is_err(), "{fields}");
        }
        assert!(Projection::parse("a.b,a.b").is_ok());
    }
}
