//! How every line of the log is built (README, "The log"): a time, a level, the part of the program,
//! and a message that begins with the cluster and the Pod it is about.

#![allow(dead_code)] // Every test file uses its own part of it.

use regex::Regex;
use std::collections::BTreeMap;

/// Fails unless every line has its structure. `clusters` are those of the test; the uids of its Pods begin with `uid-`.
/// Returns how often each warning and error was logged.
#[track_caller]
pub fn check_lines(log: &str, clusters: &[&str]) -> BTreeMap<String, usize> {
    let shape = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (ERROR|WARN |INFO |DEBUG|TRACE) [a-z_]+(::[a-z_]+)*: (\S.*)$";
    let shape = Regex::new(shape).unwrap();
    let uid = Regex::new(r"\buid-[a-z0-9-]+").unwrap();
    let mut troubles = BTreeMap::new();
    for line in log.lines() {
        let parts = shape.captures(line).unwrap_or_else(|| panic!("no line of the log: {line:?}"));
        let (level, message) = (&parts[1], &parts[3]);
        let named: Vec<&&str> = clusters.iter().filter(|id| message.contains(**id)).collect();
        let uids: Vec<&str> = uid.find_iter(message).map(|found| found.as_str()).collect();
        if let [cluster] = named[..] {
            let rest = message.strip_prefix(&format!("cluster={cluster} "));
            let rest = rest.unwrap_or_else(|| panic!("it does not begin with its cluster: {line}"));
            if let Some(uid) = uids.first() {
                assert!(rest.starts_with(&format!("uuid={uid} ")), "it does not begin with its pod: {line}");
            }
        } else {
            assert!(uids.is_empty() && !message.contains("cluster="), "whose is it? {line}");
        }
        if matches!(level, "ERROR" | "WARN ") {
            *troubles.entry(message.to_owned()).or_default() += 1;
        }
    }
    troubles
}
