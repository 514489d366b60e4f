//! The topology of a business (protocol.md 3): sets at any depth, modules in them.

use crate::http::{Loose, excerpt};
use crate::model::Modules;
use serde::Deserialize;
use serde_json::value::RawValue;

/// One node. Levels between business and set are the customer's own.
#[derive(Deserialize)]
struct Node<'a> {
    #[serde(borrow, default)]
    bk_obj_id: Loose<'a>,
    #[serde(borrow, default)]
    bk_inst_id: Loose<'a>,
    #[serde(borrow, default)]
    bk_inst_name: Loose<'a>,
    #[serde(borrow, default)]
    child: Option<Vec<Node<'a>>>,
}

/// The modules of all sets, or in words why the answer is no topology.
///
/// The depth of the tree is bounded by the JSON reader (128 levels of brackets, 64 of nodes).
pub(super) fn modules(data: Option<&RawValue>) -> Result<Modules, String> {
    let text = data.map_or("null", RawValue::get);
    let roots: Vec<Node<'_>> = serde_json::from_str(text)
        .map_err(|error| format!("not a topology ({error}): {}", excerpt(text.as_bytes())))?;
    let mut modules = Modules::default();
    for root in &roots {
        collect(root, None, &mut modules);
    }
    Ok(modules)
}

fn collect(node: &Node<'_>, set: Option<&str>, modules: &mut Modules) {
    let name = node.bk_inst_name.text();
    let kind = node.bk_obj_id.text();
    if let ("module", Some(set), Some(id)) = (kind.as_ref(), set, node.bk_inst_id.int()) {
        modules.insert(set, &name, id);
    }
    let set = if kind == "set" { Some(name.as_ref()) } else { None };
    for child in node.child.iter().flatten() {
        collect(child, set, modules);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Modules, String> {
        modules(Some(&RawValue::from_string(json.to_owned()).unwrap()))
    }

    fn node(kind: &str, id: i64, name: &str, children: &str) -> String {
        format!(
            r#"{{"bk_obj_id":"{kind}","bk_inst_id":{id},"bk_inst_name":"{name}","default":0,"child":{children}}}"#
        )
    }

    #[test]
    fn sets_are_found_at_any_depth() {
        let module = |id, name| node("module", id, name, "null");
        let shallow = node("set", 11, "bkbcs", &format!("[{}]", module(41, "bkbcs")));
        let deep = node("set", 12, "game", &format!("[{},{}]", module(42, "db"), module(43, "web")));
        let again = node("set", 13, "game", &format!("[{}]", module(40, "db")));
        let level = node("region", 5, "eu", &format!("[{}]", node("zone", 6, "a", &format!("[{deep}]"))));
        let other = node("region", 7, "us", &format!("[{again}]"));
        let root = node("biz", 2, "demo", &format!("[{shallow},{level},{other}]"));
        let modules = read(&format!("[{root}]")).unwrap();
        assert_eq!(modules.len(), 3);
        assert_eq!(modules.id("bkbcs", "bkbcs"), Some(41));
        assert_eq!(modules.id("game", "web"), Some(43));
        assert_eq!(modules.id("game", "db"), Some(40), "of two alike the lowest id");
        assert_eq!(modules.id("region", "db"), None);
    }

    #[test]
    fn odd_nodes_cost_only_themselves() {
        let odd = [
            r#"{"bk_obj_id":"module","bk_inst_id":1,"bk_inst_name":"no set above"}"#,
            r#"{"bk_obj_id":"set","bk_inst_name":"s","child":[{"bk_obj_id":"module","bk_inst_name":"no id"}]}"#,
            r#"{"bk_obj_id":7,"bk_inst_id":{},"child":null}"#,
            "{}",
        ];
        let good = node("set", 1, "7", &format!("[{}]", node("module", 8, "9", "[]")));
        let modules = read(&format!("[{},{good}]", odd.join(","))).unwrap();
        assert_eq!((modules.len(), modules.id("7", "9")), (1, Some(8)));
    }

    #[test]
    fn what_is_no_tree_is_no_topology() {
        assert!(read("[]").unwrap().is_empty());
        let deep = "[{\"child\":".repeat(10_000);
        for json in ["null", "{}", "7", r#"[{"child":7}]"#, "[7]"] {
            assert!(read(json).unwrap_err().contains("not a topology"), "{json}");
        }
        let closed = format!("{deep}null{}", "}]".repeat(10_000));
        // RawValue itself refuses this depth, so the reader is asked directly.
        assert!(serde_json::from_str::<Vec<Node<'_>>>(&closed).is_err());
        assert!(modules(None).is_err());
    }
}
