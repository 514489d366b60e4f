//! Request bodies (protocol.md 2), serialised straight from the records.

use super::IDENTITY;
use super::record::POD_ID;
use crate::model::{Field, FieldKind, PodRecord};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// `create`.
#[derive(Serialize)]
pub(super) struct Create<'a> {
    pub(super) pod: Pod<'a>,
}

/// `createmany`.
#[derive(Serialize)]
pub(super) struct CreateMany<'a> {
    pub(super) pod_list: Vec<Pod<'a>>,
}

/// `update`.
#[derive(Serialize)]
pub(super) struct Update<'a> {
    pub(super) condition: Condition<'a>,
    pub(super) data: Changes<'a>,
}

/// `delete`.
#[derive(Serialize)]
pub(super) struct Delete<'a> {
    pub(super) condition: Condition<'a>,
}

/// A body without content, where none is needed but one does no harm.
#[derive(Serialize)]
pub(super) struct Nothing {}

/// A whole record: what identifies it, and every field that has a value.
#[derive(Clone, Copy)]
pub(super) struct Pod<'a> {
    pub(super) biz: i64,
    pub(super) cluster: &'a str,
    pub(super) record: &'a PodRecord,
}

impl Serialize for Pod<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("bk_biz_id", &self.biz)?;
        map.serialize_entry("bk_pod_cluster", self.cluster)?;
        map.serialize_entry("bk_pod_uuid", &self.record.uuid)?;
        map.serialize_entry("bk_pod_namespace", &self.record.namespace)?;
        map.serialize_entry("bk_pod_name", &self.record.name)?;
        for field in Field::ALL {
            if field.kind() == FieldKind::Int || !self.record.text(field).is_empty() {
                entry(&mut map, self.record, field)?;
            }
        }
        map.end()
    }
}

/// Which record: a unique rule, narrowed to the cluster so that no other cluster's record with
/// the same uuid is ever touched.
#[derive(Serialize)]
pub(super) struct Condition<'a> {
    pub(super) bk_pod_uuid: &'a str,
    pub(super) bk_pod_cluster: &'a str,
}

/// The fields of a record that an update sends.
pub(super) struct Changes<'a> {
    pub(super) record: &'a PodRecord,
    pub(super) fields: &'a [Field],
}

impl Serialize for Changes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.fields.len()))?;
        for &field in self.fields {
            entry(&mut map, self.record, field)?;
        }
        map.end()
    }
}

/// One field. A text that became empty is sent as `""`; an address or a time, whose rules refuse
/// `""`, as `null`.
fn entry<M: SerializeMap>(map: &mut M, record: &PodRecord, field: Field) -> Result<(), M::Error> {
    match (field, field.kind()) {
        (Field::ModuleId, _) => map.serialize_entry(field.name(), &record.module_id),
        (Field::CloudId, _) => map.serialize_entry(field.name(), &record.cloud_id),
        (_, FieldKind::Ip | FieldKind::Time) if record.text(field).is_empty() => {
            map.serialize_entry(field.name(), &())
        }
        _ => map.serialize_entry(field.name(), record.text(field)),
    }
}

/// `findmany`: records of one filter, in the order of their id.
#[derive(Serialize)]
pub(super) struct Find<'a> {
    bk_biz_id: i64,
    bk_set_ids: [i64; 0],
    bk_module_ids: [i64; 0],
    pod_property_filter: Filter<'a>,
    fields: Fields,
    page: Paging,
}

impl<'a> Find<'a> {
    /// The first `limit` records that every rule fits; `limit` 0 would mean all of them.
    pub(super) fn new(biz: i64, rules: &'a [Rule<'a>], limit: u32) -> Self {
        Self {
            bk_biz_id: biz,
            bk_set_ids: [],
            bk_module_ids: [],
            pod_property_filter: Filter { condition: "AND", rules },
            fields: Fields,
            page: Paging { start: 0, limit: limit.max(1), sort: POD_ID },
        }
    }
}

