//! The field table of protocol.md 2 against the running server, row by row: field, rule, value, and the
//! code it is answered with, under `strict_fields` and without.

#![allow(clippy::unwrap_used)] // All of it is test.

mod container;

use bcs_bkcmdb_synchronizer::model::{Field, FieldKind};
use container::{Server, pod, pod_with};
use serde_json::{Value, json};
use std::collections::HashSet;

/// Field, rule, value, code under `strict_fields`, code without.
type Row = (&'static str, &'static str, Value, i64, i64);

const REQUIRED_TEXTS: [&str; 6] = [
    "bk_pod_name",
    "bk_pod_namespace",
    "bk_pod_cluster",
    "bk_pod_uuid",
    "bk_pod_workloadtype",
    "bk_pod_workloadname",
];
const OPTIONAL_TEXTS: [&str; 4] =
    ["bk_pod_clustertype", "bk_pod_networkmode", "bk_pod_networktype", "bk_pod_status"];

fn rows() -> Vec<Row> {
    let text = |length: usize| json!("x".repeat(length));
    let object = |length: usize| json!(format!("{{\"a\":\"{}\"}}", "x".repeat(length - 8)));
    let mut rows: Vec<Row> = vec![
        ("bk_module_id", "required", json!(null), 1118401, 1118401),
        ("bk_module_id", "required", json!(""), 1118401, 1118401),
        ("bk_module_id", "type", json!("41"), 1118401, 1118401),
        ("bk_module_id", "type", json!(41.5), 1118401, 1118401),
        ("bk_module_id", "of the business", json!(51), 1118401, 1118401),
        ("bk_module_id", "of the business", json!(99), 1118401, 1118401),
        ("bk_module_id", "of the business", json!(42), 0, 0),
        ("bk_cloud_id", "required", json!(null), 1199010, 1199010),
        ("bk_cloud_id", "required", json!(""), 1199010, 1199010),
        ("bk_cloud_id", "type", json!("0"), 1199009, 1199009),
        ("bk_cloud_id", "type", json!(0.5), 1199009, 1199009),
        ("bk_cloud_id", "type", json!(1e300), 1199009, 1199009),
        ("bk_cloud_id", "type", json!(7), 0, 0),
        ("bk_host_innerip", "pattern", json!("0.1.2.3"), 1199016, 1199016),
        ("bk_host_innerip", "pattern", json!("10.0.0"), 1199016, 1199016),
        ("bk_host_innerip", "pattern", json!("fd00::1"), 1199016, 0),
        ("bk_host_innerip", "pattern", json!("255.255.255.255"), 0, 0),
        ("bk_pod_ip", "pattern", json!("10.0.0.256"), 1199016, 1199016),
        ("bk_pod_ip", "pattern", json!("10.0.0.1,10.0.0.2"), 1199016, 1199016),
        ("bk_pod_ip", "pattern", json!("fd00::1"), 1199016, 0),
        ("bk_pod_ip", "pattern", json!("0.1.2.3"), 0, 0),
    ];
    for field in REQUIRED_TEXTS {
        rows.extend([
            (field, "required", json!(null), 1199010, 1199010),
            (field, "required", json!(""), 1199010, 1199010),
            (field, "required", json!(" \t"), 1199010, 1199010),
        ]);
    }
    for field in REQUIRED_TEXTS.into_iter().chain(OPTIONAL_TEXTS) {
        rows.extend([
            (field, "type", json!(7), 1199007, 1199007),
            (field, "type", json!(["a"]), 1199007, 1199007),
            (field, "length", text(256), 0, 0),
            (field, "length", text(257), 1199015, 1199015),
            // Bytes count, not letters.
            (field, "length", json!("é".repeat(129)), 1199015, 1199015),
        ]);
    }
    for field in ["bk_host_innerip", "bk_pod_ip"] {
        rows.extend([
            (field, "type", json!(5), 1199007, 1199007),
            (field, "length", text(257), 1199015, 1199015),
        ]);
    }
    for field in ["bk_pod_containers", "bk_pod_volumes"] {
        rows.extend([
            (field, "type", json!([]), 1199007, 1199007),
            (field, "length", text(2000), 0, 0),
            (field, "length", text(2001), 1199015, 0),
        ]);
    }
    for field in ["bk_pod_labels", "bk_pod_annotations"] {
        rows.extend([
            (field, "type", json!({"a": "b"}), 1199007, 1199007),
            (field, "length", object(2000), 0, 0),
            (field, "length", object(2001), 1199015, 0),
            (field, "pattern", json!("{\"a\":\"b c\"}"), 1199016, 0),
            (field, "pattern", json!("{\"a b\":\"c\"}"), 1199016, 0),
            (field, "pattern", json!("{\"a\":\"\"}"), 1199016, 0),
            (field, "pattern", json!("{\"a\":1}"), 1199016, 0),
            (field, "pattern", json!("{\"a\":\"\",\"b\":\"c\"}"), 0, 0),
            (field, "pattern", json!("{}"), 0, 0),
            (field, "pattern", json!("[]"), 1199016, 1199016),
            (field, "pattern", json!("not json"), 1199016, 1199016),
        ]);
    }
    for field in ["bk_pod_create_time", "bk_pod_start_time"] {
        rows.extend([
            (field, "type", json!(1), 1199032, 1199032),
            (field, "pattern", json!("2024-01-01T00:00:00Z"), 1199006, 1199006),
            (field, "pattern", json!("2024-13-01 00:00:00"), 1199006, 1199006),
            (field, "pattern", json!("2024-02-29 23:59:59"), 0, 0),
        ]);
    }
    for field in Field::ALL.iter().filter(|field| !field.required()) {
        rows.extend([
            (field.name(), "optional", json!(null), 0, 0),
            (field.name(), "optional", json!(""), 0, 0),
        ]);
    }
    rows
}

