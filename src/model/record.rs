//! The CMDB pod record (protocol.md 8) as this service compares and writes it.

use std::fmt;

/// How a field is typed and limited in the CMDB (protocol.md 2, field rules).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldKind {
    /// An integer.
    Int,
    /// Text of at most 256 bytes.
    Char,
    /// Text of at most 2000 bytes.
    Long,
    /// An IPv4 address as text.
    Ip,
    /// `YYYY-MM-DD HH:MM:SS`.
    Time,
}

/// Every field of a record that may differ between two versions of one pod, in table order.
///
/// Not among them: what identifies the record (`bk_biz_id`, `bk_pod_cluster`, `bk_pod_uuid`,
/// `bk_pod_namespace`, `bk_pod_name`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs)] // The names are the CMDB's own, see `Field::name`.
pub enum Field {
    ModuleId,
    CloudId,
    HostInnerIp,
    WorkloadType,
    WorkloadName,
    ClusterType,
    Labels,
    Annotations,
    PodIp,
    NetworkMode,
    NetworkType,
    Containers,
    Volumes,
    Status,
    CreateTime,
    StartTime,
}

/// Bytes of all texts of nearly every record.
const USUAL_TEXTS: usize = 2048;
/// Number of [`Field`]s.
pub const FIELD_COUNT: usize = 16;

impl Field {
    /// All fields, in table order.
    pub const ALL: [Self; FIELD_COUNT] = [
        Self::ModuleId,
        Self::CloudId,
        Self::HostInnerIp,
        Self::WorkloadType,
        Self::WorkloadName,
        Self::ClusterType,
        Self::Labels,
        Self::Annotations,
        Self::PodIp,
        Self::NetworkMode,
        Self::NetworkType,
        Self::Containers,
        Self::Volumes,
        Self::Status,
        Self::CreateTime,
        Self::StartTime,
    ];

    /// The CMDB's name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ModuleId => "bk_module_id",
            Self::CloudId => "bk_cloud_id",
            Self::HostInnerIp => "bk_host_innerip",
            Self::WorkloadType => "bk_pod_workloadtype",
            Self::WorkloadName => "bk_pod_workloadname",
            Self::ClusterType => "bk_pod_clustertype",
            Self::Labels => "bk_pod_labels",
            Self::Annotations => "bk_pod_annotations",
            Self::PodIp => "bk_pod_ip",
            Self::NetworkMode => "bk_pod_networkmode",
            Self::NetworkType => "bk_pod_networktype",
            Self::Containers => "bk_pod_containers",
            Self::Volumes => "bk_pod_volumes",
            Self::Status => "bk_pod_status",
            Self::CreateTime => "bk_pod_create_time",
            Self::StartTime => "bk_pod_start_time",
        }
    }

    /// The field of that CMDB name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// Type and limit.
    pub const fn kind(self) -> FieldKind {
        match self {
            Self::ModuleId | Self::CloudId => FieldKind::Int,
            Self::HostInnerIp | Self::PodIp => FieldKind::Ip,
            Self::Labels | Self::Annotations | Self::Containers | Self::Volumes => FieldKind::Long,
            Self::CreateTime | Self::StartTime => FieldKind::Time,
            _ => FieldKind::Char,
        }
    }

    /// Whether the CMDB refuses a record without it. `bk_host_innerip` was required by an
    /// earlier server only.
    pub const fn required(self) -> bool {
        matches!(self, Self::ModuleId | Self::CloudId | Self::WorkloadType | Self::WorkloadName)
    }

    /// Whether the CMDB promises that an update may change it.
    pub const fn mutable(self) -> bool {
        !matches!(self, Self::WorkloadType | Self::WorkloadName | Self::ClusterType | Self::CreateTime)
    }

    const fn text_index(self) -> usize {
        self as usize - 2
    }
}

/// One pod record, without the business and the cluster, which the reconciler knows.
///
/// A text that is empty is absent: the CMDB's `null`, `""` and a missing key are one value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PodRecord {
    /// `bk_pod_uuid`.
    pub uuid: String,
    /// `bk_pod_namespace`.
    pub namespace: String,
    /// `bk_pod_name`.
    pub name: String,
    /// `bk_module_id`; 0: none.
    pub module_id: i64,
    /// `bk_cloud_id`.
    pub cloud_id: i64,
    texts: Texts,
}

impl PodRecord {
    /// The text of a text field; `""` for the two integers, which are plain members.
    pub fn text(&self, field: Field) -> &str {
        match field {
            Field::ModuleId | Field::CloudId => "",
            _ => self.texts.get(field),
        }
    }

    /// Sets a text field, trimmed as the CMDB trims it. The two integers are plain members:
    /// nothing happens for them.
    pub fn set_text(&mut self, field: Field, value: impl AsRef<str>) {
        self.write_text(field, |out| out.push_str(value.as_ref().trim()));
    }

