//! The filter language of a list call as SQL: conditions, sort order, projection.
//!
//! Pure: JSON in, SQL text and bound parameters out. The text is made of column names from the
//! field table and of nothing a caller wrote; every value is a parameter. A field that no record
//! has is absent from all of them, as it is in the CMDB's own database. `null` and `""` mean
//! absent.

mod group;

pub use group::{COUNTED, Group, group};

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

/// The operators, as protocol.md 2 lists them.
pub const OPERATORS: [&str; 15] = [
    "equal",
    "not_equal",
    "in",
    "not_in",
    "less",
    "less_or_equal",
    "greater",
    "greater_or_equal",
    "begins_with",
    "not_begins_with",
    "contains",
    "not_contains",
    "ends_with",
    "not_ends_with",
    "exist",
];

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
    let (mut terms, mut seen) = (Vec::new(), Vec::new());
    for term in sort.split(',').map(str::trim).filter(|term| !term.is_empty()) {
        let (name, direction) = match term.strip_prefix('-') {
            Some(name) => (name, " DESC"),
            None => (term.strip_prefix('+').unwrap_or(term), ""),
        };
        check_name(name)?;
        // A field no record has orders nothing, and neither does one a second time.
        if let Some(field) = fields::find(name).filter(|field| !seen.contains(&field.name)) {
            seen.push(field.name);
            terms.push(format!("{}{direction}", field.name));
        }
    }
    if !seen.contains(&"bk_pod_id") {
        terms.push("bk_pod_id".to_owned());
    }
    Ok(terms.join(","))
}

/// The columns `fields` asks for; all of them for an empty list.
pub fn projection(names: &[String]) -> Result<Vec<&'static FieldSpec>, Fault> {
    for name in names {
        check_name(name)?;
    }
    let named: Vec<_> = names.iter().filter_map(|name| fields::find(name)).collect();
    Ok(fields::columns().filter(|field| names.is_empty() || named.contains(field)).collect())
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
mod tests;
