//! Reading JSON into places that take what they know and skip everything else.
//!
//! Derived `Deserialize` fails a whole document for one wrong type or one repeated member. Here a
//! value of the wrong type leaves its place as it was, unknown members are skipped without being
//! kept, and of repeated members the last one counts. Texts are borrowed where they hold no escape.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// Somewhere in a document: overrides what it takes, skips the rest.
pub(super) trait Place<'de> {
    /// A text.
    fn text(&mut self, _: Cow<'de, str>) {}

    /// A boolean.
    fn flag(&mut self, _: bool) {}

    /// A number that is an integer.
    fn integer(&mut self, _: i64) {}

    /// Any other number.
    fn fraction(&mut self, _: f64) {}

    /// A list; must be read to its end.
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        while list.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    /// An object; must be read to its end.
    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        while object.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(())
    }
}

/// Reads the next value into a place.
pub(super) struct Fill<'p, P>(pub &'p mut P);

/// Integers up to here are the same as a double: some JSON writers know only those.
const EXACT_INTEGER: f64 = 9_007_199_254_740_992.0;

impl<'de, P: Place<'de>> DeserializeSeed<'de> for Fill<'_, P> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, P: Place<'de>> Visitor<'de> for Fill<'_, P> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, flag: bool) -> Result<(), E> {
        self.0.flag(flag);
        Ok(())
    }

    fn visit_i64<E>(self, number: i64) -> Result<(), E> {
        self.0.integer(number);
        Ok(())
    }

    fn visit_u64<E>(self, number: u64) -> Result<(), E> {
        match i64::try_from(number) {
            Ok(number) => self.0.integer(number),
            Err(_) => self.0.fraction(number as f64),
        }
        Ok(())
    }

    fn visit_f64<E>(self, number: f64) -> Result<(), E> {
        if number.fract() == 0.0 && number.abs() < EXACT_INTEGER {
            self.0.integer(number as i64);
        } else {
            self.0.fraction(number);
        }
        Ok(())
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<(), E> {
        self.0.text(Cow::Borrowed(text));
        Ok(())
    }

    fn visit_str<E>(self, text: &str) -> Result<(), E> {
        self.0.text(Cow::Owned(text.to_owned()));
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<(), A::Error> {
        self.0.list(list)
    }

    fn visit_map<A: MapAccess<'de>>(self, object: A) -> Result<(), A::Error> {
        self.0.object(object)
    }
}

impl<'de> Place<'de> for Cow<'de, str> {
    fn text(&mut self, text: Cow<'de, str>) {
        *self = text;
    }
}

impl<'de> Place<'de> for Option<Cow<'de, str>> {
    fn text(&mut self, text: Cow<'de, str>) {
        *self = Some(text);
    }
}

impl Place<'_> for Option<bool> {
    fn flag(&mut self, flag: bool) {
        *self = Some(flag);
    }
}

impl Place<'_> for Option<i64> {
    fn integer(&mut self, number: i64) {
        *self = Some(number);
    }
}

/// The objects of a list; elements that are no object are left out.
#[derive(Debug, Default)]
pub(super) struct Objects<T>(pub Vec<T>);

/// An element of [`Objects`], which remembers whether it was one.
struct Element<T> {
    object: Option<T>,
}

impl<'de, T: Place<'de> + Default> Place<'de> for Element<T> {
    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        self.object.insert(T::default()).object(object)
    }
}

impl<'de, T: Place<'de> + Default> Place<'de> for Objects<T> {
    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        self.0.clear();
        let mut element = Element { object: None };
        while list.next_element_seed(Fill(&mut element))?.is_some() {
            self.0.extend(element.object.take());
        }
        Ok(())
    }
}

/// The texts of an object: labels and annotations. Members of another type are left out.
#[derive(Debug, Default)]
pub(super) struct Texts<'de> {
    entries: Vec<(Cow<'de, str>, Cow<'de, str>)>,
}

impl<'de> Texts<'de> {
    /// The text of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        let entry = self.entries.binary_search_by(|(known, _)| known.as_ref().cmp(key)).ok()?;
        Some(&self.entries[entry].1)
    }

    /// Keys, sorted and each once, and their texts.
    pub fn entries(&self) -> &[(Cow<'de, str>, Cow<'de, str>)] {
        &self.entries
    }
}

impl<'de> Place<'de> for Texts<'de> {
    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        self.entries.clear();
        let mut key = Cow::Borrowed("");
        while object.next_key_seed(Fill(&mut key))?.is_some() {
            let mut text = None;
            object.next_value_seed(Fill(&mut text))?;
            if let Some(text) = text {
                self.entries.push((std::mem::take(&mut key), text));
            }
        }
        sort_last_wins(&mut self.entries);
        Ok(())
    }
}

/// Sorts members by key; of equal keys the one read last stays.
pub(super) fn sort_last_wins<T>(members: &mut Vec<(Cow<'_, str>, T)>) {
    if members.is_sorted_by(|(left, _), (right, _)| left < right) {
        return;
    }
    members.reverse();
    members.sort_by(|(left, _), (right, _)| left.cmp(right));
    members.dedup_by(|(later, _), (kept, _)| later == kept);
}

/// Makes a struct a [`Place`] for an object: which member of the document goes to which of its own.
macro_rules! place_for_object {
    ([$($generics:tt)*] $type:ty { $($name:literal => $member:ident),* $(,)? }) => {
        impl<'de, $($generics)*> crate::convert::read::Place<'de> for $type {
            fn object<A: serde::de::MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
                let mut name = std::borrow::Cow::Borrowed("");
                while object.next_key_seed(crate::convert::read::Fill(&mut name))?.is_some() {
                    match name.as_ref() {
                        $($name => object.next_value_seed(crate::convert::read::Fill(&mut self.$member))?,)*
                        _ => { object.next_value::<serde::de::IgnoredAny>()?; }
                    }
                }
                Ok(())
            }
        }
    };
}

pub(super) use place_for_object;
