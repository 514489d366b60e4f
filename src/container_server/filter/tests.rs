//! What each operator selects, and what the language refuses.

use super::*;
use rusqlite::Connection;
use serde_json::json;

/// Records 1 to 4: names web-0, web-1, 100%_x and absent; modules 10, 20, 30, 30.
fn database() -> Connection {
    let database = Connection::open_in_memory().unwrap();
    database
        .execute_batch(
            "CREATE TABLE pod (bk_pod_id INTEGER PRIMARY KEY, bk_module_id INTEGER, bk_pod_status TEXT,
                               bk_pod_start_time TEXT);
             INSERT INTO pod VALUES (1, 10, 'web-0', '2024-01-01 00:00:00'),
                                    (2, 20, 'web-1', '2024-01-02 00:00:00'),
                                    (3, 30, '100%_x', NULL), (4, 30, NULL, NULL);",
        )
        .unwrap();
    database
}

fn ids(sql: &Sql) -> Vec<i64> {
    let database = database();
    let text = format!("SELECT bk_pod_id FROM pod WHERE {} ORDER BY 1", sql.text);
    let mut statement = database.prepare(&text).unwrap();
    let rows = statement.query_map(rusqlite::params_from_iter(&sql.parameters), |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

/// The records one rule selects.
fn check(field: &str, operator: &str, value: Value) -> Result<Vec<i64>, i64> {
    let group =
        json!({"condition": "AND", "rules": [{"field": field, "operator": operator, "value": value}]});
    filter(&group).map(|sql| ids(&sql)).map_err(|fault| fault.code)
}

#[test]
fn every_operator_selects_what_it_says() {
    let status = "bk_pod_status";
    let module = "bk_module_id";
    for (field, operator, value, wanted) in [
        (status, "equal", json!("web-0"), vec![1]),
        (status, "equal", json!(""), vec![4]),
        (status, "equal", json!(null), vec![4]),
        (status, "not_equal", json!("web-0"), vec![2, 3, 4]),
        (module, "equal", json!(30), vec![3, 4]),
        (module, "in", json!([10, 20]), vec![1, 2]),
        (status, "in", json!(["web-1", "x"]), vec![2]),
        (status, "not_in", json!(["web-1", "x"]), vec![1, 3, 4]),
        (status, "in", json!(["web-1", ""]), vec![2, 4]),
        (status, "not_in", json!(["web-1", null]), vec![1, 3]),
        (status, "in", json!([null]), vec![4]),
        (module, "less", json!(20), vec![1]),
        (module, "less_or_equal", json!(20), vec![1, 2]),
        (module, "greater", json!(20), vec![3, 4]),
        (module, "greater_or_equal", json!(20), vec![2, 3, 4]),
        ("bk_pod_start_time", "greater", json!("2024-01-01 12:00:00"), vec![2]),
        (status, "begins_with", json!("web"), vec![1, 2]),
        (status, "not_begins_with", json!("web"), vec![3, 4]),
        (status, "contains", json!("%_"), vec![3]),
        (status, "contains", json!("%"), vec![3]),
        (status, "not_contains", json!("-"), vec![3, 4]),
        (status, "ends_with", json!("-1"), vec![2]),
        (status, "not_ends_with", json!("-1"), vec![1, 3, 4]),
        (status, "contains", json!("WEB"), vec![]),
        (status, "exist", json!(true), vec![1, 2, 3]),
        (status, "exist", json!(null), vec![1, 2, 3]),
        (status, "exist", json!(false), vec![4]),
        ("bk_inst_id", "greater", json!(3), vec![4]),
    ] {
        assert_eq!(check(field, operator, value.clone()), Ok(wanted), "{field} {operator} {value}");
    }
}

#[test]
fn a_field_no_record_has_is_absent_from_all() {
    for (operator, value, wanted) in [
        ("equal", json!("x"), vec![]),
        ("equal", json!(7), vec![]),
        ("equal", json!(null), vec![1, 2, 3, 4]),
        ("not_equal", json!("x"), vec![1, 2, 3, 4]),
        ("in", json!(["x"]), vec![]),
        ("not_in", json!(["x"]), vec![1, 2, 3, 4]),
        ("less", json!(1), vec![]),
        ("contains", json!("x"), vec![]),
        ("exist", json!(true), vec![]),
    ] {
        assert_eq!(check("no_such_field", operator, value), Ok(wanted), "{operator}");
    }
}

#[test]
fn values_of_another_type_are_refused() {
    for (field, operator, value, code) in [
        ("bk_module_id", "equal", json!("30"), codes::NEED_INT),
        ("bk_module_id", "equal", json!(1.5), codes::NEED_INT),
        ("bk_module_id", "in", json!([1, "2"]), codes::NEED_INT),
        ("bk_module_id", "less", json!("3"), codes::NEED_INT),
        ("bk_module_id", "contains", json!("3"), codes::INVALID),
        ("bk_pod_status", "equal", json!(5), codes::NEED_STRING),
        ("bk_pod_status", "equal", json!({"$ne": ""}), codes::INVALID),
        ("bk_pod_status", "equal", json!(["a"]), codes::INVALID),
        ("bk_pod_status", "in", json!([]), codes::INVALID),
        ("bk_pod_status", "in", json!("a"), codes::INVALID),
        ("bk_pod_status", "less", json!("a"), codes::INVALID),
        ("bk_pod_status", "less", json!(1), codes::INVALID),
        ("bk_pod_status", "begins_with", json!(""), codes::INVALID),
        ("bk_pod_status", "begins_with", json!(5), codes::INVALID),
        ("bk_pod_status", "exist", json!("yes"), codes::INVALID),
        ("bk_pod_status", "like", json!("a"), codes::INVALID),
        ("bk_pod_status", "not_less", json!("a"), codes::INVALID),
        ("bk_pod_status", "not_exist", json!(true), codes::INVALID),
    ] {
        assert_eq!(check(field, operator, value.clone()), Err(code), "{field} {operator} {value}");
    }
}

#[test]
fn hostile_names_are_refused_and_hostile_values_are_only_values() {
    for name in ["1=1 OR 1", "bk_pod_status;DROP TABLE pod", "\"bk_pod_id\"", "$where", ""] {
        assert_eq!(check(name, "equal", json!("x")), Err(codes::INVALID), "{name}");
        assert_eq!(order(name).is_err(), !name.is_empty(), "{name}");
        assert!(projection(&[name.to_owned()]).is_err(), "{name}");
    }
    for value in ["' OR 1=1 --", "\"; DROP TABLE pod; --", "\0", "%", "_"] {
        assert_eq!(check("bk_pod_status", "equal", json!(value)), Ok(vec![]), "{value}");
    }
}

#[test]
fn groups_combine_and_nest_to_a_depth() {
    let one = json!({"field": "bk_pod_id", "operator": "equal", "value": 1});
    let two = json!({"field": "bk_pod_id", "operator": "equal", "value": 2});
    let web = json!({"field": "bk_pod_status", "operator": "begins_with", "value": "web"});
    let either = json!({"condition": "OR", "rules": [one, two]});
    let sql = filter(&json!({"condition": "AND", "rules": [web, either]})).unwrap();
    assert_eq!(ids(&sql), [1, 2]);
    let deep = json!({"condition": "AND", "rules": [{"condition": "OR", "rules": [either]}]});
    for bad in [
        deep,
        one,
        json!([]),
        json!("AND"),
        json!({}),
        json!({"condition": "AND"}),
        json!({"condition": "AND", "rules": []}),
        json!({"condition": "AND", "rules": [5]}),
        json!({"condition": "XOR", "rules": [two]}),
        json!({"condition": 1, "rules": [two]}),
        json!({"condition": "AND", "rules": [{"field": 1, "operator": "equal"}]}),
        json!({"condition": "OR", "rules": vec![two.clone(); RULES + 1]}),
    ] {
        assert_eq!(filter(&bad).map_err(|fault| fault.code), Err(codes::INVALID));
    }
    assert_eq!(ids(&filter(&Value::Null).unwrap()), [1, 2, 3, 4]);
}

#[test]
fn the_largest_filters_still_run_and_larger_ones_are_refused() {
    let rule = json!({"field": "bk_pod_id", "operator": "equal", "value": 1});
    let sql = filter(&json!({"condition": "OR", "rules": vec![rule; RULES]})).unwrap();
    assert_eq!(ids(&sql), [1]);
    assert_eq!(check("bk_pod_id", "in", json!(vec![2; PARAMETERS])), Ok(vec![2]));
    assert_eq!(check("bk_pod_id", "in", json!(vec![2; PARAMETERS + 1])), Err(codes::INVALID));
}

#[test]
fn sorting_ends_with_the_instance_id() {
    for (sort, wanted) in [
        ("", "bk_pod_id"),
        ("bk_pod_id", "bk_pod_id"),
        ("-bk_pod_id", "bk_pod_id DESC"),
        ("-bk_pod_name, bk_cloud_id", "bk_pod_name DESC,bk_cloud_id,bk_pod_id"),
        ("nothing,+bk_pod_ip", "bk_pod_ip,bk_pod_id"),
        ("bk_pod_ip,-bk_inst_id,-bk_pod_ip,bk_pod_id", "bk_pod_ip,bk_pod_id DESC"),
    ] {
        assert_eq!(order(sort).as_deref(), Ok(wanted));
    }
}

#[test]
fn a_projection_keeps_column_order_and_drops_what_is_unknown() {
    let names = |fields: Vec<&FieldSpec>| fields.iter().map(|field| field.name).collect::<Vec<_>>();
    let wanted = ["bk_pod_ip".to_owned(), "bk_pod_id".to_owned(), "colour".to_owned()];
    assert_eq!(names(projection(&wanted).unwrap()), ["bk_pod_id", "bk_pod_ip"]);
    assert_eq!(names(projection(&["bk_inst_id".to_owned()]).unwrap()), ["bk_pod_id"]);
    assert_eq!(projection(&[]).unwrap().len(), 25);
}

#[test]
fn equalities_all_must_hold() {
    let sql = equalities([("bk_module_id", json!(30)), ("bk_pod_status", json!("100%_x"))]).unwrap();
    assert_eq!(ids(&sql), [3]);
    assert!(equalities([("bk_module_id", json!({"$gt": 0}))]).is_err());
}

#[test]
fn every_listed_operator_is_known() {
    for operator in OPERATORS {
        let value = if operator.ends_with("in") { json!(["x"]) } else { json!("x") };
        let value = if operator == "exist" { json!(true) } else { value };
        let field = if operator.starts_with(['l', 'g']) { "bk_pod_start_time" } else { "bk_pod_status" };
        assert!(check(field, operator, value).is_ok(), "{operator}");
    }
}
