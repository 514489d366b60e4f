//! What must hold for any bytes the CMDB, or something before it, answers (protocol.md 2 and 3).

use super::envelope::{Intent, open};
use super::{CmdbError, StoredRecord, answer, topology as tree};
use serde::de::IgnoredAny;

/// Records in a page that was asked for, and in a create-many call.
const ASKED: u32 = 3;

/// The answer to any call: what is not an answer never tells that a write was not carried out; what
/// create-many says covers each record once; a page is sorted and never leads back. The first byte
/// chooses the HTTP status.
pub fn answer(data: &[u8]) {
    let Some((choice, body)) = data.split_first() else { return };
    let status = [200, 200, 204, 500, 502, 403][usize::from(*choice) % 6];
    let opened = open(status, body, Intent::Write);
    if serde_json::from_slice::<IgnoredAny>(body).is_err() && status != 403 {
        assert!(matches!(opened, Err(CmdbError::Ambiguous(_))), "{opened:?}");
    }
    let read = open(status, body, Intent::Read);
    assert!(!matches!(read, Err(CmdbError::Ambiguous(_))), "{read:?}");
    assert_eq!(read.is_ok(), opened.is_ok(), "success does not depend on what was asked");
    let Ok(data) = opened else { return };
    if let Ok(outcomes) = answer::created_many(data, ASKED as usize) {
        assert_eq!(outcomes.len(), ASKED as usize);
    }
    let _ = answer::deleted(data);
    if let Ok(Some(found)) = answer::one(data, 2, |record| record.pod_id == 7) {
        assert_eq!((found.pod_id, found.biz), (7, 2));
    }
    for after in [0, 7] {
        let mut records: Vec<StoredRecord> = Vec::new();
        let read =
            answer::page(data, (2, "BCS-K8S-1"), after, ASKED, &mut |stored| records.push(stored.clone()));
        let Ok(page) = read else { continue };
        assert_eq!(page.records, records.len() + page.unusable.count);
        assert!(records.is_sorted_by(|one, next| one.pod_id < next.pod_id));
        assert!(records.iter().all(|record| record.pod_id > after && record.cluster == "BCS-K8S-1"));
        assert!(page.next.is_none_or(|next| next > after), "paging leads back to {:?}", page.next);
        assert!(page.records < ASKED as usize || page.next.is_some(), "a full page ends the listing");
    }
}

/// A topology: read as a tree of any shape, or refused.
pub fn topology(data: &[u8]) {
    let Ok(data) = open(200, data, Intent::Read) else { return };
    if let Ok(modules) = tree::modules(data) {
        assert_eq!(tree::modules(data).as_ref(), Ok(&modules), "the same tree, other modules");
    }
}
