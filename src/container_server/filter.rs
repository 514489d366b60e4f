//! The filter language of a list call as SQL: conditions, sort order, projection.
//!
//! Pure: JSON in, SQL text and bound parameters out. The text is made of column names from the
//! field table and of nothing a caller wrote; every value is a parameter. A field that no record
//! has is absent from all of them, as it is in the CMDB's own database. `null` and `""` mean
//! absent.

use super::codes::{self, Fault};
use super::fields::{self, FieldSpec, Kind};
use super::rules;
use rusqlite::types::Value as Cell;
use serde_json::{Map, Value};

/// Levels of a filter: the group on top, groups in it, and their rules.
const DEPTH: usize = 3;
/// Values of one statement; SQLite takes 32,766.
const PARAMETERS: usize = 20_000;
/// Rules of one filter: SQLite's expression tree is at most 1,000 high, and a chain of ORs is as
/// high as it is long.
const RULES: usize = 500;

/// A piece of SQL with the values its `?` stand for, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sql {
    /// The text.
    pub text: String,
    /// The values.
    pub parameters: Vec<Cell>,
}

impl Sql {
    /// Appends a text with its values.
    pub fn push(&mut self, text: &str, parameters: impl IntoIterator<Item = Cell>) {
        self.text.push_str(text);
        self.parameters.extend(parameters);
    }

    /// Appends `column IN (…)`, with the values bound.
    pub fn push_in(&mut self, column: &str, values: impl IntoIterator<Item = Cell>) {
        let before = self.parameters.len();
        self.parameters.extend(values);
        let marks = vec!["?"; self.parameters.len() - before].join(",");
        self.text.push_str(&format!("{column} IN ({marks})"));
    }
}

/// Translates `pod_property_filter` (protocol.md 2): a group, or `null` for everything.
pub fn filter(filter: &Value) -> Result<Sql, Fault> {
    let mut sql = Sql::default();
    match filter {
        Value::Null => sql.push("1", []),
        Value::Object(group) if group.contains_key("condition") => {
            let mut translation = Translation { sql: &mut sql, rules: 0 };
            translation.group(group, 1)?;
        }
        _ => {
            return Err(invalid(
                "pod_property_filter must be a group: {\"condition\":\"AND\",\"rules\":[…]}",
            ));
        }
    }
    if sql.parameters.len() > PARAMETERS {
        return Err(invalid(format!("pod_property_filter holds more than {PARAMETERS} values")));
    }
    Ok(sql)
}

/// Translates equalities that all must hold: the condition of an update or a delete.
pub fn equalities<'a>(pairs: impl IntoIterator<Item = (&'a str, Value)>) -> Result<Sql, Fault> {
    let mut sql = Sql { text: "1".to_owned(), parameters: Vec::new() };
    for (name, value) in pairs {
        sql.push(" AND ", []);
        atom(&mut sql, name, "equal", &value)?;
    }
    Ok(sql)
}

/// Translates `page.sort`: fields separated by commas, `-field` for descending. Equal records are
/// ordered by `bk_pod_id`, so that pages neither overlap nor leave gaps.
pub fn order(sort: &str) -> Result<String, Fault> {
    let mut terms = Vec::new();
    for term in sort.split(',').map(str::trim).filter(|term| !term.is_empty()) {
        let (name, direction) = match term.strip_prefix('-') {
            Some(name) => (name, " DESC"),
            None => (term.strip_prefix('+').unwrap_or(term), ""),
        };
        check_name(name)?;
        // A field no record has orders nothing.
        if let Some(field) = fields::find(name) {
            terms.push(format!("{}{direction}", field.name));
        }
    }
    if !terms.iter().any(|term| term.starts_with("bk_pod_id")) {
        terms.push("bk_pod_id".to_owned());
    }
    Ok(terms.join(","))
}

/// The columns `fields` asks for; all of them for an empty list.
pub fn projection(names: &[String]) -> Result<Vec<&'static FieldSpec>, Fault> {
    for name in names {
        check_name(name)?;
    }
    let wanted = |field: &&FieldSpec| names.is_empty() || names.iter().any(|name| name == field.name);
    Ok(fields::columns().filter(wanted).collect())
}

