//! One document of the simulated bcs-storage and how it looks on the wire (protocol.md 1.1, 1.3).

use super::projection::Projection;
use crate::model::ClusterKind;
use jiff::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;
use std::sync::Arc;

/// The flag of a soft-deleted document.
pub(super) const DELETED_FLAG: &str = "_isBcsObjectDeleted";

/// A document: the envelope bcs-storage keeps around a pod.
#[derive(Clone, Debug)]
pub struct Document {
    /// `_id`, 24 hexadecimal digits.
    pub id: String,
    /// `clusterId`.
    pub cluster: String,
    /// Decides `resourceType`.
    pub kind: ClusterKind,
    /// `namespace`, from the pod.
    pub namespace: String,
    /// `resourceName`, from the pod.
    pub name: String,
    /// The pod itself.
    pub data: Arc<Value>,
    /// When the storage first had a document of this `_id`.
    pub created: Timestamp,
    /// When it was last written.
    pub updated: Timestamp,
    /// `_isBcsObjectDeleted`; `None` where the document never had that member.
    pub deleted: Option<bool>,
}

impl Document {
    /// The document as a listing without a projection shows it.
    pub fn to_json(&self) -> Vec<u8> {
        let shown = Shown { document: self, projection: &Projection::Whole, style: Style::Listing };
        let mut bytes = Vec::new();
        append(&mut bytes, &shown);
        bytes
    }

    /// The member at a dotted path, for the equality conditions of `extra`.
    pub(super) fn matches(&self, path: &str, expected: &Value) -> bool {
        let text = |own: &str| expected.as_str() == Some(own);
        match path.split_once('.') {
            None => match path {
                "_id" => text(&self.id),
                "clusterId" => text(&self.cluster),
                "namespace" => text(&self.namespace),
                "resourceName" => text(&self.name),
                "resourceType" => text(self.kind.resource_type()),
                "data" => *self.data == *expected,
                _ => false,
            },
            Some(("data", rest)) => holds(&self.data, rest, expected),
            Some(_) => false,
        }
    }
}

/// Whether some value at `path` equals `expected`; arrays on the way match by any element.
fn holds(value: &Value, path: &str, expected: &Value) -> bool {
    if let Value::Array(items) = value {
        return items.iter().any(|item| holds(item, path, expected));
    }
    let (first, rest) = path.split_once('.').map_or((path, None), |(first, rest)| (first, Some(rest)));
    match (value.get(first), rest) {
        (Some(inner), Some(rest)) => holds(inner, rest, expected),
        (Some(inner), None) => inner == expected,
        (None, _) => false,
    }
}

/// Listings and events write times differently.
#[derive(Clone, Copy)]
pub(super) enum Style {
    /// `2006-01-02 15:04:05`.
    Listing,
    /// RFC 3339.
    Event,
}

/// A document on its way out.
pub(super) struct Shown<'a> {
    pub(super) document: &'a Document,
    pub(super) projection: &'a Projection,
    pub(super) style: Style,
}

impl Shown<'_> {
    fn time(&self, time: Timestamp) -> String {
        match self.style {
            Style::Listing => time.strftime("%Y-%m-%d %H:%M:%S").to_string(),
            Style::Event => time.to_string(),
        }
    }
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let document = self.document;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("_id", &document.id)?;
        for (name, text) in [
            ("clusterId", document.cluster.as_str()),
            ("namespace", &document.namespace),
            ("resourceType", document.kind.resource_type()),
            ("resourceName", &document.name),
        ] {
            if self.projection.member(name).is_some() {
                map.serialize_entry(name, text)?;
            }
        }
        for (name, time) in [("createTime", document.created), ("updateTime", document.updated)] {
            if self.projection.member(name).is_some() {
                map.serialize_entry(name, &self.time(time))?;
            }
        }
        if let (Some(deleted), Some(_)) = (document.deleted, self.projection.member(DELETED_FLAG)) {
            map.serialize_entry(DELETED_FLAG, &deleted)?;
        }
        if let Some(data) = self.projection.member("data").and_then(|inner| inner.of(&document.data)) {
            map.serialize_entry("data", &data)?;
        }
        map.end()
    }
}

/// Appends `value` as JSON. Only writing to a full disk could fail, and this is memory.
pub(super) fn append(bytes: &mut Vec<u8>, value: &impl Serialize) {
    let _ = serde_json::to_writer(bytes, value);
}
