//! A record as `findmany` returns it (protocol.md 2), read with patience: what another writer put
//! there must never make a whole cluster unreadable.

use crate::http::Loose;
use crate::model::{Field, PodRecord};
use serde::de::{Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The instance id, by which listings are paged.
pub(super) const POD_ID: &str = "bk_pod_id";

/// A record in the CMDB.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredRecord {
    /// `bk_pod_id`.
    pub pod_id: i64,
    /// The business it was found in.
    pub biz: i64,
    /// `bk_pod_cluster`.
    pub cluster: String,
    /// Everything else.
    pub record: PodRecord,
}

/// A record with what its page says about it. Absent parts are empty.
#[derive(Debug, Default)]
pub(super) struct WireRecord {
    /// `bk_pod_id`, if it is a positive integer.
    pub(super) pod_id: Option<i64>,
    /// `bk_biz_id`, if it says one.
    pub(super) biz: Option<i64>,
    /// `bk_pod_cluster` and everything else; its ids are those of the page.
    pub(super) stored: StoredRecord,
}

impl WireRecord {
    fn clear(&mut self) {
        (self.pod_id, self.biz) = (None, None);
        self.stored.cluster.clear();
        self.stored.record.clear();
    }
}

/// A key of a record.
enum Key {
    PodId,
    Biz,
    Cluster,
    Uuid,
    Namespace,
    Name,
    Field(Field),
    Unknown,
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_identifier(KeyVisitor)
    }
}

struct KeyVisitor;

impl Visitor<'_> for KeyVisitor {
    type Value = Key;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Key, E> {
        Ok(match name {
            POD_ID => Key::PodId,
            "bk_biz_id" => Key::Biz,
            "bk_pod_cluster" => Key::Cluster,
            "bk_pod_uuid" => Key::Uuid,
            "bk_pod_namespace" => Key::Namespace,
            "bk_pod_name" => Key::Name,
            _ => Field::from_name(name).map_or(Key::Unknown, Key::Field),
        })
    }
}

/// Reads the next record into a place that is used again: a page of them takes the memory of one.
pub(super) struct Refill<'r>(pub(super) &'r mut WireRecord);

impl<'de> DeserializeSeed<'de> for Refill<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.clear();
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Refill<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pod record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let WireRecord { pod_id, biz, stored } = self.0;
        let record = &mut stored.record;
        while let Some(key) = map.next_key::<Key>()? {
            if let Key::Unknown = key {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: Loose<'_> = map.next_value()?;
            match key {
                Key::PodId => *pod_id = value.int().filter(|id| *id > 0),
                Key::Biz => *biz = value.int(),
                Key::Cluster => set(&mut stored.cluster, &value),
                Key::Uuid => set(&mut record.uuid, &value),
                Key::Namespace => set(&mut record.namespace, &value),
                Key::Name => set(&mut record.name, &value),
                Key::Field(Field::ModuleId) => record.module_id = value.int().unwrap_or_default(),
                Key::Field(Field::CloudId) => record.cloud_id = value.int().unwrap_or_default(),
                Key::Field(field) => record.set_text(field, value.text()),
                Key::Unknown => {}
            }
        }
        Ok(())
    }
}

/// An identity is taken as it stands there; only what is no text is put into words.
fn set(place: &mut String, value: &Loose<'_>) {
    place.clear();
    match value {
        Loose::Text(text) => place.push_str(text),
        other => place.push_str(&other.text()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Read into a place that held another record.
    fn read(json: &str) -> WireRecord {
        let mut wire = WireRecord::default();
        for text in [
            r#"{"bk_pod_id":5,"bk_biz_id":6,"bk_pod_cluster":"other","bk_pod_uuid":"other",
            "bk_module_id":7,"bk_pod_ip":"10.0.0.7"}"#,
            json,
        ] {
            Refill(&mut wire).deserialize(&mut serde_json::Deserializer::from_str(text)).unwrap();
        }
        wire
    }

    #[test]
    fn null_empty_and_missing_are_one_value() {
        let mut expected = PodRecord::default();
        expected.uuid = "u".to_owned();
        for json in [
            r#"{"bk_pod_uuid":"u"}"#,
            r#"{"bk_pod_uuid":"u","bk_pod_ip":"","bk_module_id":""}"#,
            r#"{"bk_pod_uuid":"u","bk_pod_ip":null,"bk_module_id":null}"#,
            r#"{"bk_pod_uuid":"u","bk_pod_ip":{"a":1},"bk_module_id":[]}"#,
        ] {
            assert_eq!(read(json).stored.record, expected, "{json}");
        }
    }

    #[test]
    fn numbers_and_texts_are_read_in_either_type() {
        let wire = read(
            r#"{"bk_pod_id":"17","bk_biz_id":2.0,"bk_module_id":"41","bk_cloud_id":3,"bk_pod_name":7,
                "bk_pod_cluster":"BCS-K8S-1","bk_pod_status":" Running ","create_time":{"x":[]}}"#,
        );
        assert_eq!((wire.pod_id, wire.biz, wire.stored.cluster.as_str()), (Some(17), Some(2), "BCS-K8S-1"));
        let record = wire.stored.record;
        assert_eq!((record.module_id, record.cloud_id), (41, 3));
        assert_eq!(record.name, "7");
        assert_eq!(record.text(Field::Status), "Running");
    }

    #[test]
    fn an_id_that_pages_nothing_is_no_id() {
        for json in [r#"{}"#, r#"{"bk_pod_id":0}"#, r#"{"bk_pod_id":-1}"#, r#"{"bk_pod_id":"x"}"#] {
            assert_eq!(read(json).pod_id, None, "{json}");
        }
    }
}
