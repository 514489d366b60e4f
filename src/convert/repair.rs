//! What is left out of a field that the CMDB refused or that is too long (design.md 5).
//!
//! A repair is a pure function of the unrepaired text: the same text gives the same repair on
//! every instance, at every start, so a repaired record compares equal to what the CMDB holds.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::{Field, FieldKind};

/// Bytes the CMDB takes in a long text field (protocol.md 2).
pub const LONG_TEXT_LIMIT: usize = 2000;
/// Code of a text that is too long (protocol.md 2).
const TOO_LONG: i64 = 1_199_015;
/// Code of a text that its pattern refuses (protocol.md 2).
const PATTERN: i64 = 1_199_016;
/// kubectl's own copy of the object: by far the longest annotation, and of no use to a consumer.
const LAST_APPLIED: &str = "\"kubectl.kubernetes.io/last-applied-configuration\"";

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

/// How a text is put together.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// `{"key":"value",…}`: labels and annotations.
    Entries,
    /// `[…]`: volumes, and containers of a taskgroup.
    List,
    /// `{"name":[…],…}`: containers of a Pod.
    Lists,
}

/// An entry or an element, as serialised.
struct Part<'v> {
    /// Which of several lists it is in.
    list: usize,
    /// Key of an entry, with its quotes; empty for an element.
    key: &'v str,
    /// Value or element.
    text: &'v str,
}

/// A field taken apart into what may be left out.
struct Parts<'v> {
    shape: Shape,
    /// Names of the lists, with their quotes.
    lists: Vec<&'v str>,
    parts: Vec<Part<'v>>,
}

impl<'v> Parts<'v> {
    /// `None` if the text does not have the form this service writes.
    fn parse(field: Field, value: &'v str) -> Option<Self> {
        let entries = matches!(field, Field::Labels | Field::Annotations);
        let mut taken = Self { shape: Shape::List, lists: Vec::new(), parts: Vec::new() };
        if entries {
            taken.shape = Shape::Entries;
            let Members(members) = serde_json::from_str(value).ok()?;
            taken.parts.extend(members.into_iter().map(|(key, text)| Part { list: 0, key, text }));
        } else if value.starts_with('{') {
            taken.shape = Shape::Lists;
            let Members(members) = serde_json::from_str(value).ok()?;
            for (list, (name, elements)) in members.into_iter().enumerate() {
                taken.lists.push(name);
                taken.push_elements(list, elements)?;
            }
        } else {
            taken.push_elements(0, value)?;
        }
        Some(taken)
    }

    fn push_elements(&mut self, list: usize, text: &'v str) -> Option<()> {
        let elements: Vec<&'v RawValue> = serde_json::from_str(text).ok()?;
        self.parts.extend(elements.into_iter().map(|element| Part { list, key: "", text: element.get() }));
        Some(())
    }

    fn retain(&mut self, keep: impl Fn(&Part<'v>) -> bool) {
        self.parts.retain(keep);
    }

    fn shorten(&mut self, limit: usize) {
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(|&index| {
            let part = &self.parts[index];
            std::cmp::Reverse((part.key == LAST_APPLIED, part.key.len() + part.text.len(), index))
        });
        let mut kept_in_list = vec![0_usize; self.lists.len().max(1)];
        for part in &self.parts {
            kept_in_list[part.list] += 1;
        }
        let mut size = self.render().len();
        let mut dropped = vec![false; self.parts.len()];
        for index in order {
            if size <= limit {
                break;
            }
            let part = &self.parts[index];
            let kept = &mut kept_in_list[part.list];
            *kept -= 1;
            size -= part.size() + usize::from(*kept > 0);
            dropped[index] = true;
        }
        let mut dropped = dropped.into_iter();
        self.parts.retain(|_| dropped.next() == Some(false));
    }

    fn render(&self) -> String {
        let mut out =
            String::with_capacity(self.parts.iter().map(|part| part.size() + 1).sum::<usize>() + 64);
        match self.shape {
            Shape::Entries => self.render_list(&mut out, 0, '{', '}'),
            Shape::List => self.render_list(&mut out, 0, '[', ']'),
            Shape::Lists => {
                out.push('{');
                for (list, name) in self.lists.iter().enumerate() {
                    if list > 0 {
                        out.push(',');
                    }
                    out.push_str(name);
                    out.push(':');
                    self.render_list(&mut out, list, '[', ']');
                }
                out.push('}');
            }
        }
        out
    }

    fn render_list(&self, out: &mut String, list: usize, open: char, close: char) {
        out.push(open);
        let mut first = true;
        for part in self.parts.iter().filter(|part| part.list == list) {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            if !part.key.is_empty() {
                out.push_str(part.key);
                out.push(':');
            }
            out.push_str(part.text);
        }
        out.push(close);
    }
}

impl Part<'_> {
    /// Bytes it takes in the text, without the comma.
    fn size(&self) -> usize {
        self.key.len() + usize::from(!self.key.is_empty()) + self.text.len()
    }
}

/// The members of an object as serialised, in their order.
struct Members<'v>(Vec<(&'v str, &'v str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Collect;
        impl<'de> Visitor<'de> for Collect {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((key, value)) = object.next_entry::<&RawValue, &RawValue>()? {
                    members.push((key.get(), value.get()));
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Collect)
    }
}
