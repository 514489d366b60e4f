//! Writing the JSON texts that some fields of a record hold.
//!
//! The same content always gives the same text, whichever generation of bcs-storage stored it and
//! in whatever order its members came: compact, members of free form sorted by key, null members
//! left out, integers without a fraction. Without that, a pod would be written again for nothing.

use std::borrow::Cow;
use std::fmt::Write;

use serde::de::{MapAccess, SeqAccess};

use super::read::{Fill, Place, Texts, sort_last_wins};

/// Levels of lists and objects that are kept; what lies deeper is left out. A Kubernetes quantity,
/// port or container state needs three.
const DEPTH_LIMIT: u8 = 16;

/// JSON of free form.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum Tree<'de> {
    /// Absent, null or too deep.
    #[default]
    Nothing,
    /// A boolean.
    Flag(bool),
    /// An integer.
    Integer(i64),
    /// Another number.
    Fraction(f64),
    /// A text.
    Text(Cow<'de, str>),
    /// A list.
    List(Vec<Tree<'de>>),
    /// An object, sorted by key, each key once; members that hold nothing are not written.
    Object(Vec<(Cow<'de, str>, Tree<'de>)>),
}

/// A place for a list of free form; anything else leaves it empty.
#[derive(Debug, Default)]
pub(super) struct FreeList<'de>(pub Tree<'de>);

/// A place for an object of free form; anything else leaves it empty.
#[derive(Debug, Default)]
pub(super) struct FreeObject<'de>(pub Tree<'de>);

impl<'de> Place<'de> for FreeList<'de> {
    fn list<A: SeqAccess<'de>>(&mut self, list: A) -> Result<(), A::Error> {
        Branch { tree: &mut self.0, depth: DEPTH_LIMIT }.list(list)
    }
}

impl<'de> Place<'de> for FreeObject<'de> {
    fn object<A: MapAccess<'de>>(&mut self, object: A) -> Result<(), A::Error> {
        Branch { tree: &mut self.0, depth: DEPTH_LIMIT }.object(object)
    }
}

/// Where a tree grows, and how many levels it may still grow.
struct Branch<'t, 'de> {
    tree: &'t mut Tree<'de>,
    depth: u8,
}

impl<'de> Place<'de> for Branch<'_, 'de> {
    fn text(&mut self, text: Cow<'de, str>) {
        *self.tree = Tree::Text(text);
    }

    fn flag(&mut self, flag: bool) {
        *self.tree = Tree::Flag(flag);
    }

    fn integer(&mut self, number: i64) {
        *self.tree = Tree::Integer(number);
    }

    fn fraction(&mut self, number: f64) {
        *self.tree = Tree::Fraction(number);
    }

    fn list<A: SeqAccess<'de>>(&mut self, mut list: A) -> Result<(), A::Error> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Skipped.list(list);
        };
        let mut elements = Vec::new();
        let mut tree = Tree::Nothing;
        while list.next_element_seed(Fill(&mut Branch { tree: &mut tree, depth }))?.is_some() {
            match std::mem::take(&mut tree) {
                Tree::Nothing => {}
                element => elements.push(element),
            }
        }
        *self.tree = Tree::List(elements);
        Ok(())
    }

    fn object<A: MapAccess<'de>>(&mut self, mut object: A) -> Result<(), A::Error> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Skipped.object(object);
        };
        let mut members = Vec::new();
        let mut key = Cow::Borrowed("");
        let mut tree = Tree::Nothing;
        while object.next_key_seed(Fill(&mut key))?.is_some() {
            object.next_value_seed(Fill(&mut Branch { tree: &mut tree, depth }))?;
            members.push((std::mem::take(&mut key), std::mem::take(&mut tree)));
        }
        sort_last_wins(&mut members);
        *self.tree = Tree::Object(members);
        Ok(())
    }
}

/// A place that takes nothing.
struct Skipped;

impl Place<'_> for Skipped {}

