//! The field rules of protocol.md 2: what a record may look like, with the code of each refusal.
//!
//! Pure: JSON in, column values or a [`Fault`] out, checks in the order of the protocol. Knows
//! neither the database (unique rules) nor the topology (whether a module exists).

use super::codes::{self, Fault};
use super::fields::{self, FIELDS, FieldSpec, Kind};
use regex::bytes::Regex;
use rusqlite::types::Value as Cell;
use serde_json::{Map, Value};
use std::net::{IpAddr, Ipv4Addr};

/// Bytes of a `char` field.
const CHAR_LIMIT: usize = 256;
/// Bytes of a `long` field under `strict_fields`.
const LONG_LIMIT: usize = 2000;
/// What labels and annotations look like under `strict_fields`. Byte classes are spelled out: the
/// CMDB's expression language knows these five as white space and no other.
const OBJECT_PATTERN: &str = concat!(
    r#"(?-u)^[\t\n\x0c\r ]*\{([\t\n\x0c\r ]*"[^\t\n\x0c\r ]+":[\t\n\x0c\r ]*"[^\t\n\x0c\r ]+"[\t\n\x0c\r ]*"#,
    r#"(,[\t\n\x0c\r ]*"[^\t\n\x0c\r ]+":[\t\n\x0c\r ]*"[^\t\n\x0c\r ]+"[\t\n\x0c\r ]*)?)?\}[\t\n\x0c\r ]*$"#
);

/// A record of checked values in the order of [`FIELDS`]; absent ones are `Null`.
pub type Row = [Cell; FIELDS.len()];

/// A changed field: its place in [`FIELDS`] and its new value, `Null` to clear it.
pub type Change = (usize, Cell);

/// The field rules, in one of their two strengths.
#[derive(Debug)]
pub struct Rules {
    strict: bool,
    object: Regex,
}

impl Rules {
    /// `strict`: the key `strict_fields` (interface.md 2).
    pub fn new(strict: bool) -> Result<Self, regex::Error> {
        Ok(Self { strict, object: Regex::new(OBJECT_PATTERN)? })
    }

    /// The module a record asks for: the first of the create checks (1118401).
    pub fn module_id(pod: &Map<String, Value>) -> Result<i64, Fault> {
        pod.get("bk_module_id").and_then(Value::as_i64).ok_or_else(|| {
            Fault::new(codes::MODULE, "bk_module_id must be set, to the id of a module of the business")
        })
    }

    /// Checks a whole record for `biz`: required fields, then each field's own rule. Fields the
    /// CMDB does not know are dropped.
    pub fn record(&self, biz: i64, pod: &Map<String, Value>) -> Result<Row, Fault> {
        for field in FIELDS.iter().filter(|field| field.required && field.name != "bk_biz_id") {
            if pod.get(field.name).is_none_or(is_empty) {
                return Err(need_set(field));
            }
        }
        let mut row = [const { Cell::Null }; FIELDS.len()];
        for (cell, field) in row.iter_mut().zip(&FIELDS) {
            *cell = match pod.get(field.name) {
                _ if field.name == "bk_biz_id" => Cell::Integer(biz),
                Some(value) => self.value(field, value)?,
                None => Cell::Null,
            };
        }
        Ok(row)
    }

    /// Checks the `data` of an update. What may not change is left as it is without a word, as are
    /// fields the CMDB does not know.
    pub fn changes(&self, data: &Map<String, Value>) -> Result<Vec<Change>, Fault> {
        let mut changes = Vec::new();
        for (position, field) in FIELDS.iter().enumerate().filter(|(_, field)| field.mutable) {
            let Some(value) = data.get(field.name) else { continue };
            if field.required && is_empty(value) {
                return Err(need_set(field));
            }
            changes.push((position, self.value(field, value)?));
        }
        Ok(changes)
    }

    /// Checks the keys of a condition for a unique rule or an instance id (1118403) and returns it
    /// as equalities; texts are trimmed as they were when stored.
    pub fn condition(condition: &Map<String, Value>) -> Result<Vec<(&str, Value)>, Fault> {
        let by_id = condition.contains_key("bk_pod_id") || condition.contains_key("bk_inst_id");
        let by_rule = fields::UNIQUE_RULES
            .iter()
            .any(|keys| keys.iter().all(|key| condition.get(*key).is_some_and(|value| !is_empty(value))));
        if !by_id && !by_rule {
            return Err(Fault::new(
                codes::CONDITION,
                "condition must contain bk_pod_uuid, or bk_pod_name with bk_pod_namespace and bk_pod_cluster, \
                 or bk_pod_id",
            ));
        }
        let trimmed = |value: &Value| match value {
            Value::String(text) => Value::from(text.trim()),
            other => other.clone(),
        };
        Ok(condition.iter().map(|(key, value)| (key.as_str(), trimmed(value))).collect())
    }

