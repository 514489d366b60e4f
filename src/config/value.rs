//! A value of the right kind, but not yet checked for its meaning: pure.

use super::Secret;
use super::key::Kind;
use serde_json::Value;

/// A value as its kind wants it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plain {
    /// Text, choice.
    Text(String),
    /// Number.
    Number(i64),
    /// Boolean.
    Boolean(bool),
    /// List, servers.
    List(Vec<String>),
    /// Secret.
    Secret(SecretSource),
}

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// Here.
    Plain(Secret),
    /// In a file.
    File(String),
    /// In an environment variable.
    Variable(String),
    /// In a systemd credential.
    Credential(String),
}

/// Reads a value of a JSON file. The error says what would be right.
pub fn from_json(kind: Kind, value: &Value) -> Result<Plain, String> {
    let wrong = || must_be(kind);
    match (kind, value) {
        (Kind::Ignored { .. }, _) => Ok(Plain::Text(String::new())),
        (Kind::Text | Kind::TextOrNumber, Value::String(text)) => Ok(Plain::Text(text.clone())),
        (Kind::TextOrNumber, Value::Number(number)) if !number.is_f64() => {
            Ok(Plain::Text(number.to_string()))
        }
        (Kind::Choice(choices), Value::String(text)) => chosen(choices, text).ok_or_else(wrong),
        (Kind::Number { min, max }, Value::Number(number)) => {
            within(number.as_i64(), min, max).ok_or_else(wrong)
        }
        (Kind::Boolean, Value::Bool(boolean)) => Ok(Plain::Boolean(*boolean)),
        (Kind::List | Kind::Servers, Value::Array(items)) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.as_str().map(|text| text.trim().to_owned())).collect();
            texts.and_then(without_empty).ok_or_else(wrong)
        }
        (Kind::List | Kind::Servers, Value::String(text)) => split(kind, text).ok_or_else(wrong),
        (Kind::Secret, Value::String(text)) => Ok(Plain::Secret(SecretSource::Plain(Secret::new(text)))),
        (Kind::Secret, Value::Object(_)) => secret_object(value).map(Plain::Secret).ok_or_else(wrong),
        _ => Err(wrong()),
    }
}

/// Reads a value of a flag, of the environment or of the table of defaults. The error says what
/// would be right.
pub fn from_text(kind: Kind, text: &str) -> Result<Plain, String> {
    let wrong = || must_be(kind);
    match kind {
        Kind::Ignored { .. } => Ok(Plain::Text(String::new())),
        Kind::Text | Kind::TextOrNumber => Ok(Plain::Text(text.to_owned())),
        Kind::Choice(choices) => chosen(choices, text).ok_or_else(wrong),
        Kind::Number { min, max } => within(text.trim().parse().ok(), min, max).ok_or_else(wrong),
        Kind::Boolean => match text.trim() {
            "true" => Ok(Plain::Boolean(true)),
            "false" => Ok(Plain::Boolean(false)),
            _ => Err(wrong()),
        },
        // A glob may begin with a bracket too: what is not a JSON list is read as text.
        Kind::List | Kind::Servers => match serde_json::from_str(text) {
            Ok(list @ Value::Array(_)) => from_json(kind, &list),
            _ => split(kind, text).ok_or_else(wrong),
        },
        Kind::Secret => match serde_json::from_str(text) {
            Ok(object @ Value::Object(_)) => from_json(kind, &object),
            _ => Ok(Plain::Secret(SecretSource::Plain(Secret::new(text)))),
        },
    }
}

/// Reads a flag: as other texts, but a secret may not stand on a command line, which every user of
/// the machine can read.
pub fn from_flag(kind: Kind, text: &str) -> Result<Plain, String> {
    match from_text(kind, text)? {
        Plain::Secret(SecretSource::Plain(_)) => Err(
            "a secret must not stand on the command line; give {\"file\":\"/path\"}, {\"env\":\"NAME\"} or {\"credential\":\"name\"}"
                .to_owned(),
        ),
        plain => Ok(plain),
    }
}

fn must_be(kind: Kind) -> String {
    format!("must be {}", kind.expectation())
}

fn chosen(choices: &[&str], text: &str) -> Option<Plain> {
    choices.contains(&text).then(|| Plain::Text(text.to_owned()))
}

fn within(number: Option<i64>, min: i64, max: i64) -> Option<Plain> {
    number.filter(|number| (min..=max).contains(number)).map(Plain::Number)
}

fn split(kind: Kind, text: &str) -> Option<Plain> {
    let separators: &[char] = if kind == Kind::Servers { &[',', ';'] } else { &[','] };
    if text.trim().is_empty() {
        return Some(Plain::List(Vec::new()));
    }
    without_empty(text.split(separators).map(|item| item.trim().to_owned()).collect())
}

fn without_empty(items: Vec<String>) -> Option<Plain> {
    (!items.iter().any(String::is_empty)).then_some(Plain::List(items))
}

fn secret_object(value: &Value) -> Option<SecretSource> {
    let object = value.as_object().filter(|object| object.len() == 1)?;
    let (form, name) = object.iter().next()?;
    let name = name.as_str().filter(|name| !name.is_empty())?.to_owned();
    match form.as_str() {
        "file" => Some(SecretSource::File(name)),
        "env" => Some(SecretSource::Variable(name)),
        "credential" => Some(SecretSource::Credential(name)),
        _ => None,
    }
}