/// Every field a caller writes, with its type and whether it is required: those that tell one pod from
/// another, and those that may differ between two versions of one.
fn fields() -> impl Iterator<Item = (&'static str, FieldKind, bool)> {
    let identity = ["bk_pod_uuid", "bk_pod_name", "bk_pod_namespace", "bk_pod_cluster"];
    let further = Field::ALL.into_iter().map(|field| (field.name(), field.kind(), field.required()));
    identity.into_iter().map(|name| (name, FieldKind::Char, true)).chain(further)
}

/// The rules the field table has for a field.
fn rules_of(name: &str, kind: FieldKind, required: bool) -> Vec<&'static str> {
    let mut rules = vec!["type", if required { "required" } else { "optional" }];
    rules.extend_from_slice(match (name, kind) {
        ("bk_module_id", _) => &["of the business"],
        ("bk_pod_labels" | "bk_pod_annotations", _) => &["length", "pattern"],
        (_, FieldKind::Int) => &[],
        (_, FieldKind::Char | FieldKind::Long) => &["length"],
        (_, FieldKind::Ip) => &["length", "pattern"],
        (_, FieldKind::Time) => &["pattern"],
    });
    rules
}

/// Whether an update may change a field.
fn mutable(name: &str) -> bool {
    Field::ALL.iter().any(|field| field.name() == name && field.mutable())
}

/// Whether an answer has a code, and a message that names the field.
fn check(answer: &Value, code: i64, row: &Row) {
    let message = answer["bk_error_msg"].as_str().unwrap();
    assert_eq!(answer["bk_error_code"], code, "{row:?}: {answer}");
    assert!(code == 0 || message.contains(row.0), "{row:?}: {message}");
}

