//! What kind of run a seed makes: how everything is set, and what is there before the start. Each kind
//! makes some situations likely that others hardly ever come to.

use super::checks::dead_uuid;
use super::cmdb::{Cmdb, Held, OLD_BIZ, OUR_BIZ};
use super::core::{INTERVAL, Settings};
use super::driver::Action;
use super::mutations::Broken;
use super::placement::fit;
use super::storage::Storage;
use super::theme::Theme;
use bcs_bkcmdb_synchronizer::model::Field;
use bcs_bkcmdb_synchronizer::plan::GuardSettings;
use fastrand::Rng;

/// What kind of run it is.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    pub theme: Theme,
    /// Whether anything happens that a full sync follows: without, events alone must do.
    pub interrupted: bool,
    /// Whether things happen that only a full sync can find.
    pub lossy: bool,
    pub slow: Slow,
    /// Pods change mostly while something about them is on its way.
    pub aimed: bool,
    /// Listings miss and repeat a great part of the documents.
    pub patchy: bool,
    /// Documents in a page of a listing.
    pub page: usize,
    /// Each page of the CMDB's listing is as of when it is read.
    pub paged: bool,
}

impl Kind {
    pub fn of(rng: &mut Rng) -> Self {
        Self {
            theme: Theme::Nothing,
            interrupted: rng.u8(..3) > 0,
            lossy: rng.u8(..4) == 0,
            slow: Slow::ALL[rng.usize(..Slow::ALL.len())],
            aimed: rng.u8(..3) == 0,
            patchy: rng.u8(..8) == 0,
            page: 1 + rng.usize(..3),
            paged: false,
        }
    }
}

/// Which part is slow in a run: every one of them lets others overtake it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slow {
    Nothing,
    Watch,
    Gate,
    Requests,
    Answers,
    FullSync,
}

impl Slow {
    const ALL: [Self; 6] =
        [Self::Nothing, Self::Watch, Self::Gate, Self::Requests, Self::Answers, Self::FullSync];

    /// Whether the action is one of the slow ones.
    pub fn takes(self, action: Action) -> bool {
        match action {
            Action::MakeEvent | Action::Deliver => self == Self::Watch,
            Action::Gate => self == Self::Gate,
            Action::CarryOut(_) => self == Self::Requests,
            Action::Answer(_) => self == Self::Answers,
            Action::FullSync => self == Self::FullSync,
            // A write without an answer may land until the last moment.
            Action::Land => true,
            _ => false,
        }
    }
}

/// How many names pods have: with few of them one follows the other.
pub fn names(rng: &mut Rng) -> u8 {
    [1, 2, 6, 6, 6, 6][rng.usize(..6)]
}

/// How the synchronizer is configured.
pub fn settings(broken: Option<Broken>, rng: &mut Rng) -> Settings {
    let guard = match rng.u8(..4) {
        0 => GuardSettings { percent: 30, min: 1, interval: INTERVAL },
        _ => GuardSettings { percent: 100, min: 0, interval: INTERVAL },
    };
    Settings {
        queue: [2, 100][rng.usize(..2)],
        parked_records: rng.usize(..3),
        deletes: rng.u8(..8) > 0,
        guard,
        trusting: false,
        broken,
    }
}

/// What is there before the start: pods, records of dead ones, of a previous business and of another
/// cluster.
pub fn furnish(storage: &mut Storage, cmdb: &mut Cmdb, rng: &mut Rng) {
    for _ in 0..rng.usize(..12) {
        storage.change(None, rng);
    }
    let mut held: Vec<Held> = Vec::new();
    for pod in storage.living() {
        let Some(mut record) = fit(&pod.record, &cmdb.modules) else { continue };
        if record.text(Field::HostInnerIp).is_empty() {
            record.set_text(Field::HostInnerIp, "10.0.0.3");
        }
        match rng.u8(..6) {
            0 => held.push(Held::new(record, OUR_BIZ, true)),
            1 => held.push(Held::new(record, OLD_BIZ, true)),
            2 => held.push(Held::new(record, OUR_BIZ, false)),
            3 => {
                record.uuid = dead_uuid(&record.name);
                let biz = if rng.bool() { OUR_BIZ } else { OLD_BIZ };
                held.push(Held::new(record, biz, true));
            }
            _ => {}
        }
    }
    // Where the document of a pod is that is known by its record only, nobody can tell.
    held.retain(|held| storage.key_of(&held.record.name).is_none());
    for held in held {
        cmdb.insert(held);
    }
}
