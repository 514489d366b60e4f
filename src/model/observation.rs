//! What one storage document or event says about a pod.

use super::{Field, PodRecord};

/// A storage document, converted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// The pod exists and looks like this.
    Pod(Box<ObservedPod>),
    /// The document is flagged as deleted, or an event says it is. A hint, never a proof
    /// (design.md 3, rule 4).
    Deleted(DeletedPod),
}

/// A living pod as bcs-storage holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedPod {
    /// `_id` of the storage document; may be empty, may outlive the pod (protocol.md 1.1).
    pub storage_id: String,
    /// `metadata.resourceVersion`; `None` where there is none or it is not a number
    /// (protocol.md 7: then every document counts as newer).
    pub version: Option<u64>,
    /// The record the CMDB should hold. `Field::ModuleId` is 0 while the business has no module
    /// for it.
    pub record: PodRecord,
    /// Whether the pod has a host. Without one it cannot be recorded yet (protocol.md 8).
    pub scheduled: bool,
    /// Fields that `text_limit` shortened.
    pub shortened: Vec<Field>,
    /// Where bcs-storage keeps the document, if that is not the namespace and name of the record.
    pub key: Option<Box<StorageKey>>,
}

/// What bcs-storage is asked for a document by: its own `namespace` and `resourceName`
/// (protocol.md 1.2), which need not be those of the pod in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageKey {
    /// `namespace`.
    pub namespace: String,
    /// `resourceName`.
    pub name: String,
}

/// What a delete tells about the pod. The old generation sends `_id` only (protocol.md 1.3):
/// unknown parts are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeletedPod {
    /// `_id` of the storage document.
    pub storage_id: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// Identity of the pod in the document that came along: after a quick recreation this is
    /// the living one.
    pub uuid: String,
}