struct Translation<'a> {
    sql: &'a mut Sql,
    rules: usize,
}

impl Translation<'_> {
    fn group(&mut self, group: &Map<String, Value>, level: usize) -> Result<(), Fault> {
        if level >= DEPTH {
            return Err(invalid(format!(
                "pod_property_filter is more than {DEPTH} levels deep, rules included"
            )));
        }
        let word = match group.get("condition").and_then(Value::as_str) {
            Some("AND") => " AND ",
            Some("OR") => " OR ",
            _ => return Err(invalid("condition of a filter group must be AND or OR")),
        };
        let Some(Value::Array(rules)) = group.get("rules") else {
            return Err(invalid("rules of a filter group must be a list"));
        };
        if rules.is_empty() {
            return Err(invalid("rules of a filter group must not be empty"));
        }
        self.rules += rules.len();
        if self.rules > RULES {
            return Err(invalid(format!("pod_property_filter holds more than {RULES} rules; use in")));
        }
        self.sql.push("(", []);
        for (index, rule) in rules.iter().enumerate() {
            self.sql.push(if index == 0 { "" } else { word }, []);
            self.rule(rule, level + 1)?;
        }
        self.sql.push(")", []);
        Ok(())
    }

    fn rule(&mut self, rule: &Value, level: usize) -> Result<(), Fault> {
        let Value::Object(rule) = rule else { return Err(invalid("a filter rule must be an object")) };
        if rule.contains_key("condition") {
            return self.group(rule, level);
        }
        let text = |key: &str| {
            let value = rule.get(key).and_then(Value::as_str);
            value.ok_or_else(|| invalid(format!("{key} of a filter rule must be a string")))
        };
        atom(self.sql, text("field")?, text("operator")?, rule.get("value").unwrap_or(&Value::Null))
    }
}

/// One comparison of one field.
fn atom(sql: &mut Sql, name: &str, operator: &str, value: &Value) -> Result<(), Fault> {
    check_name(name)?;
    let field = fields::find(name);
    let column = field.map_or("NULL", |field| field.name);
    let (plain, negated) = match operator.strip_prefix("not_") {
        Some(plain) => (plain, true),
        None => (operator, false),
    };
    match (plain, negated) {
        ("equal", _) => {
            let cell = scalar(name, field, value)?;
            sql.push(&format!("{column} IS {}?", if negated { "NOT " } else { "" }), [cell]);
        }
        ("in", _) => {
            sql.push(if negated { "NOT coalesce(" } else { "(" }, []);
            let (absent, cells): (Vec<Cell>, Vec<Cell>) =
                list(name, field, value)?.into_iter().partition(|cell| *cell == Cell::Null);
            sql.push_in(column, cells);
            if !absent.is_empty() {
                sql.push(&format!(" OR {column} IS NULL"), []);
            }
            sql.push(if negated { ",0)" } else { ")" }, []);
        }
        ("less" | "less_or_equal" | "greater" | "greater_or_equal", false) => {
            let cell = ordered(name, field, value)?;
            let sign = match plain {
                "less" => "<",
                "less_or_equal" => "<=",
                "greater" => ">",
                _ => ">=",
            };
            sql.push(&format!("{column} {sign} ?"), [cell]);
        }
        ("begins_with" | "contains" | "ends_with", _) => {
            let part = part(name, field, operator, value)?;
            let length = Cell::Integer(part.len() as i64);
            let part = Cell::Blob(part);
            sql.push(if negated { "NOT coalesce(" } else { "(" }, []);
            // Compared as bytes: exact, and blind to what NUL means to SQL text functions.
            let bytes = format!("CAST({column} AS BLOB)");
            match plain {
                "begins_with" => sql.push(&format!("substr({bytes},1,?) = ?"), [length, part]),
                "ends_with" => sql.push(&format!("substr({bytes},-?) = ?"), [length, part]),
                _ => sql.push(&format!("instr({bytes},?) > 0"), [part]),
            }
            sql.push(if negated { ",0)" } else { ")" }, []);
        }
        ("exist", false) => {
            let wanted = match value {
                Value::Null | Value::Bool(true) => "NOT NULL",
                Value::Bool(false) => "NULL",
                _ => return Err(invalid(format!("{name} exist takes true or false"))),
            };
            sql.push(&format!("{column} IS {wanted}"), []);
        }
        _ => return Err(invalid(format!("{operator:?} is not an operator of the filter language"))),
    }
    Ok(())
}