    /// One field's own rule.
    fn value(&self, field: &FieldSpec, value: &Value) -> Result<Cell, Fault> {
        if is_empty(value) {
            return if field.required { Err(need_set(field)) } else { Ok(Cell::Null) };
        }
        if field.kind.is_int() {
            return value.as_i64().map(Cell::Integer).ok_or_else(|| need_int(field.name));
        }
        let Value::String(text) = value else { return Err(need_string(field)) };
        let text = text.trim();
        self.length(field, text)?;
        self.form(field, text)?;
        Ok(Cell::Text(text.to_owned()))
    }

    fn length(&self, field: &FieldSpec, text: &str) -> Result<(), Fault> {
        let limit = match field.kind {
            Kind::Long | Kind::Object if self.strict => LONG_LIMIT,
            Kind::Long | Kind::Object => return Ok(()),
            _ => CHAR_LIMIT,
        };
        if text.len() <= limit {
            return Ok(());
        }
        let message = format!("{} is {} bytes long; at most {limit} are allowed", field.name, text.len());
        Err(Fault::new(codes::TOO_LONG, message))
    }

    fn form(&self, field: &FieldSpec, text: &str) -> Result<(), Fault> {
        let (good, code, wanted) = match field.kind {
            Kind::Int | Kind::Char | Kind::Long => return Ok(()),
            Kind::Object if self.strict => (
                self.object.is_match(text.as_bytes()),
                codes::PATTERN,
                "a compact JSON object of texts without white space and without empty ones",
            ),
            Kind::Object => (is_json_object(text), codes::PATTERN, "a JSON object"),
            Kind::HostIp => (self.is_ip(text, 1), codes::PATTERN, self.address()),
            Kind::Ip => (self.is_ip(text, 0), codes::PATTERN, self.address()),
            Kind::Time => (is_time(text), codes::INVALID, "a time as YYYY-MM-DD HH:MM:SS"),
        };
        if good { Ok(()) } else { Err(Fault::new(code, format!("{} must be {wanted}", field.name))) }
    }

    fn address(&self) -> &'static str {
        if self.strict { "an IPv4 address" } else { "an IP address" }
    }

    fn is_ip(&self, text: &str, least_first_octet: u8) -> bool {
        match text.parse::<Ipv4Addr>() {
            Ok(address) => address.octets()[0] >= least_first_octet,
            Err(_) => !self.strict && text.parse::<IpAddr>().is_ok(),
        }
    }
}

/// `bk_pod_ip must be …` for a field that takes integers only (1199009).
pub fn need_int(name: &str) -> Fault {
    Fault::new(codes::NEED_INT, format!("{name} must be an integer"))
}

/// The refusal of a value that is not a text, by the field's type.
pub fn need_string(field: &FieldSpec) -> Fault {
    let code = if field.kind == Kind::Time { codes::SHOULD_BE_STRING } else { codes::NEED_STRING };
    Fault::new(code, format!("{} must be a string", field.name))
}

fn need_set(field: &FieldSpec) -> Fault {
    Fault::new(codes::NEED_SET, format!("{} must be set", field.name))
}

/// `null`, `""` and white space are one value: absent.
fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.trim().is_empty(),
        _ => false,
    }
}

fn is_json_object(text: &str) -> bool {
    serde_json::from_str::<Map<String, Value>>(text).is_ok()
}

