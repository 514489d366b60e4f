//! One business: the tree of protocol.md 3 and what is looked up in it. Pure.

use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet};

/// A node of the tree. Levels between business and set are the customer's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Id within its kind.
    #[serde(default)]
    pub bk_inst_id: i64,
    /// Name.
    #[serde(default)]
    pub bk_inst_name: String,
    /// `biz`, `set`, `module`, or a custom level.
    #[serde(default)]
    pub bk_obj_id: String,
    /// Non-zero for the CMDB's own idle sets and modules.
    #[serde(default)]
    pub default: i64,
    /// Nodes below.
    #[serde(default)]
    pub child: Option<Vec<Node>>,
}

/// The sets and modules of one business.
#[derive(Debug, Default)]
pub struct Business {
    tree: Vec<Node>,
    modules: HashSet<i64>,
    sets: HashMap<i64, Vec<i64>>,
}

impl Business {
    /// Looks through a tree, whatever its depth.
    pub fn new(tree: Vec<Node>) -> Self {
        let mut business = Self::default();
        for root in &tree {
            business.collect(root, None);
        }
        Self { tree, ..business }
    }

    fn collect(&mut self, node: &Node, set: Option<i64>) {
        let set = match node.bk_obj_id.as_str() {
            "set" => {
                self.sets.entry(node.bk_inst_id).or_default();
                Some(node.bk_inst_id)
            }
            "module" => {
                self.modules.insert(node.bk_inst_id);
                if let Some(set) = set {
                    self.sets.entry(set).or_default().push(node.bk_inst_id);
                }
                None
            }
            _ => None,
        };
        for child in node.child.iter().flatten() {
            self.collect(child, set);
        }
    }

    /// The tree, as the CMDB answers it.
    pub fn tree(&self) -> &[Node] {
        &self.tree
    }

    /// Whether the business has that module.
    pub fn has_module(&self, id: i64) -> bool {
        self.modules.contains(&id)
    }

    /// The modules of some sets; sets the business does not have contribute none.
    pub fn modules_of(&self, sets: &[i64]) -> Vec<i64> {
        sets.iter().filter_map(|set| self.sets.get(set)).flatten().copied().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn sets_and_modules_are_found_at_any_depth() {
        let tree = json!([{"bk_obj_id": "biz", "bk_inst_id": 2, "child": [
            {"bk_obj_id": "set", "bk_inst_id": 11, "child": [{"bk_obj_id": "module", "bk_inst_id": 41}]},
            {"bk_obj_id": "region", "bk_inst_id": 11, "child": [
                {"bk_obj_id": "set", "bk_inst_id": 12, "child": [
                    {"bk_obj_id": "module", "bk_inst_id": 42, "child": null},
                    {"bk_obj_id": "module", "bk_inst_id": 43, "more": 1}]},
                {"bk_obj_id": "set", "bk_inst_id": 13}]}]}]);
        let business = Business::new(serde_json::from_value(tree).unwrap());
        assert!(business.has_module(42) && !business.has_module(11) && !business.has_module(2));
        assert_eq!(business.modules_of(&[12, 13, 99]), [42, 43]);
        assert_eq!(business.modules_of(&[11]), [41]);
    }
}
