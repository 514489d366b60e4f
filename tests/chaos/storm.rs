//! Faults: what can break between and in the parts of a fleet, when, and for how long. Every
//! choice comes from a seed; when it meets what is up to the machine.

use crate::late::{Arrival, Late, WRITES, put_steady};
use crate::partition::{Network, Weather};
use crate::processes::{Fleet, PATIENCE};
use crate::witness::Witness;
use crate::world::cmdb;
use bcs_bkcmdb_synchronizer::sandbox::storage::{Call, EVERY, Fault, StreamEnd};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause between two faults, milliseconds from and to; and after one in three, long enough that some
/// of what is broken recovers while the rest is not.
const PAUSE: (u64, u64) = (100, 900);
const LULL: (u64, u64) = (1500, 5000);
/// How long a fault lasts, the same; and one of an instance or its links, which may take longer than
/// its session and `reassign_delay`, so that its clusters move.
const LASTS: (u64, u64) = (300, 7000);
const LASTS_LONG: (u64, u64) = (300, 16_000);
/// Between two looks at what is to be mended.
const TICK: Duration = Duration::from_millis(50);
/// Calls that a peer answers wrongly in a row.
const WRONG_ANSWERS: (usize, usize) = (1, 10);
/// Until another instance writes for a cluster whose owner stands still: a session, `reassign_delay`
/// and a full sync, each after all the servers of ZooKeeper have come back, on a busy machine.
const TAKEOVER: Duration = Duration::from_secs(120);
/// For as long as nobody says otherwise.
const OPEN_END: Duration = Duration::from_secs(86_400);
/// The link of an instance to the CMDB, and the first to ZooKeeper.
const TO_CMDB: usize = 1;
const TO_ZOOKEEPER: usize = 2;

/// What can be broken, one fault at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Target {
    /// The network between an instance and a peer.
    Link(usize, usize),
    /// An instance.
    Instance(usize),
    /// A server of ZooKeeper.
    ZooKeeper(usize),
    Storage,
    Cmdb,
}

/// Peers of an instance: bcs-storage, the CMDB, and each ZooKeeper server.
pub type Links = Vec<Network>;

/// Faults that are going on, and those that were.
pub struct Storm {
    random: fastrand::Rng,
    links: Vec<Links>,
    /// Until when.
    broken: BTreeMap<Target, Instant>,
    /// Of those, what stands still and is to go on.
    frozen: BTreeSet<Target>,
    counts: BTreeMap<&'static str, usize>,
    witness: Arc<Witness>,
    /// Storms so far.
    storms: u64,
    /// A write that is held back.
    held: Option<Held>,
    /// The first of a storm, to be let through at the next quiet point.
    kept: Option<Late>,
    /// Those that were let through in it.
    arrived: Vec<Arrival>,
}

/// A write that is held back until its sender has lost the cluster.
struct Held {
    sender: usize,
    /// Whether its sender is to be cut off from ZooKeeper, or frozen.
    is_cut_off: bool,
    /// Once it has been sent.
    late: Option<Late>,
    /// What keeps its sender from its cluster then.
    broken: Vec<Target>,
}

impl Storm {
    /// Over these links, of each instance; `witness` tells who writes.
    pub fn new(seed: u64, links: Vec<Links>, witness: Arc<Witness>) -> Self {
        Self {
            random: fastrand::Rng::with_seed(seed),
            links,
            broken: BTreeMap::new(),
            frozen: BTreeSet::new(),
            counts: BTreeMap::new(),
            witness,
            storms: 0,
            held: None,
            kept: None,
            arrived: Vec::new(),
        }
    }

    /// The write the last storm began with; the CMDB has not seen it.
    pub fn take_late(&mut self) -> Late {
        self.kept.take().unwrap()
    }

