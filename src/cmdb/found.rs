//! The list in an answer of `findmany`, record by record: a page of 500 takes the memory of one.

use super::answer::parse_with;
use super::record::{Refill, WireRecord};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Takes each record, and says what is wrong with it.
pub(super) type OnRecord<'a> = dyn FnMut(&mut WireRecord) -> Result<(), String> + 'a;

/// Count and number of the records of a list, of which `on_record` gets each until it finds fault
/// with one. No records only where the count does not contradict.
pub(super) fn found(
    data: Option<&RawValue>,
    on_record: &mut OnRecord<'_>,
) -> Result<(Option<usize>, usize), String> {
    let mut list = List { count: None, records: None, fault: None, wire: WireRecord::default(), on_record };
    parse_with(data, &mut list)?;
    match (list.fault, list.count, list.records) {
        (Some(fault), ..) => Err(fault),
        (None, None, None) => Err("data has neither count nor info".to_owned()),
        (None, Some(count), None | Some(0)) if count > 0 => {
            Err(format!("a list of {count} records has none"))
        }
        (None, count, records) => Ok((count, records.unwrap_or(0))),
    }
}

struct List<'r, 'f> {
    count: Option<usize>,
    /// Records so far, once there is a list.
    records: Option<usize>,
    fault: Option<String>,
    /// Used again for each record.
    wire: WireRecord,
    on_record: &'r mut OnRecord<'f>,
}

impl<'de> DeserializeSeed<'de> for &mut List<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("count and info")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = [false; 2];
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let known = ["count", "info"].iter().position(|name| *name == key);
            if let Some(index) = known
                && std::mem::replace(&mut seen[index], true)
            {
                return Err(A::Error::custom(format_args!("`{key}` stands there twice")));
            }
            match known {
                Some(0) => self.count = map.next_value()?,
                Some(_) => map.next_value_seed(Info(self))?,
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

/// The list itself, or `null`.
struct Info<'l, 'r, 'f>(&'l mut List<'r, 'f>);

impl<'de> DeserializeSeed<'de> for Info<'_, '_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Info<'_, '_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of records")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut records: A) -> Result<(), A::Error> {
        let List { records: count, fault, wire, on_record, .. } = self.0;
        let count = count.insert(0);
        while records.next_element_seed(Refill(wire))?.is_some() {
            *count += 1;
            if fault.is_none() {
                *fault = on_record(wire).err();
            }
        }
        Ok(())
    }
}