impl Tree<'_> {
    fn write(&self, out: &mut String) {
        match self {
            Self::Nothing => out.push_str("null"),
            Self::Flag(flag) => out.push_str(if *flag { "true" } else { "false" }),
            Self::Integer(number) => write_integer(out, *number),
            Self::Fraction(number) => match serde_json::Number::from_f64(*number) {
                Some(number) => out.push_str(&number.to_string()),
                None => out.push_str("null"),
            },
            Self::Text(text) => write_text(out, text),
            Self::List(elements) => write_list(out, elements, |out, element| element.write(out)),
            Self::Object(members) => {
                let mut object = ObjectWriter::begin(out);
                for (key, member) in members {
                    object.tree(key, member);
                }
                object.end();
            }
        }
    }
}

/// Writes labels or annotations: keys sorted, `{}` for none.
pub(super) fn texts(out: &mut String, texts: &Texts<'_>) {
    let mut object = ObjectWriter::begin(out);
    for (key, text) in texts.entries() {
        object.text(key, Some(text));
    }
    object.end();
}

/// Writes a list, each element by `write`.
pub(super) fn write_list<T>(out: &mut String, elements: &[T], write: impl Fn(&mut String, &T)) {
    out.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        write(out, element);
    }
    out.push(']');
}

/// Writes an object member by member; members that are absent are left out.
pub(super) struct ObjectWriter<'o> {
    out: &'o mut String,
    empty: bool,
}

impl<'o> ObjectWriter<'o> {
    /// Opens the object.
    pub fn begin(out: &'o mut String) -> Self {
        out.push('{');
        Self { out, empty: true }
    }

    /// Closes it.
    pub fn end(self) {
        self.out.push('}');
    }

    /// A member; its value is to be written by the caller next.
    pub fn member(&mut self, name: &str) -> &mut String {
        if !std::mem::take(&mut self.empty) {
            self.out.push(',');
        }
        write_text(self.out, name);
        self.out.push(':');
        self.out
    }

    /// A text.
    pub fn text(&mut self, name: &str, text: Option<&str>) {
        if let Some(text) = text {
            write_text(self.member(name), text);
        }
    }

    /// A boolean.
    pub fn flag(&mut self, name: &str, flag: Option<bool>) {
        if let Some(flag) = flag {
            self.member(name).push_str(if flag { "true" } else { "false" });
        }
    }

    /// An integer.
    pub fn integer(&mut self, name: &str, number: Option<i64>) {
        if let Some(number) = number {
            write_integer(self.member(name), number);
        }
    }

    /// JSON of free form.
    pub fn tree(&mut self, name: &str, tree: &Tree<'_>) {
        if *tree != Tree::Nothing {
            tree.write(self.member(name));
        }
    }
}

fn write_integer(out: &mut String, number: i64) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{number}");
}

/// Writes a JSON string; only what JSON demands is escaped.
fn write_text(out: &mut String, text: &str) {
    out.push('"');
    if has_special(text) {
        write_escaped(out, text)
    } else {
        out.push_str(text)
    }
    out.push('"');
}

/// Whether a byte must be escaped. Nearly no text has one: pieces are looked at as a whole, which the
/// compiler does many bytes at a time.
fn has_special(text: &str) -> bool {
    let special = |byte: &u8| *byte < 0x20 || *byte == b'"' || *byte == b'\\';
    text.as_bytes().chunks(32).any(|piece| piece.iter().fold(false, |found, byte| found | special(byte)))
}

fn write_escaped(out: &mut String, text: &str) {
    let mut copied = 0;
    for (at, byte) in text.bytes().enumerate() {
        let escape = match byte {
            b'"' => "\\\"",
            b'\\' => "\\\\",
            b'\n' => "\\n",
            b'\r' => "\\r",
            b'\t' => "\\t",
            0x08 => "\\b",
            0x0C => "\\f",
            0..0x20 => "",
            _ => continue,
        };
        out.push_str(&text[copied..at]);
        copied = at + 1;
        if escape.is_empty() {
            let _ = write!(out, "\\u{byte:04x}");
        } else {
            out.push_str(escape);
        }
    }
    out.push_str(&text[copied..]);
}
