//! One page of a listing, taken apart while it arrives (protocol.md 1.1).
//!
//! The envelope's members come in any order and `data` may be first, so documents are handed out
//! before `result` is known: they count only once [`Page::finish`] says so. Here is the structure
//! of the envelope and nothing else; what its members mean is judged in `wire`.

use super::framing::{Gatherer, TooLarge, VALUE_LIMIT, is_space};

/// Bytes of an envelope member other than `data`; a message is a sentence.
const MEMBER_LIMIT: usize = 64 * 1024;

/// Takes each element of `data`.
pub(super) type OnElement<'a> = dyn FnMut(Result<&[u8], TooLarge>) + 'a;

/// What `data` turned out to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum DataShape {
    #[default]
    Absent,
    /// A list, the only good one.
    List,
    /// `null`, an object, or anything else.
    Other,
}

/// The members of the envelope, as they stood there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Members {
    pub(super) result: Option<Vec<u8>>,
    pub(super) code: Option<Vec<u8>>,
    pub(super) message: Option<Vec<u8>>,
    pub(super) data: DataShape,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Start,
    /// After `{`: a name, or the end of an empty object.
    FirstName,
    /// After a comma: a name.
    Name,
    InName,
    Colon,
    Value,
    InValue,
    /// After `[`: an element, or the end of an empty list.
    FirstElement,
    /// After a comma: an element.
    Element,
    InElement,
    AfterElement,
    AfterValue,
    End,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Name {
    Result,
    Code,
    Message,
    Data,
    Other,
}

/// One page on its way in.
#[derive(Debug)]
pub(super) struct Page {
    at: At,
    name: Name,
    members: Members,
    gatherer: Gatherer,
}

impl Page {
    pub(super) fn new() -> Self {
        Self { at: At::Start, name: Name::Other, members: Members::default(), gatherer: Gatherer::new() }
    }

    /// Starts over with the next page; buffers stay.
    pub(super) fn restart(&mut self) {
        self.at = At::Start;
        self.members = Members::default();
    }

    /// Takes the next bytes; `on_element` gets each element of `data` that ends in them.
    ///
    /// An error says in words where the bytes leave the structure of an envelope.
    pub(super) fn feed(&mut self, mut input: &[u8], on_element: &mut OnElement<'_>) -> Result<(), String> {
        while let Some(first) = input.first() {
            if matches!(self.at, At::InName | At::InValue | At::InElement) {
                let (taken, complete) = self.gatherer.feed(input);
                input = &input[taken..];
                if complete {
                    self.complete(on_element)?;
                }
            } else if is_space(*first) || self.token(*first)? {
                input = &input[1..];
            }
        }
        Ok(())
    }

    /// The members of a page that has ended where it should.
    pub(super) fn finish(&mut self) -> Result<Members, String> {
        match self.at {
            At::End => Ok(std::mem::take(&mut self.members)),
            At::Start => Err("the answer is empty".to_owned()),
            _ => Err("the answer ends too early".to_owned()),
        }
    }

    /// Decides at a byte outside any value where to go; whether the byte is used up.
    fn token(&mut self, byte: u8) -> Result<bool, String> {
        let (next, used) = match (self.at, byte) {
            (At::Start, b'{') => (At::FirstName, true),
            (At::FirstName | At::AfterValue, b'}') => (At::End, true),
            (At::FirstName | At::Name, b'"') => (At::InName, false),
            (At::Colon, b':') => (At::Value, true),
            (At::Value, b'[') if self.name == Name::Data => {
                self.set_data(DataShape::List)?;
                (At::FirstElement, true)
            }
            (At::FirstElement | At::AfterElement, b']') => (At::AfterValue, true),
            (At::AfterElement, b',') => (At::Element, true),
            (At::AfterValue, b',') => (At::Name, true),
            (At::Value, byte) if begins_value(byte) => (At::InValue, false),
            (At::FirstElement | At::Element, byte) if begins_value(byte) => (At::InElement, false),
            (At::Start, _) => {
                return Err(format!("a JSON object is expected, not `{}…`", byte.escape_ascii()));
            }
            (At::End, _) => return Err("something follows the envelope".to_owned()),
            _ => return Err(format!("the envelope is broken at a `{}`", byte.escape_ascii())),
        };
        if matches!(next, At::InName | At::InValue) {
            self.gatherer.begin(MEMBER_LIMIT);
        } else if next == At::InElement {
            self.gatherer.begin(VALUE_LIMIT);
        }
        self.at = next;
        Ok(used)
    }

    fn complete(&mut self, on_element: &mut OnElement<'_>) -> Result<(), String> {
        match self.at {
            At::InElement => {
                on_element(self.gatherer.value());
                self.at = At::AfterElement;
            }
            At::InName => {
                self.name = match self.gatherer.value() {
                    Ok(b"\"result\"") => Name::Result,
                    Ok(b"\"code\"") => Name::Code,
                    Ok(b"\"message\"") => Name::Message,
                    Ok(b"\"data\"") => Name::Data,
                    _ => Name::Other,
                };
                self.at = At::Colon;
            }
            _ => {
                self.keep_member()?;
                self.at = At::AfterValue;
            }
        }
        Ok(())
    }

    fn keep_member(&mut self) -> Result<(), String> {
        let value = self.gatherer.value().unwrap_or(b"\"(too long)\"").to_vec();
        let member = match self.name {
            Name::Result => &mut self.members.result,
            Name::Code => &mut self.members.code,
            Name::Message => &mut self.members.message,
            Name::Data => return self.set_data(DataShape::Other),
            Name::Other => return Ok(()),
        };
        match member.replace(value) {
            None => Ok(()),
            Some(_) => Err("a member of the envelope stands there twice".to_owned()),
        }
    }