fn is_time(text: &str) -> bool {
    let shaped = text.len() == 19
        && text.bytes().enumerate().all(|(at, byte)| match at {
            4 | 7 => byte == b'-',
            10 => byte == b' ',
            13 | 16 => byte == b':',
            _ => byte.is_ascii_digit(),
        });
    shaped && text.parse::<jiff::civil::DateTime>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Map<String, Value> {
        let pod = json!({"bk_module_id": 41, "bk_cloud_id": 0, "bk_pod_name": "web-0", "bk_pod_namespace": "default",
            "bk_pod_cluster": "BCS-K8S-00001", "bk_pod_uuid": "u-1", "bk_pod_workloadtype": "Pod",
            "bk_pod_workloadname": "web-0"});
        pod.as_object().unwrap().clone()
    }

    /// A good record with one field set: its cell, or the code that refuses it.
    fn check(strict: bool, field: &str, value: Value) -> Result<Cell, i64> {
        let mut pod = pod();
        pod.insert(field.to_owned(), value);
        let checked = Rules::new(strict).unwrap().record(2, &pod);
        checked.map(|row| row[fields::position(field).unwrap()].clone()).map_err(|fault| {
            assert!(fault.message.contains(field), "{} does not name {field}", fault.message);
            fault.code
        })
    }

    #[test]
    fn every_required_field_must_be_set() {
        for field in FIELDS.iter().filter(|field| field.required && field.name != "bk_biz_id") {
            for empty in [Value::Null, json!(""), json!(" \t")] {
                assert_eq!(check(true, field.name, empty), Err(codes::NEED_SET), "{}", field.name);
            }
            let mut pod = pod();
            pod.remove(field.name);
            let fault = Rules::new(true).unwrap().record(2, &pod).unwrap_err();
            assert_eq!((fault.code, fault.message), (codes::NEED_SET, format!("{} must be set", field.name)));
        }
    }

    #[test]
    fn empty_optional_fields_are_absent() {
        for field in FIELDS.iter().filter(|field| !field.required) {
            for empty in [Value::Null, json!(""), json!("  ")] {
                assert_eq!(check(true, field.name, empty), Ok(Cell::Null), "{}", field.name);
            }
        }
    }

    #[test]
    fn wrong_types_are_refused_by_kind() {
        for field in FIELDS.iter().filter(|field| field.name != "bk_biz_id") {
            let (wrong, code) = match field.kind {
                Kind::Int => (vec![json!("1"), json!(1.5), json!([1]), json!(u64::MAX)], codes::NEED_INT),
                Kind::Time => (vec![json!(1), json!({})], codes::SHOULD_BE_STRING),
                _ => (vec![json!(1), json!({}), json!(["a"]), json!(true)], codes::NEED_STRING),
            };
            for value in wrong {
                assert_eq!(check(true, field.name, value), Err(code), "{}", field.name);
            }
        }
    }

    #[test]
    fn texts_are_trimmed_before_they_are_measured() {
        let padded = format!(" {}\n", "n".repeat(256));
        assert_eq!(check(true, "bk_pod_name", json!(padded)), Ok(Cell::Text("n".repeat(256))));
        assert_eq!(check(true, "bk_pod_name", json!("n".repeat(257))), Err(codes::TOO_LONG));
        assert_eq!(check(true, "bk_pod_volumes", json!("v".repeat(2000))), Ok(Cell::Text("v".repeat(2000))));
        assert_eq!(check(true, "bk_pod_volumes", json!("v".repeat(2001))), Err(codes::TOO_LONG));
        assert!(check(false, "bk_pod_volumes", json!("v".repeat(2001))).is_ok());
        assert_eq!(check(false, "bk_pod_status", json!("s".repeat(257))), Err(codes::TOO_LONG));
    }

    #[test]
    fn addresses_are_dotted_quads_or_anything_when_not_strict() {
        for (text, host, pod_ip, loose) in [
            ("10.0.0.1", true, true, true),
            ("0.0.0.1", false, true, false),
            ("256.0.0.1", false, false, false),
            ("10.0.0", false, false, false),
            ("10.0.0.1,10.0.0.2", false, false, false),
            ("fd00::1", false, false, true),
            ("nonsense", false, false, false),
        ] {
            let wanted = |good: bool| if good { Ok(Cell::Text(text.into())) } else { Err(codes::PATTERN) };
            assert_eq!(check(true, "bk_host_innerip", json!(text)), wanted(host), "{text}");
            assert_eq!(check(true, "bk_pod_ip", json!(text)), wanted(pod_ip), "{text}");
            assert_eq!(check(false, "bk_host_innerip", json!(text)), wanted(loose), "{text}");
        }
    }

    #[test]
    fn times_have_one_form() {
        for field in ["bk_pod_create_time", "bk_pod_start_time"] {
            let good = "2024-02-29 23:59:59";
            assert_eq!(check(true, field, json!(good)), Ok(Cell::Text(good.into())));
            for bad in [
                "2023-02-29 00:00:00",
                "2024-01-01T00:00:00Z",
                "2024-1-1 0:0:0",
                "24:00",
                "2024-01-01 24:00:00",
            ] {
                assert_eq!(check(true, field, json!(bad)), Err(codes::INVALID), "{bad}");
            }
        }
    }

    #[test]
    fn the_strict_pattern_of_labels_and_annotations() {
        for (text, good) in [
            ("{}", true),
            (r#"{"a":"b"}"#, true),
            (r#"{"a":"b","c":"d","e":"f"}"#, true),
            (r#"{ "a": "b" , "c": "d" }"#, true),
            (r#"{"a":"","b":"c"}"#, true),
            (r#"{"a":""}"#, false),
            (r#"{"a":"b c"}"#, false),
            (r#"{"a b":"c"}"#, false),
            (r#"{"a": "b", "c": "d", "e": "f"}"#, false),
            ("{ }", false),
            ("[]", false),
            ("null", false),
            (r#"{"a":1}"#, false),
            (r#"{"a":"non breaking"}"#, false),
            ("{\"a\":\"no\u{a0}break\"}", true),
        ] {
            for field in ["bk_pod_labels", "bk_pod_annotations"] {
                let wanted = if good { Ok(Cell::Text(text.into())) } else { Err(codes::PATTERN) };
                assert_eq!(check(true, field, json!(text)), wanted, "{text}");
            }
        }
        for (text, good) in [(r#"{"a":"b c"}"#, true), (r#"{"a":1}"#, true), ("[]", false), ("{", false)] {
            assert_eq!(check(false, "bk_pod_labels", json!(text)).is_ok(), good, "{text}");
        }
    }

    #[test]
    fn the_first_failure_in_table_order_wins() {
        let mut pod = pod();
        pod.insert("bk_pod_status".into(), json!(1));
        pod.insert("bk_pod_ip".into(), json!("x"));
        let fault = Rules::new(true).unwrap().record(2, &pod).unwrap_err();
        assert_eq!(fault.code, codes::PATTERN);
        pod.insert("bk_pod_uuid".into(), json!(""));
        assert_eq!(Rules::new(true).unwrap().record(2, &pod).unwrap_err().code, codes::NEED_SET);
    }

    #[test]
    fn the_business_is_the_one_of_the_path_and_unknown_fields_are_dropped() {
        let mut pod = pod();
        pod.insert("bk_biz_id".into(), json!("99"));
        pod.insert("colour".into(), json!({"red": 1}));
        let row = Rules::new(true).unwrap().record(2, &pod).unwrap();
        assert_eq!(row[0], Cell::Integer(2));
    }

    #[test]
    fn an_update_changes_only_what_may_change() {
        let rules = Rules::new(true).unwrap();
        let data = json!({"bk_biz_id": "x", "bk_pod_uuid": 5, "bk_pod_status": "Running", "bk_pod_ip": null, "x": 1});
        let status = fields::position("bk_pod_status").unwrap();
        let ip = fields::position("bk_pod_ip").unwrap();
        let changes = rules.changes(data.as_object().unwrap()).unwrap();
        assert_eq!(changes, [(ip, Cell::Null), (status, Cell::Text("Running".into()))]);
        for (data, code) in [
            (json!({"bk_module_id": null}), codes::NEED_SET),
            (json!({"bk_cloud_id": ""}), codes::NEED_SET),
            (json!({"bk_cloud_id": "1"}), codes::NEED_INT),
            (json!({"bk_pod_start_time": 7}), codes::SHOULD_BE_STRING),
        ] {
            assert_eq!(rules.changes(data.as_object().unwrap()).unwrap_err().code, code, "{data}");
        }
    }

    #[test]
    fn a_condition_names_a_unique_rule_or_the_instance() {
        for (condition, good) in [
            (json!({"bk_pod_uuid": "u"}), true),
            (json!({"bk_pod_uuid": "u", "bk_pod_cluster": "c"}), true),
            (json!({"bk_pod_name": "n", "bk_pod_namespace": "s", "bk_pod_cluster": "c"}), true),
            (json!({"bk_pod_id": 1}), true),
            (json!({"bk_inst_id": 1}), true),
            (json!({}), false),
            (json!({"bk_pod_uuid": ""}), false),
            (json!({"bk_pod_name": "n", "bk_pod_namespace": "s"}), false),
            (json!({"bk_biz_id": 2}), false),
        ] {
            let checked = Rules::condition(condition.as_object().unwrap());
            assert_eq!(
                checked.map_err(|fault| fault.code).err(),
                (!good).then_some(codes::CONDITION),
                "{condition}"
            );
        }
    }
}
