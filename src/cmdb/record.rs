//! A record as `findmany` returns it (protocol.md 2), read with patience: what another writer put
//! there must never make a whole cluster unreadable.

use crate::http::Loose;
use crate::model::{Field, PodRecord};
use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use std::fmt;

/// The instance id, by which listings are paged.
pub(super) const POD_ID: &str = "bk_pod_id";

/// A record in the CMDB.
#[derive(Clone, Debug, PartialEq, Eq)]
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
    /// `bk_pod_cluster`.
    pub(super) cluster: String,
    /// Everything else.
    pub(super) record: PodRecord,
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

impl<'de> Deserialize<'de> for WireRecord {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(RecordVisitor)
    }
}

struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = WireRecord;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a pod record")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<WireRecord, A::Error> {
        let mut wire = WireRecord::default();
        while let Some(key) = map.next_key::<Key>()? {
            if let Key::Unknown = key {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let value: Loose<'_> = map.next_value()?;
            match key {
                Key::PodId => wire.pod_id = value.int().filter(|id| *id > 0),
                Key::Biz => wire.biz = value.int(),
                Key::Cluster => wire.cluster = value.into_text(),
                Key::Uuid => wire.record.uuid = value.into_text(),
                Key::Namespace => wire.record.namespace = value.into_text(),
                Key::Name => wire.record.name = value.into_text(),
                Key::Field(Field::ModuleId) => wire.record.module_id = value.int().unwrap_or_default(),
                Key::Field(Field::CloudId) => wire.record.cloud_id = value.int().unwrap_or_default(),
                Key::Field(field) => wire.record.set_text(field, value.text()),
                Key::Unknown => {}
            }
        }
        Ok(wire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> WireRecord {
        serde_json::from_str(json).unwrap()
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
            assert_eq!(read(json).record, expected, "{json}");
        }
    }

    #[test]
    fn numbers_and_texts_are_read_in_either_type() {
        let wire = read(
            r#"{"bk_pod_id":"17","bk_biz_id":2.0,"bk_module_id":"41","bk_cloud_id":3,"bk_pod_name":7,
                "bk_pod_cluster":"BCS-K8S-1","bk_pod_status":" Running ","create_time":{"x":[]}}"#,
        );
        assert_eq!((wire.pod_id, wire.biz, wire.cluster.as_str()), (Some(17), Some(2), "BCS-K8S-1"));
        assert_eq!((wire.record.module_id, wire.record.cloud_id), (41, 3));
        assert_eq!(wire.record.name, "7");
        assert_eq!(wire.record.text(Field::Status), "Running");
    }

    #[test]
    fn an_id_that_pages_nothing_is_no_id() {
        for json in [r#"{}"#, r#"{"bk_pod_id":0}"#, r#"{"bk_pod_id":-1}"#, r#"{"bk_pod_id":"x"}"#] {
            assert_eq!(read(json).pod_id, None, "{json}");
        }
    }
}
