//! A full sync, one step at a time, with listings that may fail, miss and repeat.

use super::checks::Violation;
use super::cmdb::{Cmdb, PAGE};
use super::core::{Pages, Stage};
use super::driver::Run;
use super::mutations::Misuse;
use super::storage::Storage;
use bcs_bkcmdb_synchronizer::model::PodRecord;
use bcs_bkcmdb_synchronizer::plan::{Cause, Outcome};

impl Run {
    pub fn full_sync(&mut self) -> Result<(), Violation> {
        if self.core.full_sync_is_interrupted() {
            self.core.end_full_sync(Outcome::Aborted);
            return Ok(());
        }
        let Some(full_sync) = &mut self.core.full_sync else {
            self.core.begin_full_sync();
            return Ok(());
        };
        let (stage, causes) = (&mut full_sync.stage, full_sync.causes.clone());
        if self.outage || self.chance.fault(30) {
            let half = matches!(stage, Stage::Cmdb(_));
            if half && self.broke(Misuse::HalfListingCounts) {
                self.list_storage();
            } else {
                self.core.end_full_sync(Outcome::Failed);
            }
            return Ok(());
        }
        match stage {
            Stage::Flush => {
                // A flush has a deadline: sometimes the senders are still at work.
                if self.core.is_idle() || self.chance.rng.u8(..self.kind.theme.impatience()) == 0 {
                    self.core.ledger.begin_full_sync();
                    self.core.set_stage(Stage::Cmdb(self.list_cmdb()));
                }
            }
            Stage::Cmdb(pages) => match next_page(pages, &self.cmdb) {
                Some(page) => page.iter().for_each(|record| self.core.ledger.stored(record)),
                None => self.list_storage(),
            },
            Stage::Storage { names, page, read } => match names.pop_if(|_| *read < self.kind.page) {
                Some(name) => self.read_document(&name),
                None if *read > 0 => {
                    *read = 0;
                    let page = std::mem::take(page);
                    let lower = page.iter().filter(|pod| Storage::is_restored(pod));
                    let lower: Vec<String> = lower.map(|pod| pod.record.uuid.clone()).collect();
                    let orders = self.core.compare(page);
                    self.oracle.check_compared(&lower, &orders)?;
                }
                None => {
                    let Some(lacking) = self.core.missing() else { return Ok(()) };
                    let periodic = causes.contains(&Cause::Periodic);
                    self.oracle.check_missing(&lacking, periodic, &self.core, &self.storage, &self.cmdb)?;
                    let held_back = lacking.held_back > 0;
                    let outcome = if held_back { Outcome::HeldBack } else { Outcome::Ok };
                    if self.core.end_full_sync(outcome) {
                        self.oracle.took_over();
                    }
                }
            },
        }
        Ok(())
    }

    fn list_cmdb(&self) -> Pages {
        if self.kind.paged {
            let (page, after) = self.cmdb.page(0);
            return Pages::OneByOne { page, after };
        }
        let records: Vec<_> = self.cmdb.listed().cloned().collect();
        Pages::AtOnce(records.chunks(PAGE).map(<[_]>::to_vec).collect())
    }

    /// The listing of the storage begins; it may be empty by mistake.
    fn list_storage(&mut self) {
        self.core.ledger.end_stored();
        let names = if self.chance.fault(40) { Vec::new() } else { self.storage.names() };
        self.oracle.listing_begins();
        self.core.set_stage(Stage::Storage { names, page: Vec::new(), read: 0 });
    }

    /// A document is read; its page is compared when it is full. It may be missed, or come twice.
    fn read_document(&mut self, name: &str) {
        let times =
            match self.chance.fault_of(2, if self.kind.patchy { self.kind.theme.patches() } else { 20 }) {
                Some(0) => 0,
                Some(_) => 2,
                None => 1,
            };
        let pod = self.storage.list(name, &self.core.modules);
        let found: Vec<_> = std::iter::repeat_n(pod, times).flatten().collect();
        found.iter().for_each(|pod| self.oracle.listed(pod));
        if let Some(full_sync) = &mut self.core.full_sync
            && let Stage::Storage { page, read, .. } = &mut full_sync.stage
        {
            page.extend(found);
            *read += 1;
        }
    }
}

/// The page that is looked at now, if one is left; the one after it is read at the same time.
fn next_page(pages: &mut Pages, cmdb: &Cmdb) -> Option<Vec<PodRecord>> {
    match pages {
        Pages::AtOnce(pages) => pages.pop(),
        Pages::OneByOne { page, .. } if page.is_empty() => None,
        Pages::OneByOne { page, after } => {
            let (next, last) = cmdb.page(*after);
            *after = last;
            Some(std::mem::replace(page, next))
        }
    }
}
