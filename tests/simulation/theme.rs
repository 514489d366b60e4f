//! What a seed is after. Half of the seeds are after nothing in particular; each of the others brings one
//! situation about far more often than chance would, so that the rules that matter only there are tried too.

use super::cmdb::Cmdb;
use super::core::{INTERVAL, Settings};
use super::driver::{Action, PACE};
use super::kind::{Kind, Slow};
use super::storage::{Edits, Generation, Storage};
use bcs_bkcmdb_synchronizer::plan::GuardSettings;

/// What a run is after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Theme {
    Nothing,
    /// Pods lose their hosts and get others while writes are on their way.
    Hosts,
    /// Pods become what the CMDB refuses, and go back, while writes are on their way.
    Refusals,
    /// Writes without an answer land on records whose immutable field cannot be changed.
    Untaken,
    /// Events come again, long after what they told, and wait at the gate with newer ones.
    Repeats,
    /// Pods follow each other under a name, and creates land after those who sent them are gone.
    Heirs,
    /// A former owner's writes land while a full sync and writes of ours overlap.
    TakeOver,
    /// Pods change, are read and written while a page that shows them is on its way.
    Overlap,
    /// Listings miss pods of which no event told.
    Gaps,
    /// The same, where nothing may be deleted.
    Kept,
    /// Pods come and go while the queue is full, and older events about them come when it has room again.
    Drops,
}

impl Theme {
    const ALL: [Self; 10] = [
        Self::Hosts,
        Self::Refusals,
        Self::Untaken,
        Self::Repeats,
        Self::Heirs,
        Self::TakeOver,
        Self::Overlap,
        Self::Gaps,
        Self::Kept,
        Self::Drops,
    ];

    /// All of them, and none.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().chain([Self::Nothing])
    }

    /// The theme of a seed. It costs no chance: seeds without one go on meaning what they meant.
    pub fn of(seed: u64) -> Self {
        match seed % 8 {
            3 | 5 | 6 | 7 => Self::ALL[(seed / 8) as usize % Self::ALL.len()],
            _ => Self::Nothing,
        }
    }

    /// The seed of that number among those of this theme.
    pub fn seed(self, number: u64) -> u64 {
        match Self::ALL.iter().position(|theme| *theme == self) {
            None => number / 4 * 8 + [0, 1, 2, 4][(number % 4) as usize],
            Some(at) => {
                let block = number / 4 * Self::ALL.len() as u64 + at as u64;
                block * 8 + [3, 5, 6, 7][(number % 4) as usize]
            }
        }
    }

    /// Sets a run up for it.
    pub fn set(self, kind: &mut Kind, settings: &mut Settings, storage: &mut Storage, cmdb: &mut Cmdb) {
        kind.theme = self;
        match self {
            Self::Nothing => {}
            Self::Hosts => {
                (kind.interrupted, kind.slow) = (false, Slow::Answers);
                storage.edits = Edits::Hosts;
            }
            Self::Refusals => {
                (kind.interrupted, kind.slow) = (false, Slow::Answers);
                storage.edits = Edits::Refused;
            }
            Self::Untaken => {
                kind.interrupted = false;
                settings.deletes = false;
                cmdb.changes_immutable = false;
                storage.edits = Edits::Immutable;
            }
            Self::Repeats => {
                (kind.interrupted, kind.slow) = (false, Slow::Gate);
                (storage.generation, storage.versions) = (Generation::New, true);
            }
            Self::Heirs => {
                (kind.interrupted, kind.slow) = (true, Slow::Requests);
                settings.guard = GuardSettings { percent: 30, min: 1, interval: INTERVAL };
                settings.queue = 100;
            }
            Self::TakeOver => {
                (kind.interrupted, kind.aimed, kind.slow) = (true, true, Slow::Answers);
                (storage.names, storage.steady) = (2, true);
            }
            Self::Overlap => {
                (kind.interrupted, kind.aimed, kind.slow) = (false, true, Slow::Requests);
                (storage.names, kind.page, settings.parked_records) = (2, 1, 0);
                (storage.versions, storage.steady, settings.trusting) = (false, true, true);
            }
            Self::Gaps | Self::Kept => {
                (kind.interrupted, kind.lossy, kind.slow) = (false, false, Slow::Nothing);
                (kind.patchy, kind.aimed, storage.names, settings.queue) = (true, true, 8, 2);
                (settings.deletes, storage.steady) = (self == Self::Gaps, self == Self::Kept);
            }
            Self::Drops => {
                (kind.interrupted, kind.slow) = (false, Slow::Gate);
                (storage.generation, storage.versions, settings.queue) = (Generation::New, true, 2);
            }
        }
    }

    /// How often something befalls a run: once in so many steps, `usual` without a theme.
    pub fn one_in(self, action: Action, usual: u8) -> u8 {
        match (self, action) {
            (Self::Heirs, Action::Restart | Action::LosePermission) => 15,
            (Self::Heirs, Action::Recreate) => 4,
            (Self::Heirs | Self::TakeOver, Action::WholeSync) => 3,
            (Self::TakeOver, Action::LosePermission) => 15,
            (Self::Overlap, Action::Sync) => 8,
            (Self::Overlap, Action::WholeSync) => 3,
            (Self::Overlap, Action::Rush) => 1,
            (Self::Overlap, Action::Sprint(_)) => 20,
            (Self::Overlap | Self::Repeats, Action::Change) => usual + 2,
            (Self::Gaps | Self::Kept | Self::Drops, Action::WholeSync) => 2,
            (Self::Gaps | Self::Kept, Action::Change) => usual * 2,
            (Self::Drops, Action::Flash) => 6,
            _ => usual,
        }
    }

    /// Into how many rounds its steps are divided.
    pub fn rounds(self) -> u32 {
        match self {
            Self::Nothing => 4,
            Self::TakeOver | Self::Gaps | Self::Kept => 6,
            _ => 12,
        }
    }

    /// Milliseconds that pass at once in its wild part, at most.
    pub fn pace(self) -> u64 {
        match self {
            Self::TakeOver => 12_000,
            Self::Heirs | Self::Gaps | Self::Kept | Self::Drops => 6000,
            _ => PACE,
        }
    }

    /// Once in so many times an event comes again.
    pub fn again(self) -> u32 {
        if matches!(self, Self::Repeats | Self::Overlap | Self::Drops) { 3 } else { 10 }
    }

    /// Once in so many times a write meets one certain fault.
    pub fn fault(self) -> u32 {
        if matches!(self, Self::Untaken | Self::Heirs | Self::Overlap) { 14 } else { 28 }
    }

    /// Once in so many times a read fails.
    pub fn read_fault(self) -> u32 {
        if self == Self::Overlap { 3 } else { 16 }
    }

    /// Once in so many times a full sync does not wait until the senders are idle.
    pub fn impatience(self) -> u8 {
        if matches!(self, Self::TakeOver | Self::Overlap | Self::Heirs) { 2 } else { 20 }
    }

    /// Of so many documents a patchy listing misses one and repeats another.
    pub fn patches(self) -> u32 {
        match self {
            Self::Gaps => 3,
            Self::Kept => 8,
            _ => 4,
        }
    }
}