/// A value to compare for equality, of the field's own type.
fn scalar(name: &str, field: Option<&FieldSpec>, value: &Value) -> Result<Cell, Fault> {
    match (value, field) {
        (Value::Array(_) | Value::Object(_), _) => {
            Err(invalid(format!("{name} must be compared with one value")))
        }
        (Value::Null, _) => Ok(Cell::Null),
        (Value::String(text), _) if text.is_empty() => Ok(Cell::Null),
        (Value::String(text), Some(field)) if !field.kind.is_int() => Ok(Cell::Text(text.clone())),
        (value, Some(field)) if field.kind.is_int() => {
            value.as_i64().map(Cell::Integer).ok_or_else(|| rules::need_int(name))
        }
        (_, Some(field)) => Err(rules::need_string(field)),
        // Absent everywhere: equal to no value.
        (_, None) => Ok(Cell::Text(String::new())),
    }
}

fn list(name: &str, field: Option<&FieldSpec>, value: &Value) -> Result<Vec<Cell>, Fault> {
    match value {
        Value::Array(values) if !values.is_empty() => {
            values.iter().map(|value| scalar(name, field, value)).collect()
        }
        _ => Err(invalid(format!("{name} in and not_in take a list that is not empty"))),
    }
}

/// A value with an order: an integer, or text for a time.
fn ordered(name: &str, field: Option<&FieldSpec>, value: &Value) -> Result<Cell, Fault> {
    let timed = field.is_none_or(|field| field.kind == Kind::Time || field.name.ends_with("_time"));
    let counted = field.is_none_or(|field| field.kind.is_int());
    match value {
        Value::String(text) if timed => Ok(Cell::Text(text.clone())),
        Value::Number(_) if counted => value.as_i64().map(Cell::Integer).ok_or_else(|| rules::need_int(name)),
        _ if counted => Err(rules::need_int(name)),
        _ if timed => Err(invalid(format!("{name} is ordered by a time as text"))),
        _ => Err(invalid(format!("{name} has no order: only integers and times have"))),
    }
}

/// A part of a text, as bytes.
fn part(name: &str, field: Option<&FieldSpec>, operator: &str, value: &Value) -> Result<Vec<u8>, Fault> {
    if field.is_some_and(|field| field.kind.is_int()) {
        return Err(invalid(format!("{name} is an integer; {operator} is for texts")));
    }
    match value {
        Value::String(text) if !text.is_empty() => Ok(text.clone().into_bytes()),
        _ => Err(invalid(format!("{name} {operator} takes a text that is not empty"))),
    }
}

fn check_name(name: &str) -> Result<(), Fault> {
    if fields::is_field_name(name) { Ok(()) } else { Err(invalid(format!("{name:?} is not a field name"))) }
}

fn invalid(message: impl Into<String>) -> Fault {
    Fault::new(codes::INVALID, message)
}

#[cfg(test)]
mod tests {
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
        let rows =
            statement.query_map(rusqlite::params_from_iter(&sql.parameters), |row| row.get(0)).unwrap();
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
        ] {
            assert_eq!(order(sort).as_deref(), Ok(wanted));
        }
    }

    #[test]
    fn a_projection_keeps_column_order_and_drops_what_is_unknown() {
        let names = |fields: Vec<&FieldSpec>| fields.iter().map(|field| field.name).collect::<Vec<_>>();
        let wanted = ["bk_pod_ip".to_owned(), "bk_pod_id".to_owned(), "colour".to_owned()];
        assert_eq!(names(projection(&wanted).unwrap()), ["bk_pod_id", "bk_pod_ip"]);
        assert_eq!(projection(&[]).unwrap().len(), 25);
    }

    #[test]
    fn equalities_all_must_hold() {
        let sql = equalities([("bk_module_id", json!(30)), ("bk_pod_status", json!("100%_x"))]).unwrap();
        assert_eq!(ids(&sql), [3]);
        assert!(equalities([("bk_module_id", json!({"$gt": 0}))]).is_err());
    }
}
