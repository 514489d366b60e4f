//! A record as JSON text: what a list returns and what the change feed keeps.
//!
//! The text of a new record is made by whoever brings it; the writer, of which there is one, adds
//! no more than what it alone knows.

use super::schema;
use crate::container_server::fields::{FIELDS, FieldSpec, GENERATED};
use crate::container_server::rules::Row;
use rusqlite::types::ValueRef;
use std::io::Write;

/// Bytes of a usual record.
const USUAL: usize = 2048;

/// A new record on its way to the writer.
pub struct Draft {
    /// Checked values.
    pub row: Row,
    /// Their members as JSON, each with a comma before it.
    members: Vec<u8>,
}

impl Draft {
    /// Makes the JSON of checked values.
    pub fn new(row: Row) -> Self {
        let mut members = Vec::with_capacity(USUAL);
        for (field, cell) in FIELDS.iter().zip(&row) {
            members.push(b',');
            write_member(field, ValueRef::from(cell), &mut members);
        }
        Self { row, members }
    }

    /// The whole record, as [`write_record`] writes it once it is stored. `generated`: the values of
    /// [`GENERATED`] but the first, which is `id`.
    pub fn record(&self, id: i64, generated: &[&str], out: &mut Vec<u8>) {
        out.push(b'{');
        write_member(&GENERATED[0], ValueRef::Integer(id), out);
        out.extend_from_slice(&self.members);
        for (field, value) in GENERATED[1..].iter().zip(generated) {
            out.push(b',');
            write_member(field, ValueRef::Text(value.as_bytes()), out);
        }
        out.push(b'}');
    }
}

/// Appends a row as JSON; what is absent is `null`.
pub fn write_record(
    columns: &[&FieldSpec],
    row: &rusqlite::Row<'_>,
    out: &mut Vec<u8>,
) -> rusqlite::Result<()> {
    out.push(b'{');
    for (index, field) in columns.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_member(field, row.get_ref(index)?, out);
    }
    out.push(b'}');
    Ok(())
}

fn write_member(field: &FieldSpec, value: ValueRef<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b"\":");
    // Numbers and texts have a JSON form, and memory takes it.
    let _ = match value {
        ValueRef::Integer(number) => write!(out, "{number}"),
        ValueRef::Text(text) => {
            serde_json::to_writer(&mut *out, &String::from_utf8_lossy(text)).map_err(Into::into)
        }
        _ => out.write_all(b"null"),
    };
}

/// The statement that inserts a [`Draft`], if no unique rule stands against it.
pub fn insert_statement() -> String {
    let columns = FIELDS.iter().chain(&GENERATED[1..]);
    let marks = vec!["?"; FIELDS.len() + GENERATED.len() - 1].join(",");
    format!("INSERT INTO pod ({}) VALUES ({marks}) ON CONFLICT DO NOTHING", schema::names(columns))
}