    fn set_data(&mut self, shape: DataShape) -> Result<(), String> {
        match std::mem::replace(&mut self.members.data, shape) {
            DataShape::Absent => Ok(()),
            _ => Err("`data` stands in the envelope twice".to_owned()),
        }
    }
}

fn begins_value(byte: u8) -> bool {
    !b",:]}".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    type Parsed = Result<(Members, Vec<Vec<u8>>), String>;

    /// Takes `input` in pieces of `step` bytes.
    fn parse(input: &[u8], step: usize) -> Parsed {
        let mut page = Page::new();
        let mut elements = Vec::new();
        for piece in input.chunks(step) {
            page.feed(piece, &mut |element| elements.push(element.unwrap().to_vec()))?;
        }
        page.finish().map(|members| (members, elements))
    }

    /// The same for any size of pieces.
    fn check(input: &[u8]) -> Parsed {
        let whole = parse(input, input.len().max(1));
        for step in 1..8 {
            assert_eq!(parse(input, step), whole, "in steps of {step}");
        }
        whole
    }

    fn check_error(input: &str, word: &str) {
        let error = check(input.as_bytes()).unwrap_err();
        assert!(error.contains(word), "{input}: {error}");
    }

    #[test]
    fn members_come_in_any_order_and_elements_as_they_stand() {
        for input in [
            r#"{"result":true,"code":0,"message":"ok","data":[{"a":"]}"},[1] ,null, "x"]}"#,
            r#" { "data" : [{"a":"]}"},[1],null,"x"], "code":0, "other":{"data":[7]}, "message":"ok","result":true } "#,
        ] {
            let (members, elements) = check(input.as_bytes()).unwrap();
            assert_eq!(elements, [&br#"{"a":"]}"}"#[..], b"[1]", b"null", b"\"x\""]);
            assert_eq!(members.result.as_deref(), Some(&b"true"[..]));
            assert_eq!(members.code.as_deref(), Some(&b"0"[..]));
            assert_eq!(members.message.as_deref(), Some(&b"\"ok\""[..]));
            assert_eq!(members.data, DataShape::List);
        }
    }

    #[test]
    fn an_empty_list_is_told_from_none_and_from_anything_else() {
        for (input, shape) in [
            (r#"{"data":[]}"#, DataShape::List),
            (r#"{"data":[ ]}"#, DataShape::List),
            (r#"{}"#, DataShape::Absent),
            (r#"{"data":null}"#, DataShape::Other),
            (r#"{"data":{"x":[1]}}"#, DataShape::Other),
            (r#"{"data":"[]"}"#, DataShape::Other),
        ] {
            let (members, elements) = check(input.as_bytes()).unwrap();
            assert_eq!((members.data, elements.len()), (shape, 0), "{input}");
        }
    }

    #[test]
    fn what_leaves_the_structure_is_an_error() {
        for (input, word) in [
            ("", "empty"),
            ("  ", "empty"),
            ("<html>", "JSON object"),
            ("[]", "JSON object"),
            ("null", "JSON object"),
            ("{", "too early"),
            (r#"{"data":[{"a":1}"#, "too early"),
            (r#"{"data":[{"a":1"#, "too early"),
            (r#"{"data":[1,]}"#, "broken"),
            (r#"{"data":[,1]}"#, "broken"),
            (r#"{"data":[1 2]}"#, "broken"),
            (r#"{"a":,"b":1}"#, "broken"),
            (r#"{"a" 1}"#, "broken"),
            (r#"{"a":1,}"#, "broken"),
            (r#"{a:1}"#, "broken"),
            (r#"{} {}"#, "follows"),
            (r#"{"data":[],"data":[1]}"#, "twice"),
            (r#"{"data":[],"data":null}"#, "twice"),
            (r#"{"result":true,"result":false}"#, "twice"),
        ] {
            check_error(input, word);
        }
    }

    #[test]
    fn a_document_that_is_no_utf8_or_no_json_costs_only_itself() {
        let (_, elements) = check(b"{\"data\":[{\"a\":\"\xff\"},{\"a\":},{}]}").unwrap();
        assert_eq!(elements, [&b"{\"a\":\"\xff\"}"[..], b"{\"a\":}", b"{}"]);
    }

    #[test]
    fn a_document_above_the_limit_is_reported_and_the_others_stand() {
        let mut page = Page::new();
        let mut seen = Vec::new();
        let mut on_element = |element: Result<&[u8], TooLarge>| {
            seen.push(element.map(<[u8]>::len).map_err(|error| error.bytes));
        };
        page.feed(b"{\"data\":[{},\"", &mut on_element).unwrap();
        let block = vec![b'x'; 1024 * 1024];
        for _ in 0..17 {
            page.feed(&block, &mut on_element).unwrap();
        }
        page.feed(b"\",{}]}", &mut on_element).unwrap();
        assert_eq!(seen, [Ok(2), Err(17 * 1024 * 1024 + 2), Ok(2)]);
        assert_eq!(page.finish().unwrap().data, DataShape::List);
    }

    #[test]
    fn a_page_can_be_started_over_in_the_middle_of_another() {
        let mut page = Page::new();
        page.feed(b"{\"result\":true,\"data\":[{\"a\"", &mut |_| ()).unwrap();
        page.restart();
        page.feed(b"{\"result\":false}", &mut |_| ()).unwrap();
        assert_eq!(page.finish().unwrap().result.as_deref(), Some(&b"false"[..]));
    }
}
