//! Whoever reads JSON of ours finds each of its fields in the README.

use serde_json::Value;

/// Fails if the README does not name a field, between backticks.
#[track_caller]
pub fn check(value: &Value) {
    const README: &str = include_str!("../../README.md");
    match value {
        Value::Object(fields) => fields.iter().for_each(|(name, value)| {
            assert!(README.contains(&format!("`{name}`")), "the README does not name {name}");
            check(value);
        }),
        Value::Array(items) => items.iter().for_each(check),
        _ => {}
    }
}
