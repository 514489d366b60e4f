//! Storage document to pod record (protocol.md 7 and 8), and the repair of records that the CMDB
//! refused (design.md 5).
//!
//! Pure: bytes in, plain data out. It knows what a Pod and a taskgroup look like and what the CMDB
//! wants; it knows nothing of connections, clusters' businesses or earlier versions of a pod.
//!
//! * `envelope`, `kubernetes`, `mesos`: what is read of a document, and the record made of it
//! * `read`: reading JSON so that a wrong type costs one member and never the pod
//! * `json`: writing the JSON texts some fields hold, the same text for the same content
//! * `mend`: a second chance for documents that are almost JSON
//! * `placement`: annotations to module
//! * `time`: RFC 3339 to the CMDB's local times
//! * `repair`: what to leave out of a field that was refused or is too long
//! * `parts`: such a field taken apart

mod envelope;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod json;
mod kubernetes;
mod mend;
mod mesos;
mod parts;
mod placement;
mod read;
pub mod repair;
mod time;

#[cfg(test)]
mod tests;

use std::borrow::Cow;
use std::fmt;

use jiff::tz::TimeZone;

use crate::config::Config;
use crate::model::{
    ClusterKind, DeletedPod, Field, FieldKind, Modules, Observation, ObservedPod, PodRecord, StorageKey,
};
use envelope::{Document, Envelope, Identified};
pub use repair::{Repairs, accounts_for};

/// The configuration a conversion depends on; keys of interface.md 2.
#[derive(Clone, Debug)]
pub struct Settings {
    /// `bk_cloud_id` of every record.
    pub cloud_id: i64,
    /// The zone of the CMDB's times.
    pub time_zone: TimeZone,
    /// Bytes of a long text field, 0: no limit.
    pub text_limit: usize,
    /// Set of a pod without matching annotations.
    pub default_set: String,
    /// Module of a pod without matching annotations.
    pub default_module: String,
}

impl From<&Config> for Settings {
    fn from(config: &Config) -> Self {
        Self {
            cloud_id: config.cloud_id,
            time_zone: config.time_zone.clone(),
            text_limit: config.text_limit,
            default_set: config.default_set.clone(),
            default_module: config.default_module.clone(),
        }
    }
}

/// Turns storage documents of one cluster into records. Immutable: threads may share it.
#[derive(Clone, Debug)]
pub struct Converter {
    kind: ClusterKind,
    settings: Settings,
}

/// A document no record can be made of, with as much of its identity as could be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct InvalidDocument {
    /// `_id` of the storage document.
    pub storage_id: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub name: String,
    /// What is wrong, for an operator.
    pub reason: String,
}

impl fmt::Display for InvalidDocument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { storage_id, namespace, name, reason } = self;
        write!(f, "document {storage_id:?} of pod {namespace:?}/{name:?} cannot be recorded: {reason}")
    }
}

/// Bytes of an identifier that an error repeats: Kubernetes names have at most 253.
const IDENTITY_LIMIT: usize = 256;
/// Bytes of a reason: a parser's message may quote its input.
const REASON_LIMIT: usize = 512;

impl Converter {
    /// A converter for the documents of a cluster of `kind`.
    pub fn new(kind: ClusterKind, settings: Settings) -> Self {
        Self { kind, settings }
    }

