//! What befalls the synchronizer: streams that break, restarts, other writers.

use super::checks::Violation;
use super::cmdb::Write;
use super::core::{Core, LANES, RECHECK};
use super::driver::Run;
use super::placement::{Placement, fit};
use super::theme::Theme;
use super::trace;
use bcs_bkcmdb_synchronizer::model::Field;
use bcs_bkcmdb_synchronizer::plan::FieldSet;
use std::time::Duration;

impl Run {
    // ---- the watch -------------------------------------------------------------------------

    pub fn deliver(&mut self) -> Result<(), Violation> {
        let (again, halting) = (self.chance.fault(self.kind.theme.again()), self.chance.fault(6));
        if let Some(event) = self.storage.deliver(&mut self.chance.rng, again, halting)? {
            self.note(|_| format!("  {}", trace::event(&event)));
            self.core.deliver(event);
        }
        Ok(())
    }

    pub fn break_stream(&mut self) {
        self.storage.break_stream(&mut self.chance.rng);
        self.core.connected = false;
        self.subscribe_at = None;
        self.open_at = Some(self.core.now + Duration::from_millis(self.chance.rng.u64(..5000)));
    }

    /// A new stream opens, perhaps at another address; it subscribes some time later.
    pub fn open(&mut self) {
        self.storage.open_stream();
        self.storage.mute &= self.wild && self.chance.rng.u8(..4) == 0;
        self.open_at = None;
        self.core.stream_opened();
        self.subscribe_at = Some(self.core.now + Duration::from_millis(self.chance.rng.u64(..5000)));
    }

    // ---- restarts and other writers --------------------------------------------------------

    /// All that is known is lost; writes on their way may still land, as late as any.
    pub fn restart(&mut self) {
        for shard in 0..LANES {
            if let Some((step, None)) = &self.core.shards[shard].flight
                && let Some(write) = self.core.write_of(shard, step)
            {
                self.oracle.doubt_all(&write);
                match self.chance.rng.u8(..3) {
                    0 => drop(self.cmdb.write(&write)),
                    1 => self.cmdb.land_later(write, self.core.now + RECHECK),
                    _ => {}
                }
            }
        }
        let modules = Placement { modules: self.cmdb.modules.clone(), ..self.core.modules.clone() };
        self.core = Core::new(self.core.now, self.chance.rng.u64(..), self.core.settings, modules);
        self.oracle.restarted();
        self.break_stream();
    }

    /// For a while another instance wrote for this cluster.
    pub fn lose_permission(&mut self) {
        let placement = Placement { modules: self.cmdb.modules.clone(), ..self.core.modules.clone() };
        for pod in self.storage.living() {
            let wanted = fit(&placement.place(pod).record, &self.cmdb.modules);
            let Some(held) = self.cmdb.records.get_mut(&pod.record.uuid).filter(|held| held.is_listed())
            else {
                continue;
            };
            let Some(mut wanted) = wanted.filter(|_| self.chance.rng.bool()) else { continue };
            if wanted.text(Field::HostInnerIp).is_empty() {
                wanted.set_text(Field::HostInnerIp, held.record.text(Field::HostInnerIp));
            }
            self.oracle.doubt(&pod.record.uuid);
            // What it sent last may still be on its way.
            let late = if self.kind.theme == Theme::TakeOver { 2 } else { 4 };
            match self.chance.rng.u8(..late) {
                0 => {
                    let late = Write::Update(Box::new(wanted), FieldSet::ALL);
                    self.cmdb.land_later(late, self.core.now + RECHECK);
                }
                _ => held.record = wanted,
            }
        }
        if self.kind.theme == Theme::Heirs {
            self.recorded_by_another(&placement);
        }
        self.oracle.interrupted(&self.storage);
        self.core.permission_was_lost();
    }

    /// What the other instance sent to create records may still be on its way too.
    fn recorded_by_another(&mut self, placement: &Placement) {
        let new = self.storage.living().filter(|pod| !self.cmdb.records.contains_key(&pod.record.uuid));
        let records = new.filter(|pod| pod.scheduled);
        let records = records.filter_map(|pod| fit(&placement.place(pod).record, &self.cmdb.modules));
        let write = Write::Create(records.filter(|_| self.chance.rng.bool()).collect());
        self.oracle.doubt_all(&write);
        self.cmdb.land_later(write, self.core.now + RECHECK);
    }

    /// Somebody changes the CMDB by hand.
    pub fn drift(&mut self) {
        let uuids: Vec<String> = self.cmdb.listed().map(|record| record.uuid.clone()).collect();
        let Some(uuid) = self.chance.rng.choice(&uuids) else { return };
        self.oracle.doubt(uuid);
        if self.chance.rng.bool() {
            self.cmdb.records.remove(uuid);
        } else if let Some(held) = self.cmdb.records.get_mut(uuid) {
            held.record.set_text(Field::Status, "Unknown");
        }
    }
}
