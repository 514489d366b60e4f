//! Documents and events of the storage that nothing can be made of: the first ones by name, for the
//! status, and the log once for each.
//!
//! A listing that is complete settles it: what it did not show again is over, events among it, for it
//! has told what they were about.

use super::snapshot::InvalidDocuments;
use crate::convert::InvalidDocument;
use crate::plan::Moment;
use parking_lot::Mutex;

/// Documents kept by name: 50 × at most 1.5 KB for each cluster. Of more, only the number is known.
const KEPT: usize = 50;

/// The invalid documents of one cluster.
#[derive(Debug, Default)]
pub(super) struct Documents {
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    kept: Vec<Kept>,
    /// Further ones since the last listing began, and those before it.
    beyond: [usize; 2],
    /// The listing that is under way, or the last one.
    listing: u64,
}

/// One of them.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub document: InvalidDocument,
    /// When it was seen first.
    pub since: Moment,
    listing: u64,
}

impl Documents {
    /// A listing begins.
    pub fn listing_begins(&self) {
        let mut open = self.open.lock();
        open.listing += 1;
        open.beyond = [0, open.beyond[0].max(open.beyond[1])];
    }

    /// The listing is complete. Returns whether every document can be understood now.
    pub fn listing_ends(&self) -> bool {
        let mut open = self.open.lock();
        let listing = open.listing;
        open.kept.retain(|kept| kept.listing == listing);
        open.beyond[1] = 0;
        open.kept.is_empty()
    }

    /// A document or event was met. Returns whether it is news, for the log.
    pub fn met(&self, document: InvalidDocument, now: Moment) -> bool {
        let mut open = self.open.lock();
        let listing = open.listing;
        if let Some(known) = open.kept.iter_mut().find(|kept| is_same(&kept.document, &document)) {
            known.listing = listing;
            known.document = document;
            return false;
        }
        if open.kept.len() >= KEPT {
            open.beyond[0] += 1;
            return false;
        }
        open.kept.push(Kept { document, since: now, listing });
        true
    }

    /// What is known of them, for the status.
    pub fn shown(&self, show: impl FnMut(Kept) -> super::snapshot::InvalidDocument) -> InvalidDocuments {
        let open = self.open.lock();
        let count = open.kept.len() + open.beyond[0].max(open.beyond[1]);
        InvalidDocuments { count, first: open.kept.iter().cloned().map(show).collect() }
    }
}

/// Whether both are about one document; what names none is told apart by its reason.
fn is_same(one: &InvalidDocument, other: &InvalidDocument) -> bool {
    fn identity(document: &InvalidDocument) -> [&str; 3] {
        [&document.storage_id, &document.namespace, &document.name]
    }
    identity(one) == identity(other) && (identity(one) != [""; 3] || one.reason == other.reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(name: &str, reason: &str) -> InvalidDocument {
        let (storage_id, namespace) = (String::new(), String::new());
        InvalidDocument { storage_id, namespace, name: name.into(), reason: reason.into() }
    }

    fn shown(documents: &Documents) -> (usize, Vec<String>) {
        let show = |kept: Kept| crate::sync::snapshot::InvalidDocument {
            storage_id: String::new(),
            namespace: String::new(),
            name: kept.document.name,
            reason: kept.document.reason,
            since: kept.since.as_secs().to_string(),
        };
        let shown = documents.shown(show);
        let words = |one: &crate::sync::snapshot::InvalidDocument| {
            format!("{} {} since {}", one.name, one.reason, one.since)
        };
        (shown.count, shown.first.iter().map(words).collect())
    }

    #[test]
    fn each_document_is_news_once_and_keeps_the_time_it_was_seen_first() {
        let documents = Documents::default();
        assert!(documents.met(document("a", "no uid"), Moment::from_secs(1)));
        assert!(documents.met(document("b", "no uid"), Moment::from_secs(2)));
        assert!(!documents.met(document("a", "no name"), Moment::from_secs(3)));
        assert!(documents.met(document("", "type 17"), Moment::from_secs(4)));
        assert!(!documents.met(document("", "type 17"), Moment::from_secs(5)));
        let expected = ["a no name since 1", "b no uid since 2", " type 17 since 4"];
        assert_eq!(shown(&documents), (3, expected.map(str::to_owned).to_vec()));
    }

    #[test]
    fn what_a_complete_listing_does_not_show_again_is_over() {
        let documents = Documents::default();
        documents.listing_begins();
        documents.met(document("a", "x"), Moment::ZERO);
        documents.met(document("b", "x"), Moment::ZERO);
        assert!(!documents.listing_ends());
        documents.listing_begins();
        documents.met(document("b", "x"), Moment::ZERO);
        // One that fails says nothing about what it did not reach.
        documents.listing_begins();
        documents.met(document("b", "x"), Moment::ZERO);
        assert_eq!(shown(&documents).0, 2);
        assert!(!documents.listing_ends());
        assert_eq!(shown(&documents).1, ["b x since 0"]);
        documents.listing_begins();
        assert!(documents.listing_ends());
    }

    #[test]
    fn however_many_there_are_a_few_are_kept_and_all_are_counted() {
        let documents = Documents::default();
        for _ in 0..3 {
            documents.listing_begins();
            let news = |n: &usize| documents.met(document(&n.to_string(), "x"), Moment::ZERO);
            (0..1000).filter(news).count();
            assert_eq!((shown(&documents).0, shown(&documents).1.len()), (1000, KEPT));
            documents.listing_ends();
            assert_eq!((shown(&documents).0, shown(&documents).1.len()), (1000, KEPT));
        }
    }
}