    /// Sets a text field to what `write` appends, which must not begin or end with white space.
    pub fn write_text(&mut self, field: Field, write: impl FnOnce(&mut String)) {
        if !matches!(field, Field::ModuleId | Field::CloudId) {
            self.texts.set(field, write);
        }
    }

    /// An empty record again, which keeps its memory for the next one.
    pub fn clear(&mut self) {
        let Self { uuid, namespace, name, module_id, cloud_id, texts } = self;
        [uuid, namespace, name, &mut texts.buffer].into_iter().for_each(String::clear);
        texts.spans = <_>::default();
        (*module_id, *cloud_id) = (0, 0);
    }

    /// Gives back memory that no text uses: for a record that is kept for a while. Copied, not cut:
    /// what is given back is whole and fits the next record, where cutting leaves scraps.
    pub fn shrink(&mut self) {
        self.texts.buffer = self.texts.buffer.as_str().to_owned();
    }

    /// The field as JSON, `null` where it is absent.
    pub fn json(&self, field: Field) -> serde_json::Value {
        match field {
            Field::ModuleId => self.module_id.into(),
            Field::CloudId => self.cloud_id.into(),
            _ => match self.text(field) {
                "" => serde_json::Value::Null,
                text => text.into(),
            },
        }
    }

    /// Rough size in memory, bytes.
    pub fn size(&self) -> usize {
        size_of::<Self>() + self.uuid.len() + self.namespace.len() + self.name.len() + self.texts.buffer.len()
    }
}

/// The texts of a record, one behind the other: one allocation instead of fourteen.
#[derive(Clone, Default, Eq)]
struct Texts {
    buffer: String,
    /// Where the text of each field begins and ends.
    spans: [(u32, u32); FIELD_COUNT - 2],
}

impl Texts {
    fn get(&self, field: Field) -> &str {
        let (start, end) = self.spans[field.text_index()];
        &self.buffer[start as usize..end as usize]
    }

    fn set(&mut self, field: Field, write: impl FnOnce(&mut String)) {
        self.remove(field);
        if self.buffer.is_empty() {
            self.buffer.reserve(USUAL_TEXTS);
        }
        // A document is far smaller than 4 GiB: the clients bound what they read.
        let start = self.buffer.len() as u32;
        write(&mut self.buffer);
        self.spans[field.text_index()] = (start, self.buffer.len() as u32);
    }

    /// A text that is replaced must not stay behind: it may be megabytes that were too long.
    fn remove(&mut self, field: Field) {
        let (start, end) = std::mem::take(&mut self.spans[field.text_index()]);
        if start == end {
            return;
        }
        self.buffer.replace_range(start as usize..end as usize, "");
        for span in self.spans.iter_mut().filter(|span| span.0 >= end) {
            *span = (span.0 - (end - start), span.1 - (end - start));
        }
    }

    fn iter(&self) -> impl Iterator<Item = (Field, &str)> {
        Field::ALL.into_iter().skip(2).map(|field| (field, self.get(field)))
    }
}

impl PartialEq for Texts {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl fmt::Debug for Texts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(field, text)| (field.name(), text))).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_numbered_in_table_order() {
        for (index, field) in Field::ALL.into_iter().enumerate() {
            assert_eq!(field as usize, index);
            assert_eq!(Field::from_name(field.name()), Some(field));
        }
    }

    #[test]
    fn a_record_is_its_texts_however_they_came_there() {
        let (mut one, mut other) = (PodRecord::default(), PodRecord::default());
        one.set_text(Field::Status, "Running");
        one.set_text(Field::PodIp, "10.0.0.1");
        other.set_text(Field::PodIp, "a longer text that is replaced");
        other.write_text(Field::PodIp, |out| out.push_str("10.0.0.1"));
        assert_ne!(one, other);
        other.set_text(Field::Status, " Running\n");
        other.set_text(Field::PodIp, "x".repeat(1_000_000));
        other.set_text(Field::PodIp, "10.0.0.1");
        other.shrink();
        assert!(other.texts.buffer.capacity() < 100, "what was replaced is gone");
        assert_eq!(one, other);
        assert_eq!(format!("{one:?}"), format!("{:?}", other.clone()));
        other.module_id = 7;
        let mut cleared = other.clone();
        cleared.clear();
        assert_eq!(cleared, PodRecord::default());
        other.set_text(Field::PodIp, "");
        assert_eq!((other.text(Field::PodIp), other.text(Field::Status)), ("", "Running"));
    }

    #[test]
    fn texts_are_trimmed_and_kept_apart() {
        let mut record = PodRecord::default();
        for field in Field::ALL {
            record.set_text(field, format!(" {} ", field.name()));
        }
        assert_eq!(record.text(Field::ModuleId), "");
        assert_eq!(record.json(Field::ModuleId), 0);
        for field in Field::ALL.into_iter().skip(2) {
            assert_eq!(record.text(field), field.name());
        }
    }
}