fn both(test: impl Fn(&Server, &Row, i64, &str)) {
    for (strict, server) in
        [true, false].map(|strict| (strict, Server::start(json!({"strict_fields": strict}))))
    {
        for (number, row) in rows().iter().enumerate() {
            test(&server, row, if strict { row.3 } else { row.4 }, &format!("p{number}"));
        }
    }
}

#[test]
fn the_table_has_every_rule_of_every_field() {
    let rows = rows();
    let there: HashSet<_> = rows.iter().map(|row| (row.0, row.1)).collect();
    let wanted = fields().flat_map(|(name, kind, required)| {
        rules_of(name, kind, required).into_iter().map(move |rule| (name, rule))
    });
    assert_eq!(wanted.collect::<HashSet<_>>(), there);
    assert_eq!(fields().count(), 20, "all of the table but bk_biz_id, which is the path's");
}

#[test]
fn a_create_answers_as_the_table_says() {
    both(|server, row, code, name| {
        check(&server.caller.create(2, &pod_with(name, json!({row.0: row.2}))), code, row);
    });
}

#[test]
fn an_item_of_a_create_many_answers_as_the_table_says_and_leaves_its_neighbour_alone() {
    both(|server, row, code, name| {
        let item = pod_with(name, json!({row.0: row.2}));
        let neighbour = format!("{name}-neighbour");
        let answer = server.caller.create_many(2, &[item, pod(&neighbour)]);
        if row.1 == "of the business" && code != 0 {
            // A module that the business does not have is the fault of the whole call.
            return check(&answer, 1118402, row);
        }
        check(&answer, 0, row);
        let exceptions = answer["data"]["exception"].as_array().unwrap();
        let refused: Vec<_> = exceptions.iter().map(|item| (&item["code"], &item["origin_index"])).collect();
        let wanted = [(&json!(code), &json!(0))];
        assert_eq!(refused, wanted[..usize::from(code != 0)], "{row:?}: {answer}");
        let named = |item: &Value| item["message"].as_str().unwrap().contains(row.0);
        assert!(exceptions.iter().all(named), "{row:?}: {answer}");
        assert_eq!(answer["data"]["created"].as_array().unwrap().len(), 2 - refused.len());
    });
}

#[test]
fn an_update_answers_as_the_table_says_and_leaves_alone_what_may_not_change() {
    both(|server, row, code, name| {
        assert_eq!(server.caller.create(2, &pod(name))["bk_error_code"], 0);
        let uuid = format!("uid-{name}");
        let before = server.caller.find(2, &uuid);
        let answer = server.caller.update(2, json!({"bk_pod_uuid": uuid}), json!({row.0: row.2}));
        let mutable = mutable(row.0);
        // A module id that is none is one of the rules of a create; here it is an integer like others.
        let code = match (row.0, row.1) {
            _ if !mutable => 0,
            ("bk_module_id", "type") => 1199009,
            ("bk_module_id", "required") => 1199010,
            _ => code,
        };
        check(&answer, code, row);
        let after = server.caller.find(2, &uuid);
        let text = row.2.as_str().filter(|text| !text.is_empty()).map(Value::from);
        let given = if row.2.is_string() { text.unwrap_or_default() } else { row.2.clone() };
        let wanted = if code == 0 && mutable { &given } else { &before[row.0] };
        assert_eq!(&after[row.0], wanted, "{row:?}");
    });
}

#[test]
fn what_is_around_a_text_is_no_part_of_it() {
    let server = Server::start(json!({}));
    for name in REQUIRED_TEXTS.into_iter().chain(OPTIONAL_TEXTS) {
        let text = format!("{}{name}", "x".repeat(256 - name.len()));
        let uuid = if name == "bk_pod_uuid" { text.clone() } else { format!("uid-{name}") };
        let record = pod_with(name, json!({name: format!(" \t{text}\n ")}));
        assert_eq!(server.caller.create(2, &record)["bk_error_code"], 0, "{name}");
        assert_eq!(server.caller.find(2, &uuid)[name], text, "{name}");
    }
}