    /// The `field` parameter of a list page (protocol.md 1.1): what a record needs and no more, so
    /// that environments and conditions of a hundred thousand containers stay in the storage.
    pub fn projection(&self) -> &'static str {
        match self.kind {
            ClusterKind::K8s => kubernetes::PROJECTION,
            ClusterKind::Mesos => mesos::PROJECTION,
        }
    }

    /// Converts one storage document, from a listing, a point read or an event of type 1, 3 or 4.
    ///
    /// A member that is absent, null or of a wrong type makes its field empty. An error means that
    /// the pod has no identity, or that the bytes are no document of this cluster's kind.
    pub fn document(&self, json: &[u8], modules: &Modules) -> Result<Observation, InvalidDocument> {
        read_or_mend(json, |text| match self.kind {
            ClusterKind::K8s => self.observe::<kubernetes::Pod<'_>>(text, modules),
            ClusterKind::Mesos => self.observe::<mesos::Taskgroup<'_>>(text, modules),
        })
    }

    /// Reads the value of an event of type 2: the whole document, or only `_id` (protocol.md 1.3).
    pub fn deleted(&self, json: &[u8]) -> Result<DeletedPod, InvalidDocument> {
        read_or_mend(json, |text| self.deleted_pod(&Envelope::<Identified<'_>>::parse(text)?))
    }

    fn observe<'de, D: Document<'de>>(
        &self,
        text: &'de str,
        modules: &Modules,
    ) -> Result<Observation, InvalidDocument> {
        let envelope = Envelope::<D>::parse(text)?;
        if envelope.deleted == Some(true) {
            return self.deleted_pod(&envelope).map(Observation::Deleted);
        }
        self.living_pod(&envelope, modules).map(|pod| Observation::Pod(Box::new(pod)))
    }

    fn deleted_pod<'de, D: Document<'de>>(
        &self,
        envelope: &Envelope<'de, D>,
    ) -> Result<DeletedPod, InvalidDocument> {
        let deleted = DeletedPod {
            storage_id: envelope.storage_id.trim().to_owned(),
            namespace: envelope.namespace().to_owned(),
            name: envelope.name().to_owned(),
            uuid: self.uuid(envelope).to_owned(),
        };
        let named = !deleted.namespace.is_empty() && !deleted.name.is_empty();
        if deleted.storage_id.is_empty() && deleted.uuid.is_empty() && !named {
            return Err(envelope.invalid("the delete names no _id, no uid and no pod"));
        }
        Ok(deleted)
    }

    fn living_pod<'de, D: Document<'de>>(
        &self,
        envelope: &Envelope<'de, D>,
        modules: &Modules,
    ) -> Result<ObservedPod, InvalidDocument> {
        self.check_identity(envelope)?;
        let mut record = PodRecord::default();
        record.uuid = self.uuid(envelope).to_owned();
        record.namespace = envelope.namespace().to_owned();
        record.name = envelope.name().to_owned();
        record.module_id =
            placement::module_id(modules, &envelope.data.metadata().annotations, &self.settings);
        record.cloud_id = self.settings.cloud_id;
        record.set_text(Field::ClusterType, self.kind.as_str());
        envelope.data.fill(&mut record, &self.settings.time_zone);
        let shortened = self.limit_texts(&mut record);
        record.shrink();
        Ok(ObservedPod {
            storage_id: envelope.storage_id.trim().to_owned(),
            version: envelope.data.metadata().resource_version.trim().parse().ok(),
            scheduled: !record.text(Field::HostInnerIp).is_empty(),
            key: self.key(envelope)?,
            record,
            shortened,
        })
    }

    /// A key of the storage's own is kept as long as the pod, and asked for as it stands: it has the
    /// length of a name, or the end of the pod could never be told.
    fn key<'de, D: Document<'de>>(
        &self,
        envelope: &Envelope<'de, D>,
    ) -> Result<Option<Box<StorageKey>>, InvalidDocument> {
        let key = envelope.key();
        match key.as_ref().map(|key| key.namespace.len().max(key.name.len())) {
            Some(bytes) if bytes > IDENTITY_LIMIT => Err(envelope.invalid(&format!(
                "bcs-storage keeps it under a name of {bytes} bytes that is not the pod's, and {IDENTITY_LIMIT} \
                 are the most it can be asked for"
            ))),
            _ => Ok(key),
        }
    }

    /// Applies `text_limit`; returns the fields that lost something.
    fn limit_texts(&self, record: &mut PodRecord) -> Vec<Field> {
        let limit = self.settings.text_limit;
        let mut shortened = Vec::new();
        if limit == 0 {
            return shortened;
        }
        for field in Field::ALL.into_iter().filter(|field| field.kind() == FieldKind::Long) {
            if record.text(field).len() > limit {
                let text = repair::shorten(field, record.text(field), limit);
                record.set_text(field, text);
                shortened.push(field);
            }
        }
        shortened
    }

    /// What identifies the pod: the uid in Kubernetes, the name in Mesos (protocol.md 7).
    fn uuid<'e, 'de, D: Document<'de>>(&self, envelope: &'e Envelope<'de, D>) -> &'e str {
        match self.kind {
            ClusterKind::K8s => envelope.data.metadata().uid.trim(),
            ClusterKind::Mesos => envelope.name(),
        }
    }

    fn check_identity<'de, D: Document<'de>>(
        &self,
        envelope: &Envelope<'de, D>,
    ) -> Result<(), InvalidDocument> {
        let expected = self.kind.resource_type();
        let found = envelope.resource_type.trim();
        if !found.is_empty() && !found.eq_ignore_ascii_case(expected) {
            let cluster = self.kind.as_str();
            return Err(envelope.invalid(&format!(
                "it is a {found:?}, and a {cluster} cluster holds {expected:?} documents: \
                 check the kind of the cluster in the inventory"
            )));
        }
        let missing = if envelope.name().is_empty() {
            "neither metadata.name nor resourceName"
        } else if envelope.namespace().is_empty() {
            "neither metadata.namespace nor an envelope's namespace"
        } else if self.uuid(envelope).is_empty() {
            "no metadata.uid"
        } else {
            return Ok(());
        };
        Err(envelope.invalid(&format!("it has {missing}; the pod cannot be identified in the CMDB")))
    }
}

/// Reads a document, and where that fails once more after mending what JSON writers are known to
/// break; documents that are in order pay nothing for it.
fn read_or_mend<T>(
    json: &[u8],
    read: impl Fn(&str) -> Result<T, InvalidDocument>,
) -> Result<T, InvalidDocument> {
    // The strict check is several times as fast as the lossy one, and nearly always enough.
    let text = std::str::from_utf8(json).map_or_else(|_| String::from_utf8_lossy(json), Cow::Borrowed);
    read(&text).or_else(|invalid| mend::mended(&text).map_or(Err(invalid), |mended| read(&mended)))
}

/// The first `limit` bytes of `text`, whole characters.
fn cut(text: &str, limit: usize) -> String {
    let mut end = limit.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}
