//! Real pods from a file: one a line, or the list `kubectl get pods -A -o json` prints.

use serde_json::Value;
use std::path::{Path, PathBuf};

/// Bytes a file of pods may have: it is held in memory.
const FILE_MAX: u64 = 2 << 30;

/// What a file held. Nothing is skipped silently: `pods` and `unreadable` together are all of it.
#[derive(Debug, Default)]
pub struct PodFile {
    /// Pods with a name and a namespace.
    pub pods: Vec<Value>,
    /// What could not be stored, and why.
    pub unreadable: Vec<Unreadable>,
}

/// An entry that is no pod.
#[derive(Debug, PartialEq, Eq)]
pub struct Unreadable {
    /// Which one: the line, or the place in the list, from 1.
    pub number: usize,
    /// Why, in words.
    pub reason: String,
}

/// Why there are no pods at all.
#[derive(Debug, thiserror::Error)]
pub enum PodFileError {
    /// It cannot be read.
    #[error("cannot read {path}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// In words.
        reason: String,
    },
    /// It has no pod in it.
    #[error("{path} holds no pod; give one JSON Pod a line, or the output of `kubectl get pods -A -o json`", path = path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
}

impl PodFile {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, PodFileError> {
        let failed = |reason: String| PodFileError::Unreadable { path: path.to_owned(), reason };
        let size = std::fs::metadata(path).map_err(|error| failed(error.to_string()))?.len();
        if size > FILE_MAX {
            return Err(failed(format!("{size} bytes are more than {FILE_MAX}; split it")));
        }
        let bytes = std::fs::read(path).map_err(|error| failed(error.to_string()))?;
        let file = Self::parse(&bytes);
        if file.pods.is_empty() { Err(PodFileError::Empty { path: path.to_owned() }) } else { Ok(file) }
    }

    /// Reads the content of a file.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut file = Self::default();
        // Only one whole document has items; lines of pods fail here at the second line.
        match serde_json::from_slice::<Value>(bytes) {
            Ok(mut whole) if whole.get("items").is_some_and(Value::is_array) => {
                let items = whole["items"].as_array_mut().map(std::mem::take).unwrap_or_default();
                for (place, item) in items.into_iter().enumerate() {
                    file.admit(place + 1, Ok(item));
                }
            }
            Ok(whole) => file.admit(1, Ok(whole)),
            Err(_) => {
                for (place, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
                    if !line.trim_ascii().is_empty() {
                        file.admit(place + 1, serde_json::from_slice(line));
                    }
                }
            }
        }
        file
    }

    /// How many entries there were.
    pub fn count(&self) -> usize {
        self.pods.len() + self.unreadable.len()
    }

    fn admit(&mut self, number: usize, entry: serde_json::Result<Value>) {
        let text =
            |pod: &Value, member: &str| pod["metadata"][member].as_str().is_some_and(|text| !text.is_empty());
        let reason = match entry {
            Err(error) => format!("not JSON: {error}"),
            Ok(pod) if !text(&pod, "name") => "metadata.name is missing".to_owned(),
            Ok(pod) if !text(&pod, "namespace") => "metadata.namespace is missing".to_owned(),
            Ok(pod) => return self.pods.push(pod),
        };
        self.unreadable.push(Unreadable { number, reason });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POD: &str = r#"{"metadata":{"name":"a","namespace":"b"}}"#;

    #[track_caller]
    fn check(content: impl AsRef<[u8]>, pods: usize, unreadable: &[usize]) {
        let file = PodFile::parse(content.as_ref());
        let numbers: Vec<_> = file.unreadable.iter().map(|entry| entry.number).collect();
        assert_eq!((file.pods.len(), &numbers[..]), (pods, unreadable));
    }

    #[test]
    fn lines_lists_and_single_pods_are_read() {
        check(format!("{POD}\n\n{POD}\r\n"), 2, &[]);
        check(POD, 1, &[]);
        check(format!("{{\n \"kind\": \"List\",\n \"items\": [{POD},\n{POD}]}}\n"), 2, &[]);
    }

    #[test]
    fn every_entry_that_is_no_pod_is_named() {
        check(format!("{POD}\nnot json\n{{}}\n{POD}\n[1]\n"), 2, &[2, 3, 5]);
        check(b"{\"metadata\":{\"name\":\"\xff\",\"namespace\":\"b\"}}\n", 0, &[1]);
        check(format!(r#"{{"items":[{POD},null,{{"metadata":{{"name":"x"}}}}]}}"#), 1, &[2, 3]);
        check(r#"{"items":{}}"#, 0, &[1]);
        check("", 0, &[]);
    }

    #[test]
    fn a_file_without_pods_is_an_error_that_says_what_to_give() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pods");
        assert!(PodFile::read(&path).unwrap_err().to_string().contains("cannot read"));
        std::fs::write(&path, "\n").unwrap();
        assert!(PodFile::read(&path).unwrap_err().to_string().contains("kubectl"));
    }
}
