//! The CMDB pod record (protocol.md 8) as this service compares and writes it.

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
    texts: [String; FIELD_COUNT - 2],
}

impl PodRecord {
    /// The text of a text field; `""` for the two integers, which are plain members.
    pub fn text(&self, field: Field) -> &str {
        match field {
            Field::ModuleId | Field::CloudId => "",
            _ => &self.texts[field.text_index()],
        }
    }

    /// Sets a text field, trimmed as the CMDB trims it. The two integers are plain members:
    /// nothing happens for them.
    pub fn set_text(&mut self, field: Field, value: impl Into<String>) {
        if matches!(field, Field::ModuleId | Field::CloudId) {
            return;
        }
        let mut value = value.into();
        let trimmed = value.trim();
        if trimmed.len() != value.len() {
            value = trimmed.to_owned();
        }
        self.texts[field.text_index()] = value;
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
        size_of::<Self>()
            + self.uuid.len()
            + self.namespace.len()
            + self.name.len()
            + self.texts.iter().map(String::len).sum::<usize>()
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
