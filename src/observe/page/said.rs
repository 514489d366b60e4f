//! What the service says in English has its Chinese sentence in `said.json`: nothing is missing
//! there, nothing stands there that is not said any more.

use super::{ENGLISH, SAID};
use crate::config::{Fallback, SYNCHRONIZER};
use regex::Regex;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

type Sentences = BTreeMap<String, String>;

/// Modules whose errors reach the page, whatever else they are for.
const SPEAKERS: [&str; 11] = [
    "http/mod.rs",
    "http/tls.rs",
    "inventory/filter.rs",
    "service/mod.rs",
    "cmdb/error.rs",
    "storage/mod.rs",
    "inventory/mod.rs",
    "coordination/client.rs",
    "coordination/link.rs",
    "coordination/registration.rs",
    "sync/run.rs",
];
/// Kinds the page finds out by itself: there is no message beside the title.
const WITHOUT_WORDS: [&str; 7] =
    ["no_master", "worker_gone", "unassigned", "left", "suspended", "paused", "other"];

fn by_kind() -> BTreeMap<String, Sentences> {
    serde_json::from_str(SAID).unwrap()
}

fn sentences() -> Vec<(String, String)> {
    by_kind().into_values().flatten().collect()
}

fn source(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every file of the crate, as one text in which strings of several lines are of one.
fn whole_source() -> String {
    fn read(directory: &Path, all: &mut String) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                read(&path, all);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                all.push_str(&source(&path));
            }
        }
    }
    let mut all = String::new();
    read(&root(), &mut all);
    of_one_line(&all)
}

fn of_one_line(source: &str) -> String {
    Regex::new(r"\\\n\s*").unwrap().replace_all(source, "").replace("\\\"", "\"")
}

/// A sentence with nameless places.
fn anything(sentence: &str) -> String {
    static PLACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{[^{}]*\}").unwrap());
    PLACE.replace_all(sentence, "{}").into_owned()
}

fn places(sentence: &str) -> Vec<&str> {
    static PLACE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\{(\w+)\}").unwrap());
    let mut found: Vec<&str> =
        PLACE.captures_iter(sentence).map(|place| place.get(1).unwrap().as_str()).collect();
    found.sort_unstable();
    found
}

#[test]
fn every_kind_of_problem_has_sentences_in_both_languages() {
    let (words, said) = (serde_json::from_str::<Sentences>(ENGLISH).unwrap(), by_kind());
    for kind in words.keys().filter_map(|key| key.strip_prefix("problem.")) {
        let has = said.get(kind).is_some_and(|sentences| !sentences.is_empty());
        assert_ne!(has, WITHOUT_WORDS.contains(&kind), "{kind}");
    }
    for (english, chinese) in sentences() {
        assert!(english.is_ascii() && !chinese.trim().is_empty(), "{english}");
        assert_eq!(places(&english), places(&chinese), "{english}");
    }
}

#[test]
fn every_error_that_reaches_the_page_has_its_sentence() {
    let attribute = Regex::new(r#"#\[error\(\s*"((?:[^"\\]|\\.)*)"#).unwrap();
    let known: Vec<String> = sentences().iter().map(|(english, _)| anything(english)).collect();
    let broken_line = Regex::new(r"\\\n\s*").unwrap();
    let (mut count, mut missing) = (0, Vec::new());
    for file in SPEAKERS {
        let text = broken_line.replace_all(&source(&root().join(file)), "").into_owned();
        for found in attribute.captures_iter(&text) {
            let said = anything(&found[1].replace("\\\"", "\""));
            count += 1;
            if said != "{}" && !known.contains(&said) {
                missing.push(said);
            }
        }
    }
    assert!(count > 25, "{count}");
    assert_eq!(missing, Vec::<String>::new(), "said.json lacks");
}

/// Where configurations are judged.
const JUDGES: [&str; 7] = [
    "config/mod.rs",
    "config/source.rs",
    "config/draft.rs",
    "config/key.rs",
    "config/value.rs",
    "config/url.rs",
    "config/synchronizer.rs",
];

/// What they say elsewhere.
const NO_REASONS: [&str; 3] = ["(a key with an @)", "one JSON object", "value of {other}"];

#[test]
fn every_reason_that_refuses_a_configuration_has_its_sentence() {
    let known: Vec<String> = sentences().iter().map(|(english, _)| anything(english)).collect();
    let covers = |known: &str, reason: &str| {
        // It may follow the name of its key, have its place behind it, in brackets, or end in a name.
        let beginning = known.strip_suffix("{}").filter(|beginning| beginning.len() > "must be ".len());
        known == reason
            || known.strip_prefix("{}: ") == Some(reason)
            || format!("{known} ({{}})") == reason
            || beginning.is_some_and(|beginning| reason.starts_with(beginning))
    };
    let text =
        Regex::new(r#"(warn\(|warnings\.push\()?(?:\s*format!\()?\s*"((?:[^"\\]|\\[^\n])*)""#).unwrap();
    let (mut count, mut missing) = (0, Vec::new());
    for file in JUDGES {
        let all = of_lines(&source(&root().join(file)));
        for found in text.captures_iter(&all).filter(|found| found.get(1).is_none()) {
            let said = found[2].replace("\\\"", "\"");
            // Names, signs and what only puts other sentences together are no sentences.
            let letters = anything(&said).chars().filter(char::is_ascii_lowercase).count();
            if !said.contains(' ') || letters < 5 || NO_REASONS.contains(&said.as_str()) {
                continue;
            }
            count += 1;
            let said = anything(&said);
            if !known.iter().any(|known| covers(known, &said)) {
                missing.push(format!("{file}: {said}"));
            }
        }
    }
    assert!(count > 50, "{count}");
    assert_eq!(missing, Vec::<String>::new(), "said.json lacks");
    for key in SYNCHRONIZER.keys.iter().filter(|key| key.default == Fallback::Required) {
        assert!(known.iter().any(|known| known == key.help), "said.json lacks the help of {}", key.name);
    }
}

/// A source without its comments, in which strings of several lines are of one.
fn of_lines(source: &str) -> String {
    let code: Vec<&str> = source.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
    Regex::new(r"\\\n\s*").unwrap().replace_all(&code.join("\n"), "").into_owned()
}

#[test]
fn every_sentence_is_still_said() {
    let said = whole_source();
    let place = Regex::new(r"\{\w+\}").unwrap();
    for (kind, sentences) in by_kind().into_iter().filter(|(kind, _)| kind != "system") {
        for english in sentences.keys() {
            for part in place.split(english) {
                let part = part.trim_matches([' ', ':', ';']);
                let formatted = part.replace("{\"", "{{\"").replace("\"}", "\"}}");
                let is_said = said.contains(part) || said.contains(&formatted);
                assert!(is_said, "{kind}: nobody says {part:?} of {english:?}");
            }
        }
    }
}
