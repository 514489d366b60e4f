//! A long text field taken apart into what may be left out of it, and put together again.
//!
//! Parts are slices of the serialised text: what is kept stays byte for byte as it was.

use std::cmp::Reverse;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::model::Field;

/// kubectl's own copy of the object: by far the longest annotation, and of no use to a consumer.
const LAST_APPLIED: &str = "\"kubectl.kubernetes.io/last-applied-configuration\"";

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
pub(super) struct Part<'v> {
    /// Which of several lists it is in.
    list: usize,
    /// Key of an entry, with its quotes; empty for an element.
    pub key: &'v str,
    /// Value or element.
    pub text: &'v str,
}

/// A field taken apart into what may be left out.
pub(super) struct Parts<'v> {
    shape: Shape,
    /// Names of the lists, with their quotes.
    lists: Vec<&'v str>,
    parts: Vec<Part<'v>>,
}

impl<'v> Parts<'v> {
    /// Takes the text of a long field apart; `None` if it does not have the form this service writes.
    pub fn parse(field: Field, value: &'v str) -> Option<Self> {
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

    /// Leaves out the parts that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(&Part<'v>) -> bool) {
        self.parts.retain(keep);
    }

    /// Leaves out the biggest parts, of equal ones the last, until the rest takes `limit` bytes or
    /// nothing is left.
    pub fn shorten(&mut self, limit: usize) {
        let mut order: Vec<usize> = (0..self.parts.len()).collect();
        order.sort_by_key(|&index| {
            let part = &self.parts[index];
            Reverse((part.key == LAST_APPLIED, part.key.len() + part.text.len(), index))
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

    /// The text of what is kept.
    pub fn render(&self) -> String {
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
