//! Pages of the journal, newest first, read backwards from where the last page ended.
//!
//! A page reads a bounded piece of the files, whatever it is asked for.

use super::{DeletedRecord, days, file_of, is_day};
use serde::Serialize;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Deletes of one page at most.
pub const LIMIT: usize = 1_000;
/// Bytes of the files that one page reads at most; a filter may have to pass over much.
const SCANNED: u64 = 4 << 20;
/// Bytes that are read at a time. A line is below 4 KiB: names of 256 bytes and a proof.
const CHUNK: u64 = 64 << 10;

/// Which deletes are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteQuery {
    /// How many at most, up to [`LIMIT`].
    pub limit: usize,
    /// Where the page before ended: its `next`.
    pub before: Option<Cursor>,
    /// Only of this cluster.
    pub cluster: Option<String>,
}

/// One page.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DeletePage {
    /// Newest first.
    pub deletes: Vec<DeletedRecord>,
    /// Ask for the page `before` this one to go on; none: there is no more. A page may be empty
    /// and still have a next one, where a filter passed over many.
    pub next: Option<String>,
}

/// A place in the files: a day, and bytes of its file before it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    day: String,
    offset: u64,
}

impl DeleteQuery {
    /// Reads the query of a URL: `limit`, `before`, `cluster`.
    ///
    /// # Errors
    /// What would be right, in words.
    pub fn parse(query: &str) -> Result<Self, String> {
        let mut parsed = Self { limit: LIMIT, before: None, cluster: None };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_encoding::percent_decode_str(value).decode_utf8_lossy();
            match name {
                "limit" => {
                    let limit = value.parse().ok().filter(|limit| (1..=LIMIT).contains(limit));
                    parsed.limit =
                        limit.ok_or_else(|| format!("limit must be a number from 1 to {LIMIT}"))?;
                }
                "before" => {
                    let cursor = Cursor::parse(&value);
                    parsed.before = Some(cursor.ok_or("before must be the next of an earlier page")?);
                }
                "cluster" => parsed.cluster = Some(value.into_owned()),
                _ => return Err("the query may hold limit, before and cluster".to_owned()),
            }
        }
        Ok(parsed)
    }

    fn wants(&self, record: &DeletedRecord) -> bool {
        self.cluster.as_ref().is_none_or(|cluster| *cluster == record.cluster_id)
    }
}

impl Cursor {
    fn parse(text: &str) -> Option<Self> {
        let (day, offset) = text.split_once(':')?;
        Some(Self { day: is_day(day).then(|| day.to_owned())?, offset: offset.parse().ok()? })
    }
}

impl DeletePage {
    /// The page of what is in memory, newest first. There is no next one.
    pub fn of_memory(last: &[DeletedRecord], query: &DeleteQuery) -> Self {
        if query.before.is_some() {
            return Self::default();
        }
        let deletes = last.iter().filter(|record| query.wants(record)).take(query.limit).cloned().collect();
        Self { deletes, next: None }
    }
}

/// A page of the files.
pub(super) fn read(directory: &Path, query: &DeleteQuery) -> io::Result<DeletePage> {
    let mut page = DeletePage::default();
    let mut left = SCANNED;
    for day in days(directory)?.into_iter().rev() {
        let from = match &query.before {
            Some(cursor) if day > cursor.day => continue,
            Some(cursor) if day == cursor.day => cursor.offset,
            _ => u64::MAX,
        };
        let file = match File::open(file_of(directory, &day)) {
            // Too old by now.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            opened => opened?,
        };
        let end = from.min(file.metadata()?.len());
        if let Some(offset) = read_file(&file, end, query, &mut left, &mut page.deletes)? {
            page.next = Some(format!("{day}:{offset}"));
            break;
        }
    }
    Ok(page)
}

/// Reads a file backwards from `end`; where to go on, unless its beginning was reached.
fn read_file(
    file: &File,
    mut end: u64,
    query: &DeleteQuery,
    left: &mut u64,
    found: &mut Vec<DeletedRecord>,
) -> io::Result<Option<u64>> {
    while end > 0 {
        if *left < CHUNK || found.len() >= query.limit {
            return Ok(Some(end));
        }
        let start = end.saturating_sub(CHUNK);
        let mut chunk = vec![0; (end - start) as usize];
        file.read_exact_at(&mut chunk, start)?;
        *left -= chunk.len() as u64;
        // What stands before the first line break belongs to a line that begins further up.
        let whole = match start {
            0 => 0,
            _ => chunk.iter().position(|byte| *byte == b'\n').map_or(chunk.len(), |at| at + 1),
        };
        let mut at = chunk.len();
        while at > whole {
            let line_end = at - usize::from(chunk[at - 1] == b'\n');
            let begin = chunk[whole..line_end].iter().rposition(|byte| *byte == b'\n');
            let begin = begin.map_or(whole, |position| whole + position + 1);
            // A line that a crash cut short, or that somebody else wrote, is passed over.
            if let Ok(record) = serde_json::from_slice::<DeletedRecord>(&chunk[begin..line_end])
                && query.wants(&record)
            {
                if found.len() >= query.limit {
                    return Ok(Some(start + at as u64));
                }
                found.push(record);
            }
            at = begin;
        }
        end = if whole == chunk.len() { start } else { start + whole as u64 };
    }
    Ok(None)
}