#[derive(Serialize)]
struct Filter<'a> {
    condition: &'static str,
    rules: &'a [Rule<'a>],
}

/// One comparison of a filter.
#[derive(Serialize)]
pub(super) struct Rule<'a> {
    field: &'static str,
    operator: &'static str,
    value: RuleValue<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum RuleValue<'a> {
    Text(&'a str),
    Int(i64),
}

impl<'a> Rule<'a> {
    /// The field is exactly that text.
    pub(super) fn equal(field: &'static str, value: &'a str) -> Self {
        Self { field, operator: "equal", value: RuleValue::Text(value) }
    }

    /// The record comes after that id.
    pub(super) fn after(pod_id: i64) -> Self {
        Self { field: POD_ID, operator: "greater", value: RuleValue::Int(pod_id) }
    }
}

#[derive(Serialize)]
struct Paging {
    start: u32,
    limit: u32,
    sort: &'static str,
}

/// The projection: what a comparison needs and nothing else.
struct Fields;

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq([POD_ID].into_iter().chain(IDENTITY).chain(Field::ALL.map(Field::name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn record() -> PodRecord {
        let mut record = PodRecord::default();
        record.uuid = "u-1".to_owned();
        record.namespace = "default".to_owned();
        record.name = "web-0".to_owned();
        record.module_id = 41;
        record.set_text(Field::Labels, r#"{"app":"web"}"#);
        record
    }

    fn check(body: &impl Serialize, expected: Value) {
        assert_eq!(serde_json::to_value(body).unwrap(), expected);
    }

    #[test]
    fn a_created_record_leaves_out_what_it_has_not() {
        let record = record();
        let pod = Pod { biz: 2, cluster: "BCS-K8S-00001", record: &record };
        let expected = json!({"bk_biz_id": 2, "bk_pod_cluster": "BCS-K8S-00001", "bk_pod_uuid": "u-1",
            "bk_pod_namespace": "default", "bk_pod_name": "web-0", "bk_module_id": 41, "bk_cloud_id": 0,
            "bk_pod_labels": "{\"app\":\"web\"}"});
        check(&Create { pod }, json!({ "pod": expected }));
        check(&CreateMany { pod_list: vec![pod, pod] }, json!({ "pod_list": [expected, expected] }));
    }

    #[test]
    fn an_update_sends_the_asked_fields_and_empties_each_in_its_own_way() {
        let record = record();
        let fields = [Field::ModuleId, Field::Labels, Field::Volumes, Field::PodIp, Field::StartTime];
        let update = Update {
            condition: Condition { bk_pod_uuid: "u-1", bk_pod_cluster: "BCS-K8S-00001" },
            data: Changes { record: &record, fields: &fields },
        };
        check(
            &update,
            json!({"condition": {"bk_pod_uuid": "u-1", "bk_pod_cluster": "BCS-K8S-00001"},
                "data": {"bk_module_id": 41, "bk_pod_labels": "{\"app\":\"web\"}", "bk_pod_volumes": "",
                    "bk_pod_ip": null, "bk_pod_start_time": null}}),
        );
    }

    #[test]
    fn a_page_is_bounded_sorted_and_projected() {
        let rules = [Rule::equal("bk_pod_cluster", "BCS-K8S-00001"), Rule::after(17)];
        let body = serde_json::to_value(Find::new(2, &rules, 0)).unwrap();
        assert_eq!(body["page"], json!({"start": 0, "limit": 1, "sort": "bk_pod_id"}));
        assert_eq!(
            body["pod_property_filter"],
            json!({"condition": "AND", "rules": [
                {"field": "bk_pod_cluster", "operator": "equal", "value": "BCS-K8S-00001"},
                {"field": "bk_pod_id", "operator": "greater", "value": 17}]})
        );
        assert_eq!(body["fields"].as_array().unwrap().len(), 22);
    }
}
