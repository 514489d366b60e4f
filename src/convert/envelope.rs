//! What bcs-storage puts around every document (protocol.md 1.1), and the `metadata` both kinds
//! share (protocol.md 7).

use std::borrow::Cow;

use jiff::tz::TimeZone;
use serde::de::DeserializeSeed;

use super::read::{Fill, Objects, Place, Texts, place_for_object};
use super::{IDENTITY_LIMIT, InvalidDocument, REASON_LIMIT, cut};
use crate::model::{PodRecord, StorageKey};

/// The `data` of a storage document.
pub(super) trait Document<'de>: Place<'de> + Default {
    /// `data.metadata`.
    fn metadata(&self) -> &Metadata<'de>;

    /// Writes the fields of protocol.md 8 that depend on the kind of the pod.
    fn fill(&self, record: &mut PodRecord, time_zone: &TimeZone);
}

/// A storage document.
#[derive(Default)]
pub(super) struct Envelope<'de, D> {
    /// `_id`.
    pub storage_id: Cow<'de, str>,
    /// `resourceType`.
    pub resource_type: Cow<'de, str>,
    /// `_isBcsObjectDeleted`, of the new generation's soft delete.
    pub deleted: Option<bool>,
    /// The pod.
    pub data: D,
    namespace: Cow<'de, str>,
    name: Cow<'de, str>,
}

impl<'de, D: Document<'de>> Envelope<'de, D> {
    /// Reads a document. An error tells the identity as far as it was read.
    pub fn parse(text: &'de str) -> Result<Self, InvalidDocument> {
        let mut envelope = Self::default();
        let mut json = serde_json::Deserializer::from_str(text);
        match Fill(&mut envelope).deserialize(&mut json).and_then(|()| json.end()) {
            Err(error) => Err(envelope.invalid(&format!("it is not JSON: {error}"))),
            Ok(()) if !text.trim_start().starts_with('{') => Err(envelope.invalid("it is no JSON object")),
            Ok(()) => Ok(envelope),
        }
    }

    /// The pod's own namespace, else the storage's.
    pub fn namespace(&self) -> &str {
        first_text(&self.data.metadata().namespace, &self.namespace)
    }

    /// The pod's own name, else the storage's.
    pub fn name(&self) -> &str {
        first_text(&self.data.metadata().name, &self.name)
    }

    /// Where bcs-storage keeps the document, if that is not where the pod's own names lead. As it
    /// stands: trimmed it would be another one's. What the envelope leaves out is taken from the pod.
    pub fn key(&self) -> Option<Box<StorageKey>> {
        let pods = (self.namespace(), self.name());
        let own = (not_empty(&self.namespace, pods.0), not_empty(&self.name, pods.1));
        let key = || Box::new(StorageKey { namespace: own.0.to_owned(), name: own.1.to_owned() });
        (own != pods).then(key)
    }

    /// The error that this document is invalid.
    pub fn invalid(&self, reason: &str) -> InvalidDocument {
        InvalidDocument {
            storage_id: cut(&self.storage_id, IDENTITY_LIMIT),
            namespace: cut(self.namespace(), IDENTITY_LIMIT),
            name: cut(self.name(), IDENTITY_LIMIT),
            reason: cut(reason, REASON_LIMIT),
        }
    }
}

fn not_empty<'a>(first: &'a str, second: &'a str) -> &'a str {
    if first.is_empty() { second } else { first }
}

fn first_text<'a>(first: &'a str, second: &'a str) -> &'a str {
    match first.trim() {
        "" => second.trim(),
        text => text,
    }
}

place_for_object! {
    [D: Document<'de>] Envelope<'de, D> {
        "_id" => storage_id,
        "namespace" => namespace,
        "resourceName" => name,
        "resourceType" => resource_type,
        "_isBcsObjectDeleted" => deleted,
        "data" => data,
    }
}

/// `data.metadata`; a taskgroup has no uid, version, deletion or owners.
#[derive(Default)]
pub(super) struct Metadata<'de> {
    pub name: Cow<'de, str>,
    pub namespace: Cow<'de, str>,
    pub uid: Cow<'de, str>,
    pub resource_version: Cow<'de, str>,
    pub created: Cow<'de, str>,
    pub deletion: Cow<'de, str>,
    pub labels: Texts<'de>,
    pub annotations: Texts<'de>,
    pub owners: Objects<Owner<'de>>,
}

place_for_object! {
    [] Metadata<'de> {
        "name" => name,
        "namespace" => namespace,
        "uid" => uid,
        "resourceVersion" => resource_version,
        "creationTimestamp" => created,
        "deletionTimestamp" => deletion,
        "labels" => labels,
        "annotations" => annotations,
        "ownerReferences" => owners,
    }
}

/// An element of `metadata.ownerReferences`.
#[derive(Default)]
pub(super) struct Owner<'de> {
    pub kind: Cow<'de, str>,
    pub name: Cow<'de, str>,
    pub controller: Option<bool>,
}

place_for_object! {
    [] Owner<'de> { "kind" => kind, "name" => name, "controller" => controller }
}

/// The part of either kind's `data` that says which pod it is: all that a delete needs.
#[derive(Default)]
pub(super) struct Identified<'de> {
    metadata: Metadata<'de>,
}

place_for_object! {
    [] Identified<'de> { "metadata" => metadata }
}

impl<'de> Document<'de> for Identified<'de> {
    fn metadata(&self) -> &Metadata<'de> {
        &self.metadata
    }

    fn fill(&self, _: &mut PodRecord, _: &TimeZone) {}
}
