//! The modules of one business, by set and module name.

use std::collections::HashMap;

/// Names of a set and of a module in it.
pub type ModuleKey = (String, String);

/// Which module id a (set, module) pair of names has in one business (protocol.md 3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Modules {
    ids: HashMap<String, HashMap<String, i64>>,
}

impl Modules {
    /// Records a module. A set name may occur under several custom levels: of two modules with
    /// the same pair of names the lowest id wins, so that every reader decides alike.
    pub fn insert(&mut self, set: &str, module: &str, id: i64) {
        let known = self.ids.entry(set.to_owned()).or_default();
        known.entry(module.to_owned()).and_modify(|old| *old = id.min(*old)).or_insert(id);
    }

    /// The id of `module` in `set`, if the business has both.
    pub fn id(&self, set: &str, module: &str) -> Option<i64> {
        self.ids.get(set)?.get(module).copied()
    }

    /// How many modules there are.
    pub fn len(&self) -> usize {
        self.ids.values().map(HashMap::len).sum()
    }

    /// Whether the business has no module at all.
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }
}