    /// How many faults there were of each kind.
    pub fn counts(&self) -> &BTreeMap<&'static str, usize> {
        &self.counts
    }

    /// Begins with a write held back, while nothing else is broken and nobody else changes a pod:
    /// so it is certain that there is one, and what it would undo if it were carried out. By turns
    /// its sender is frozen, or cut off from ZooKeeper.
    pub fn brew(&mut self, fleet: &Fleet) {
        self.storms += 1;
        let clusters = fleet.clusters();
        let cluster = &clusters[self.random.usize(..clusters.len())];
        let mut owner = None;
        fleet.wait("the cluster is at work", PATIENCE, |fleet| {
            let has =
                |index: &usize| fleet.states(*index).get(cluster).is_some_and(|state| state != "waiting");
            owner = (0..fleet.instances.len()).find(has);
            owner.is_some()
        });
        self.hold_back(owner.unwrap(), self.storms.is_multiple_of(2));
        put_steady(&fleet.world.storage, cluster, 2 * self.storms);
        fleet.wait("a write is held back", PATIENCE, |fleet| {
            self.follow_held(fleet);
            self.held.as_ref().is_some_and(|held| held.late.is_some())
        });
        put_steady(&fleet.world.storage, cluster, 2 * self.storms + 1);
    }

    /// Breaks things and mends them for so long; then everything is whole.
    pub fn rage(&mut self, fleet: &mut Fleet, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.strike(fleet);
            let (least, most) = if self.random.u8(..3) == 0 { LULL } else { PAUSE };
            let next = Instant::now() + Duration::from_millis(self.random.u64(least..most));
            while Instant::now() < next {
                std::thread::sleep(TICK);
                self.mend(fleet, Instant::now());
                self.follow_held(fleet);
            }
        }
        fleet.world.cmdb.heal();
        fleet.world.storage.faults().clear();
        self.mend(fleet, Instant::now() + Duration::from_millis(LASTS_LONG.1));
        fleet.wait(
            "another instance writes for the cluster of the first write held back",
            TAKEOVER,
            |fleet| {
                self.follow_held(fleet);
                self.kept.is_some()
            },
        );
        self.give_up_held();
        self.mend(fleet, Instant::now());
        self.arrived.clear();
        assert!(self.broken.is_empty());
    }

    fn strike(&mut self, fleet: &mut Fleet) {
        let kind = match self.random.u8(..100) {
            0..5 => {
                let (sender, is_cut_off) = (self.random.usize(..self.links.len()), self.random.bool());
                self.hold_back(sender, is_cut_off);
                None
            }
            5..35 => self.bad_link(),
            35..55 => self.wrong_cmdb(fleet),
            55..75 => self.wrong_storage(fleet),
            75..87 => self.bad_instance(fleet),
            87..95 => self.bad_zookeeper(fleet),
            _ => self.bad_peer(fleet),
        };
        if let Some(kind) = kind {
            *self.counts.entry(kind).or_default() += 1;
        }
    }

    /// Marks a target as broken for a while; false if it is already.
    fn begin(&mut self, target: Target) -> bool {
        let (least, most) = match target {
            Target::Link(..) | Target::Instance(_) => LASTS_LONG,
            _ => LASTS,
        };
        let until = Instant::now() + Duration::from_millis(self.random.u64(least..most));
        let free = !self.broken.contains_key(&target);
        if free {
            self.broken.insert(target, until);
        }
        free
    }

    /// The next write of an instance does not arrive for now. It counts once there is one.
    fn hold_back(&mut self, sender: usize, is_cut_off: bool) {
        if self.held.is_none() {
            self.links[sender][TO_CMDB].hold_back(&WRITES);
            self.held = Some(Held { sender, is_cut_off, late: None, broken: Vec::new() });
        }
    }

    /// Whoever sent what is held back is frozen, or cut off from ZooKeeper, until another one has
    /// written for its cluster. Then the first one of a storm is kept; others arrive at once.
    fn follow_held(&mut self, fleet: &Fleet) {
        let Some(held) = &mut self.held else { return };
        let links = &self.links[held.sender];
        let Some(late) = &held.late else {
            held.late = links[TO_CMDB].held_back().map(Late::new);
            if held.late.is_some() {
                self.stop_sender(fleet);
            }
            return;
        };
        if !self.witness.has_seen_successor(late) {
            return;
        }
        if self.kept.is_none() {
            self.kept = Some(late.clone());
        } else {
            // If nobody is there to take it, it is lost.
            self.arrived.extend(late.let_through(fleet.world.cmdb.addr()));
        }
        self.give_up_held();
    }

    /// Keeps the sender of what is held back from its cluster, for as long as it takes.
    fn stop_sender(&mut self, fleet: &Fleet) {
        let Some(held) = &mut self.held else { return };
        let kind = if held.is_cut_off {
            let links = self.links[held.sender].iter().enumerate().skip(TO_ZOOKEEPER);
            links.clone().for_each(|(_, link)| link.cut());
            held.broken = links.map(|(peer, _)| Target::Link(held.sender, peer)).collect();
            "write late, its sender cut off"
        } else {
            let instance = Target::Instance(held.sender);
            held.broken = vec![instance];
            // It may have been killed since: then it stays away.
            if !self.broken.contains_key(&instance) {
                fleet.instances[held.sender].freeze();
                self.frozen.insert(instance);
            }
            "write late, its sender frozen"
        };
        let until = Instant::now() + OPEN_END;
        self.broken.extend(held.broken.iter().map(|target| (*target, until)));
        *self.counts.entry(kind).or_default() += 1;
    }

    /// Its sender may go on; what has not arrived never does.
    fn give_up_held(&mut self) {
        let Some(held) = self.held.take() else { return };
        self.links[held.sender][TO_CMDB].hold_back(&[]);
        self.broken.extend(held.broken.into_iter().map(|target| (target, Instant::now())));
    }

    /// Bytes between an instance and a peer are lost, late, refused or replaced.
    fn bad_link(&mut self) -> Option<&'static str> {
        let (weather, kind) = match self.random.u8(..4) {
            0 => (Weather::Lost, "link cut"),
            1 => (Weather::Slow(Duration::from_millis(self.random.u64(1..1500))), "link slow"),
            2 => (Weather::Reset, "link reset"),
            _ => (Weather::Garbage, "link garbage"),
        };
        let instance = self.random.usize(..self.links.len());
        let peers = self.links[instance].len();
        // One peer; or all servers of ZooKeeper, since one of three makes no difference.
        let chosen = match self.random.usize(..3) {
            2 => 2..peers,
            peer => peer..peer + 1,
        };
        let free: Vec<usize> = chosen.filter(|peer| self.begin(Target::Link(instance, *peer))).collect();
        free.iter().for_each(|peer| self.links[instance][*peer].set(weather));
        (!free.is_empty()).then_some(kind)
    }

    /// The CMDB answers a few calls wrongly.
    fn wrong_cmdb(&mut self, fleet: &Fleet) -> Option<&'static str> {
        use cmdb::Fault::{Busy, Empty, Error500, Hang, Html, LoseAnswer};
        let faults = [Error500, Html, Empty, Busy, Hang, LoseAnswer, LoseAnswer];
        let fault = *self.random.choice(faults.iter())?;
        fleet.world.cmdb.break_next(&[], fault, self.random.usize(WRONG_ANSWERS.0..WRONG_ANSWERS.1));
        Some(if fault == LoseAnswer { "CMDB answer lost" } else { "CMDB answer wrong" })
    }

    /// bcs-storage answers a few calls wrongly, or ends its streams. It never says of a living pod
    /// that it does not exist: that would be the proof a delete needs.
    fn wrong_storage(&mut self, fleet: &Fleet) -> Option<&'static str> {
        let faults = fleet.world.storage.faults();
        let times = self.random.usize(WRONG_ANSWERS.0..WRONG_ANSWERS.1);
        let late = Fault::Delay(Duration::from_millis(self.random.u64(1..2000)));
        let broken = [Fault::Error500, Fault::Html, Fault::Truncated, Fault::Hang, Fault::Close, late];
        let lying = [Fault::Refuse, Fault::DataNull, Fault::DataObject, Fault::Empty];
        let (call, fault, kind) = match self.random.u8(..5) {
            0 => (Call::Get, *self.random.choice(broken.iter())?, "point read wrong"),
            1 => (Call::List, *self.random.choice(broken.iter())?, "listing broken"),
            2 => (Call::List, *self.random.choice(lying.iter())?, "listing that lies"),
            3 => (Call::Watch, *self.random.choice(broken[..5].iter())?, "watch wrong"),
            _ => (Call::Any, late, "bcs-storage late"),
        };
        faults.next(EVERY, call, fault, times);
        // Without an end of the streams there is nothing to list and to watch.
        if call != Call::Get {
            faults.end_streams(EVERY, if self.random.bool() { StreamEnd::Break } else { StreamEnd::Cut });
        }
        Some(kind)
    }

    /// An instance is killed, stopped or frozen. The first is only frozen: what it holds is counted.
    fn bad_instance(&mut self, fleet: &mut Fleet) -> Option<&'static str> {
        let index = self.random.usize(..fleet.instances.len());
        if !self.begin(Target::Instance(index)) {
            return None;
        }
        let instance = &mut fleet.instances[index];
        match self.random.u8(..3) {
            0 if index > 0 => {
                instance.kill();
                Some("instance killed")
            }
            1 if index > 0 => {
                instance.ask_to_stop();
                Some("instance stopped")
            }
            _ => {
                instance.freeze();
                self.frozen.insert(Target::Instance(index));
                Some("instance frozen")
            }
        }
    }

    /// A server of ZooKeeper, or all of them, killed or frozen.
    fn bad_zookeeper(&mut self, fleet: &mut Fleet) -> Option<&'static str> {
        let servers = fleet.zookeepers.servers.len();
        let (killed, all) = (self.random.bool(), self.random.usize(..3) == 0);
        let one = self.random.usize(..servers);
        let chosen = if all { 0..servers } else { one..one + 1 };
        let free: Vec<usize> = chosen.filter(|server| self.begin(Target::ZooKeeper(*server))).collect();
        for index in &free {
            let server = &mut fleet.zookeepers.servers[*index];
            if killed {
                server.kill();
            } else {
                server.freeze();
                self.frozen.insert(Target::ZooKeeper(*index));
            }
        }
        let kind = if killed { "ZooKeeper server killed" } else { "ZooKeeper server frozen" };
        (!free.is_empty()).then_some(kind)
    }

    /// bcs-storage or the CMDB goes down.
    fn bad_peer(&mut self, fleet: &mut Fleet) -> Option<&'static str> {
        let storage = self.random.bool();
        if !self.begin(if storage { Target::Storage } else { Target::Cmdb }) {
            return None;
        }
        if storage {
            fleet.world.kill_storage();
            return Some("bcs-storage down");
        }
        fleet.world.cmdb.kill();
        Some("CMDB down")
    }

    /// Makes whole what was broken until `now`.
    fn mend(&mut self, fleet: &mut Fleet, now: Instant) {
        let due: Vec<Target> =
            self.broken.iter().filter(|(_, until)| **until <= now).map(|(target, _)| *target).collect();
        for target in due {
            self.broken.remove(&target);
            let frozen = self.frozen.remove(&target);
            match target {
                Target::Link(instance, peer) => self.links[instance][peer].heal(),
                Target::Instance(index) if frozen => fleet.instances[index].thaw(),
                Target::Instance(index) => fleet.instances[index].restart(),
                Target::ZooKeeper(index) if frozen => fleet.zookeepers.servers[index].thaw(),
                Target::ZooKeeper(index) => fleet.zookeepers.servers[index].start(),
                Target::Storage => fleet.world.restart_storage(),
                Target::Cmdb => fleet.world.cmdb.restart(),
            }
        }
    }
}
