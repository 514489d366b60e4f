//! Filters that select whole groups of records: how many there are is known without looking.
//!
//! Pure. Names the fields the store counts by; how it counts is its own affair.

use rusqlite::types::Value as Cell;
use serde_json::Value;

/// The fields by whose values records are counted as they are written.
pub const COUNTED: [&str; 3] = ["bk_biz_id", "bk_module_id", "bk_pod_cluster"];

/// The records of a business that have one of some values in one field, perhaps only from an id on.
#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    /// One of [`COUNTED`].
    pub field: &'static str,
    /// Its values; none: no record.
    pub values: Vec<Cell>,
    /// Only records whose `bk_pod_id` is greater.
    pub after: Option<i64>,
}

/// The group that a list call selects, if it selects nothing less: by `pod_property_filter`, and by
/// `modules` if it names any.
pub fn group(biz: i64, filter: &Value, modules: Option<&[i64]>) -> Option<Group> {
    let (mut named, mut after) = (None, None);
    for rule in rules(filter)? {
        match atom(rule)? {
            ("bk_pod_id" | "bk_inst_id", "greater", value) if after.is_none() => {
                after = Some(value.as_i64()?)
            }
            ("bk_module_id", "equal", value) if named.is_none() => {
                named = Some(("bk_module_id", vec![Cell::Integer(value.as_i64()?)]));
            }
            ("bk_pod_cluster", "equal", value) if named.is_none() => {
                // An empty text stands for an absent value.
                let cluster = value.as_str().filter(|cluster| !cluster.is_empty())?;
                named = Some(("bk_pod_cluster", vec![Cell::Text(cluster.to_owned())]));
            }
            _ => return None,
        }
    }
    let (field, values) = match (named, modules) {
        (Some(named), None) => named,
        (None, Some(modules)) => ("bk_module_id", modules.iter().copied().map(Cell::Integer).collect()),
        (None, None) => ("bk_biz_id", vec![Cell::Integer(biz)]),
        (Some(_), Some(_)) => return None,
    };
    Some(Group { field, values, after })
}

/// The rules that all must hold; `None` if the filter is not just such rules.
fn rules(filter: &Value) -> Option<&[Value]> {
    if filter.is_null() {
        return Some(&[]);
    }
    let rules = filter.get("rules")?.as_array()?;
    // One rule is the same under AND and OR.
    (rules.len() == 1 || filter.get("condition")? == "AND").then_some(rules)
}

/// Field, operator and value of a rule; `None` for a group.
fn atom(rule: &Value) -> Option<(&str, &str, &Value)> {
    if rule.get("condition").is_some() {
        return None;
    }
    Some((rule.get("field")?.as_str()?, rule.get("operator")?.as_str()?, rule.get("value")?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(filter: Value, modules: Option<&[i64]>, wanted: Option<(&'static str, Vec<Cell>, Option<i64>)>) {
        let wanted = wanted.map(|(field, values, after)| Group { field, values, after });
        assert_eq!(group(2, &filter, modules), wanted, "{filter} {modules:?}");
    }

    fn rule(field: &str, operator: &str, value: Value) -> Value {
        json!({"field": field, "operator": operator, "value": value})
    }

    fn all(rules: Value) -> Value {
        json!({"condition": "AND", "rules": rules})
    }

    #[test]
    fn whole_groups_are_recognised() {
        let module = rule("bk_module_id", "equal", json!(41));
        let cluster = rule("bk_pod_cluster", "equal", json!("c"));
        let after = rule("bk_pod_id", "greater", json!(7));
        let second_name = rule("bk_inst_id", "greater", json!(7));
        let (one, named) = (vec![Cell::Integer(41)], vec![Cell::Text("c".to_owned())]);
        let business = vec![Cell::Integer(2)];
        check(json!(null), None, Some(("bk_biz_id", business.clone(), None)));
        check(json!(null), Some(&[]), Some(("bk_module_id", vec![], None)));
        check(json!(null), Some(&[41]), Some(("bk_module_id", one.clone(), None)));
        check(all(json!([module])), None, Some(("bk_module_id", one.clone(), None)));
        check(json!({"condition": "OR", "rules": [module]}), None, Some(("bk_module_id", one.clone(), None)));
        check(all(json!([cluster])), None, Some(("bk_pod_cluster", named.clone(), None)));
        check(all(json!([cluster, after])), None, Some(("bk_pod_cluster", named.clone(), Some(7))));
        check(all(json!([second_name, cluster])), None, Some(("bk_pod_cluster", named, Some(7))));
        check(all(json!([after])), None, Some(("bk_biz_id", business, Some(7))));
        check(all(json!([after])), Some(&[41]), Some(("bk_module_id", one, Some(7))));
    }

    #[test]
    fn what_selects_less_than_a_group_is_none() {
        let module = rule("bk_module_id", "equal", json!(41));
        let cluster = rule("bk_pod_cluster", "equal", json!("c"));
        let after = rule("bk_pod_id", "greater", json!(7));
        for filter in [
            json!([]),
            json!({}),
            json!({"condition": "OR", "rules": [cluster, after]}),
            all(json!([module, cluster])),
            all(json!([module, module])),
            all(json!([after, after])),
            all(json!([all(json!([module]))])),
            all(json!([5])),
            all(json!([rule("bk_module_id", "not_equal", json!(41))])),
            all(json!([rule("bk_module_id", "equal", json!("41"))])),
            all(json!([rule("bk_module_id", "equal", json!(null))])),
            all(json!([rule("bk_pod_cluster", "equal", json!(""))])),
            all(json!([rule("bk_pod_cluster", "begins_with", json!("c"))])),
            all(json!([rule("bk_pod_id", "less", json!(7))])),
            all(json!([rule("bk_pod_id", "greater", json!(1.5))])),
            all(json!([rule("bk_cloud_id", "equal", json!(0))])),
        ] {
            check(filter, None, None);
        }
        check(all(json!([module])), Some(&[42]), None);
    }
}
