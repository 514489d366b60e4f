//! The topology file (interface.md 2), read again when it changes.
//!
//! A file that became wrong is reported, and what was read before stays in force: an editor's
//! half-saved file must not make every create fail.

use super::business::Node;
use super::{Business, TopologyError};
use parking_lot::Mutex;
use serde::Deserialize;
use std::collections::{HashMap, HashSet};
use std::fs::{File, Metadata};
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes a topology file may have: some 100,000 modules.
const FILE_LIMIT: u64 = 16 * 1024 * 1024;

#[derive(Deserialize)]
struct Document {
    businesses: Vec<BusinessEntry>,
}

#[derive(Deserialize)]
struct BusinessEntry {
    bk_biz_id: i64,
    bk_biz_name: String,
    sets: Vec<SetEntry>,
}

#[derive(Deserialize)]
struct SetEntry {
    bk_set_id: i64,
    bk_set_name: String,
    modules: Vec<ModuleEntry>,
}

#[derive(Deserialize)]
struct ModuleEntry {
    bk_module_id: i64,
    bk_module_name: String,
}

type Businesses = HashMap<i64, Arc<Business>>;
/// What tells one state of the file from another.
type Stamp = (u64, u64, i64, i64);

/// A topology file.
pub struct FileTopology {
    path: PathBuf,
    state: Mutex<State>,
}

struct State {
    stamp: Option<Stamp>,
    businesses: Businesses,
    problem: Option<String>,
}

impl FileTopology {
    /// Reads the file; it has to be good to begin with.
    pub fn open(path: &Path) -> Result<Self, TopologyError> {
        let refused = |reason| TopologyError::File { path: path.to_owned(), reason };
        let (businesses, stamp) = read(path).map_err(refused)?;
        let state = State { stamp: Some(stamp), businesses, problem: None };
        Ok(Self { path: path.to_owned(), state: Mutex::new(state) })
    }

    /// A business of the file as it is now.
    pub fn business(&self, biz: i64) -> Option<Arc<Business>> {
        let mut state = self.state.lock();
        self.refresh(&mut state);
        state.businesses.get(&biz).cloned()
    }

    /// Why the file as it is now is not in force.
    pub fn problem(&self) -> Option<String> {
        let mut state = self.state.lock();
        self.refresh(&mut state);
        state.problem.clone()
    }

    fn refresh(&self, state: &mut State) {
        let now = std::fs::metadata(&self.path).ok().map(|metadata| stamp(&metadata));
        if now == state.stamp {
            return;
        }
        state.stamp = now;
        match read(&self.path) {
            Ok((businesses, stamp)) => {
                log::info!(
                    "topology_file {} read again: {} businesses",
                    self.path.display(),
                    businesses.len()
                );
                *state = State { stamp: Some(stamp), businesses, problem: None };
            }
            Err(reason) => {
                let problem = format!(
                    "topology_file {}: {reason}; what it said before stays in force",
                    self.path.display()
                );
                log::error!("{problem}");
                state.problem = Some(problem);
            }
        }
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.ino(), metadata.len(), metadata.mtime(), metadata.mtime_nsec())
}

fn read(path: &Path) -> Result<(Businesses, Stamp), String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let stamp = stamp(&file.metadata().map_err(|error| error.to_string())?);
    let mut text = Vec::new();
    file.take(FILE_LIMIT + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > FILE_LIMIT {
        return Err(format!("larger than {FILE_LIMIT} bytes"));
    }
    parse(&text).map(|businesses| (businesses, stamp))
}

/// Reads the document and checks that its ids are positive and unique in their kind.
fn parse(text: &[u8]) -> Result<Businesses, String> {
    let document: Document = serde_json::from_slice(text).map_err(|error| {
        format!(
            "{error}; wanted: {{\"businesses\":[{{\"bk_biz_id\":2,\"bk_biz_name\":\"…\",\"sets\":[…]}}]}}"
        )
    })?;
    let mut seen = HashSet::new();
    let mut once = |kind: &'static str, id: i64| match id {
        ..=0 => Err(format!("{kind} {id}: ids are above 0")),
        _ if seen.insert((kind, id)) => Ok(()),
        _ => Err(format!("{kind} {id} stands twice")),
    };
    let mut businesses = Businesses::new();
    for business in document.businesses {
        once("bk_biz_id", business.bk_biz_id)?;
        for set in &business.sets {
            once("bk_set_id", set.bk_set_id)?;
            for module in &set.modules {
                once("bk_module_id", module.bk_module_id)?;
            }
        }
        businesses.insert(business.bk_biz_id, Arc::new(Business::new(vec![business.into()])));
    }
    Ok(businesses)
}

fn node(kind: &str, id: i64, name: String, child: Option<Vec<Node>>) -> Node {
    Node { bk_inst_id: id, bk_inst_name: name, bk_obj_id: kind.to_owned(), default: 0, child }
}

impl From<BusinessEntry> for Node {
    fn from(entry: BusinessEntry) -> Self {
        let sets = entry.sets.into_iter().map(Self::from).collect();
        node("biz", entry.bk_biz_id, entry.bk_biz_name, Some(sets))
    }
}

impl From<SetEntry> for Node {
    fn from(entry: SetEntry) -> Self {
        let module = |module: ModuleEntry| node("module", module.bk_module_id, module.bk_module_name, None);
        let modules = entry.modules.into_iter().map(module).collect();
        node("set", entry.bk_set_id, entry.bk_set_name, Some(modules))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(module: &str) -> String {
        format!(
            r#"{{"businesses":[{{"bk_biz_id":2,"bk_biz_name":"demo","sets":[{{"bk_set_id":11,"bk_set_name":"bkbcs",
            "modules":[{{"bk_module_id":{module},"bk_module_name":"bkbcs"}}]}}]}}]}}"#
        )
    }

    #[test]
    fn the_documented_form_is_read() {
        let businesses = parse(document("41").as_bytes()).unwrap();
        let business = &businesses[&2];
        assert!(business.has_module(41));
        assert_eq!(business.modules_of(&[11]), [41]);
        assert_eq!(business.tree()[0].bk_inst_name, "demo");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, part) in [
            ("", "wanted"),
            ("[]", "wanted"),
            ("{}", "businesses"),
            (document("\"41\"").as_str(), "invalid type"),
            (document("0").as_str(), "bk_module_id 0"),
            (
                &document("41").replace(
                    "\"sets\":[",
                    "\"sets\":[{\"bk_set_id\":11,\"bk_set_name\":\"a\",\"modules\":[]},",
                ),
                "bk_set_id 11 stands twice",
            ),
        ] {
            let error = parse(text.as_bytes()).unwrap_err();
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_changed_file_is_read_again_and_a_wrong_one_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("topology.json");
        assert!(FileTopology::open(&path).is_err());
        std::fs::write(&path, document("41")).unwrap();
        let topology = FileTopology::open(&path).unwrap();
        std::fs::write(&path, document("1042")).unwrap();
        assert!(topology.business(2).unwrap().has_module(1042));
        std::fs::write(&path, "{").unwrap();
        assert!(topology.business(2).unwrap().has_module(1042));
        assert!(topology.problem().unwrap().contains("stays in force"));
        std::fs::remove_file(&path).unwrap();
        assert!(topology.business(2).is_some() && topology.problem().is_some());
        std::fs::write(&path, document("43")).unwrap();
        assert!(topology.business(2).unwrap().has_module(43));
        assert_eq!(topology.problem(), None);
    }
}
