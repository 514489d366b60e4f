//! The fields of a stored pod record: names, types, and what the table of protocol.md 2 says of
//! each.
//!
//! This table is the only one: rules, filter, SQL columns and the OpenAPI document come from it.
//! Pure. It stands apart from `model::Field`, which is the writing side's view of the same record;
//! a test keeps the two in agreement.

/// Type and limit of a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A 64-bit integer.
    Int,
    /// Text of at most 256 bytes.
    Char,
    /// Text of at most 2000 bytes, unless `strict_fields` is off.
    Long,
    /// A JSON object as text, in the strict form unless `strict_fields` is off.
    Object,
    /// An IPv4 dotted quad whose first octet is 1-255; without `strict_fields` IPv6 too.
    HostIp,
    /// An IPv4 dotted quad; without `strict_fields` IPv6 too.
    Ip,
    /// `YYYY-MM-DD HH:MM:SS`.
    Time,
}

impl Kind {
    /// Whether values are integers; all others are texts.
    pub const fn is_int(self) -> bool {
        matches!(self, Self::Int)
    }
}

/// One field of a record.
#[derive(Debug, PartialEq, Eq)]
pub struct FieldSpec {
    /// The CMDB's name, which is the column's too.
    pub name: &'static str,
    /// Type and limit.
    pub kind: Kind,
    /// Whether a record without it is refused.
    pub required: bool,
    /// Whether an update may change it.
    pub mutable: bool,
}

const fn field(name: &'static str, kind: Kind, required: bool, mutable: bool) -> FieldSpec {
    FieldSpec { name, kind, required, mutable }
}

/// The fields a caller writes, in table order (protocol.md 2).
pub const FIELDS: [FieldSpec; 21] = [
    field("bk_biz_id", Kind::Int, true, false),
    field("bk_module_id", Kind::Int, true, true),
    field("bk_cloud_id", Kind::Int, true, true),
    field("bk_host_innerip", Kind::HostIp, false, true),
    field("bk_pod_name", Kind::Char, true, false),
    field("bk_pod_namespace", Kind::Char, true, false),
    field("bk_pod_cluster", Kind::Char, true, false),
    field("bk_pod_uuid", Kind::Char, true, false),
    field("bk_pod_workloadtype", Kind::Char, true, false),
    field("bk_pod_workloadname", Kind::Char, true, false),
    field("bk_pod_clustertype", Kind::Char, false, false),
    field("bk_pod_labels", Kind::Object, false, true),
    field("bk_pod_annotations", Kind::Object, false, true),
    field("bk_pod_ip", Kind::Ip, false, true),
    field("bk_pod_networkmode", Kind::Char, false, true),
    field("bk_pod_networktype", Kind::Char, false, true),
    field("bk_pod_containers", Kind::Long, false, true),
    field("bk_pod_volumes", Kind::Long, false, true),
    field("bk_pod_status", Kind::Char, false, true),
    field("bk_pod_create_time", Kind::Time, false, false),
    field("bk_pod_start_time", Kind::Time, false, true),
];

/// The fields the server adds to a record.
pub const GENERATED: [FieldSpec; 4] = [
    field("bk_pod_id", Kind::Int, false, false),
    field("bk_supplier_account", Kind::Char, false, false),
    field("create_time", Kind::Char, false, false),
    field("last_time", Kind::Char, false, false),
];

/// Every field of a record as list returns it, in column order.
pub fn columns() -> impl Iterator<Item = &'static FieldSpec> {
    GENERATED.iter().take(1).chain(&FIELDS).chain(GENERATED.iter().skip(1))
}

/// The stored field a caller means; `bk_inst_id` is another name of `bk_pod_id`.
pub fn find(name: &str) -> Option<&'static FieldSpec> {
    let name = if name == "bk_inst_id" { "bk_pod_id" } else { name };
    columns().find(|field| field.name == name)
}

/// Position in [`FIELDS`] of a field a caller writes.
pub fn position(name: &str) -> Option<usize> {
    FIELDS.iter().position(|field| field.name == name)
}

/// The unique rules: no two records of a supplier account agree in all keys of one.
pub const UNIQUE_RULES: [&[&str]; 2] =
    [&["bk_pod_uuid"], &["bk_pod_name", "bk_pod_namespace", "bk_pod_cluster"]];

/// Whether that is a field name the CMDB could have: `^[a-zA-Z0-9][\d\w\-_.]*$`.
pub fn is_field_name(name: &str) -> bool {
    let mut bytes = name.bytes();
    bytes.next().is_some_and(|first| first.is_ascii_alphanumeric())
        && bytes.all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model;

    #[test]
    fn agrees_with_the_writing_side() {
        for theirs in model::Field::ALL {
            let ours = find(theirs.name()).unwrap();
            assert_eq!(ours.required, theirs.required(), "{}", ours.name);
            assert_eq!(ours.mutable, theirs.mutable(), "{}", ours.name);
            assert_eq!(ours.kind.is_int(), theirs.kind() == model::FieldKind::Int, "{}", ours.name);
        }
    }

    #[test]
    fn field_names_have_one_form() {
        for good in ["bk_pod_ip", "a", "9", "a.b-c_d"] {
            assert!(is_field_name(good), "{good}");
        }
        for bad in ["", "_id", "$where", "a b", "a;--", "a\"", "é", "a\0", "a,b", "-a", "a'", "a\n"] {
            assert!(!is_field_name(bad), "{bad:?}");
        }
    }

    #[test]
    fn a_second_name_of_the_instance_id_is_known() {
        assert_eq!(find("bk_inst_id"), find("bk_pod_id"));
        assert_eq!(find("nothing"), None);
    }
}
