//! The last deletes of this instance, for `GET /api/v1/deletes`.

use super::snapshot::DeletedRecord;
use parking_lot::Mutex;
use std::collections::VecDeque;

/// Deletes kept: 1,000 × about 400 bytes.
const KEPT: usize = 1_000;

/// A ring of the last deletes.
#[derive(Debug, Default)]
pub(super) struct DeleteLog {
    last: Mutex<VecDeque<DeletedRecord>>,
}

impl DeleteLog {
    pub fn add(&self, record: DeletedRecord) {
        let mut last = self.last.lock();
        if last.len() >= KEPT {
            last.pop_back();
        }
        last.push_front(record);
    }

    /// Newest first.
    pub fn all(&self) -> Vec<DeletedRecord> {
        self.last.lock().iter().cloned().collect()
    }
}
