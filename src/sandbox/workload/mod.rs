//! What runs in the sandbox's clusters, and how it changes: believable, seeded, pure.
//!
//! No I/O, no clock, no thread: the time comes in, changes come out, and whoever asked carries
//! them to the simulated storage. The same seed and the same calls give the same pods.

mod apps;
mod edit;
mod file;

pub(super) use apps::MODULES;
pub use file::{PodFile, PodFileError, Unreadable};

use crate::model::ClusterKind;
use jiff::Timestamp;
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Deleted pods that may come back under their names.
const GONE_MAX: usize = 500;

/// A cluster pods can be in.
#[derive(Clone, Debug)]
pub struct Place {
    /// Cluster id.
    pub id: String,
    /// Decides what its pods look like.
    pub kind: ClusterKind,
}

/// What happens in the storage.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A pod is created or written.
    Put {
        /// Cluster id.
        cluster: String,
        /// The pod or taskgroup.
        pod: Arc<Value>,
    },
    /// A pod is deleted.
    Delete {
        /// Cluster id.
        cluster: String,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
}

#[derive(Clone)]
struct Member {
    place: usize,
    pod: Arc<Value>,
}

/// The pods of all clusters and what comes next.
pub struct Workload {
    rng: fastrand::Rng,
    places: Vec<Place>,
    living: Vec<Member>,
    gone: VecDeque<Member>,
    initial: Vec<Change>,
    replaced: usize,
}

impl Workload {
    /// `pods` invented pods, spread evenly over `places`.
    pub fn generated(seed: u64, places: Vec<Place>, pods: usize, now: Timestamp) -> Self {
        let mut workload = Self::empty(seed, places);
        for place in 0..workload.places.len() {
            let share = (pods + workload.places.len() - 1 - place) / workload.places.len();
            let id = workload.places[place].id.clone();
            let pods = match workload.places[place].kind {
                ClusterKind::K8s => apps::pods(&mut workload.rng, share, now),
                ClusterKind::Mesos => apps::taskgroups(&mut workload.rng, &id, share, now),
            };
            workload.admit(pods.into_iter().map(|pod| (place, Arc::new(pod))));
        }
        workload
    }

    /// These pods, each in the cluster its uid decides, so that versions of one pod meet. A later
    /// pod replaces an earlier one of the same cluster, namespace and name, as in bcs-storage.
    pub fn of_pods(seed: u64, places: Vec<Place>, pods: Vec<Value>) -> Self {
        let mut workload = Self::empty(seed, places);
        let count = workload.places.len().max(1) as u64;
        let place =
            |pod: &Value| (xxhash_rust::xxh3::xxh3_64(edit::identity(pod).as_bytes()) % count) as usize;
        workload.admit(pods.into_iter().map(|pod| (place(&pod), Arc::new(pod))));
        workload
    }

    fn empty(seed: u64, places: Vec<Place>) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self { rng, places, living: Vec::new(), gone: VecDeque::new(), initial: Vec::new(), replaced: 0 }
    }

    fn admit(&mut self, pods: impl Iterator<Item = (usize, Arc<Value>)>) {
        let mut seen = HashMap::new();
        for (place, pod) in pods {
            self.initial.push(Change::Put { cluster: self.places[place].id.clone(), pod: pod.clone() });
            let key = (place, edit::namespace(&pod).to_owned(), edit::name(&pod).to_owned());
            match seen.get(&key) {
                Some(&at) => {
                    self.replaced += 1;
                    self.living[at] = Member { place, pod };
                }
                None => {
                    seen.insert(key, self.living.len());
                    self.living.push(Member { place, pod });
                }
            }
        }
    }

    /// What fills the storage at first; empty the second time.
    pub fn take_initial(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.initial)
    }

    /// How many pods an other one of the same cluster, namespace and name replaced.
    pub fn replaced(&self) -> usize {
        self.replaced
    }

    /// How many pods live.
    pub fn len(&self) -> usize {
        self.living.len()
    }

    /// Whether no pod lives.
    pub fn is_empty(&self) -> bool {
        self.living.is_empty()
    }

    /// One step of churn: what happens now, in this order. Nothing without any pod.
    pub fn step(&mut self, now: Timestamp) -> Vec<Change> {
        if self.living.is_empty() && self.gone.is_empty() {
            return Vec::new();
        }
        // Out of a hundred: most writes change a status, or nothing the CMDB knows.
        match self.rng.u8(..100) {
            _ if self.living.is_empty() => self.create(now),
            0..40 => self.write(now, edit::change_status),
            40..75 => self.write(now, edit::make_noise),
            75..83 => self.create(now),
            83..91 => self.delete(),
            91..97 => self.recreate(now),
            _ => self.write(now, edit::reincarnate),
        }
    }

    /// Writes one living pod anew.
    fn write(&mut self, now: Timestamp, edit: fn(&mut Value, &mut fastrand::Rng, Timestamp)) -> Vec<Change> {
        let at = self.rng.usize(..self.living.len());
        let mut pod = (*self.living[at].pod).clone();
        let name = edit::name(&pod).to_owned();
        edit(&mut pod, &mut self.rng, now);
        // A taskgroup's name is its identity: a new one leaves the old one's document behind.
        let mut changes = Vec::new();
        if edit::name(&pod) != name {
            changes.push(self.deletion(&self.living[at]));
        }
        self.living[at].pod = Arc::new(pod);
        changes.push(self.put(&self.living[at]));
        changes
    }

    /// A deleted pod comes back under its name, or a living one gets a sibling.
    fn create(&mut self, now: Timestamp) -> Vec<Change> {
        let back = if self.rng.bool() { self.gone.pop_front() } else { None };
        let (mut member, sibling) = match back {
            Some(member) => (member, false),
            None if self.living.is_empty() => return self.revive(now),
            None => (self.living[self.rng.usize(..self.living.len())].clone(), true),
        };
        let mut pod = (*member.pod).clone();
        if sibling {
            edit::rename(&mut pod, &mut self.rng);
        }
        edit::reincarnate(&mut pod, &mut self.rng, now);
        if self.lives(member.place, &pod) {
            return Vec::new();
        }
        member.pod = Arc::new(pod);
        self.living.push(member);
        self.living.last().map(|member| self.put(member)).into_iter().collect()
    }

    fn revive(&mut self, now: Timestamp) -> Vec<Change> {
        let Some(mut member) = self.gone.pop_front() else { return Vec::new() };
        let mut pod = (*member.pod).clone();
        edit::reincarnate(&mut pod, &mut self.rng, now);
        member.pod = Arc::new(pod);
        self.living.push(member.clone());
        vec![self.put(&member)]
    }

    fn lives(&self, place: usize, pod: &Value) -> bool {
        let same = |member: &&Member| {
            member.place == place
                && edit::name(&member.pod) == edit::name(pod)
                && edit::namespace(&member.pod) == edit::namespace(pod)
        };
        self.living.iter().any(|member| same(&member))
    }

    fn delete(&mut self) -> Vec<Change> {
        let member = self.living.swap_remove(self.rng.usize(..self.living.len()));
        let change = self.deletion(&member);
        if self.gone.len() >= GONE_MAX {
            self.gone.pop_front();
        }
        self.gone.push_back(member);
        vec![change]
    }

    /// Deletes a pod and puts another one in its place at once, as a StatefulSet does.
    fn recreate(&mut self, now: Timestamp) -> Vec<Change> {
        let at = self.rng.usize(..self.living.len());
        let deletion = self.deletion(&self.living[at]);
        let mut pod = (*self.living[at].pod).clone();
        edit::reincarnate(&mut pod, &mut self.rng, now);
        self.living[at].pod = Arc::new(pod);
        vec![deletion, self.put(&self.living[at])]
    }

    fn put(&self, member: &Member) -> Change {
        Change::Put { cluster: self.places[member.place].id.clone(), pod: member.pod.clone() }
    }

    fn deletion(&self, member: &Member) -> Change {
        Change::Delete {
            cluster: self.places[member.place].id.clone(),
            namespace: edit::namespace(&member.pod).to_owned(),
            name: edit::name(&member.pod).to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use std::collections::HashSet;

    fn places() -> Vec<Place> {
        let place = |id: &str| Place { id: id.to_owned(), kind: ClusterKind::from_id(id) };
        vec![place("BCS-K8S-1"), place("BCS-K8S-2"), place("BCS-MESOS-3")]
    }

    fn workload(seed: u64) -> Workload {
        Workload::generated(seed, places(), 301, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn the_same_seed_gives_the_same_history() {
        let history = |seed| {
            let mut workload = workload(seed);
            let mut changes = workload.take_initial();
            changes.extend((0..200).flat_map(|_| workload.step(Timestamp::UNIX_EPOCH)));
            changes
        };
        assert_eq!(history(7), history(7));
        assert_ne!(history(7), history(8));
    }

    #[test]
    fn generated_pods_are_spread_and_cover_what_matters() {
        let mut workload = workload(1);
        let initial = workload.take_initial();
        assert_eq!((initial.len(), workload.len(), workload.replaced()), (301, 301, 0));
        let text = format!("{initial:?}");
        let wanted = "ReplicaSet StatefulSet DaemonSet Job hostNetwork Pending Staging rcname \
            set.bkcmdb.bkbcs.tencent.com description last-applied-configuration";
        for word in wanted.split_whitespace() {
            assert!(text.contains(word), "no pod with {word}");
        }
    }

    #[test]
    fn churn_and_storage_agree_about_who_lives() {
        let mut workload = workload(3);
        let mut stored = HashSet::new();
        let mut changes = workload.take_initial();
        for _ in 0..3000 {
            for change in changes.drain(..) {
                match change {
                    Change::Put { cluster, pod } => {
                        stored.insert((
                            cluster,
                            edit::namespace(&pod).to_owned(),
                            edit::name(&pod).to_owned(),
                        ));
                    }
                    Change::Delete { cluster, namespace, name } => {
                        assert!(stored.remove(&(cluster, namespace, name)));
                    }
                }
            }
            changes = workload.step(Timestamp::UNIX_EPOCH);
        }
        assert!(changes.len() <= 2 && stored.len().abs_diff(workload.len()) <= 1);
        assert!(workload.len() > 100);
    }

    #[test]
    fn of_two_pods_with_one_key_the_later_stays_and_both_are_counted() {
        let pod = |uid: &str| json!({"metadata": {"name": "a", "namespace": "b", "uid": uid}});
        let mut workload = Workload::of_pods(1, places()[..1].to_vec(), vec![pod("1"), pod("2"), pod("2")]);
        assert_eq!((workload.len(), workload.replaced(), workload.take_initial().len()), (1, 2, 3));
    }

    #[test]
    fn a_workload_without_pods_stays_still() {
        let mut workload = Workload::of_pods(1, places(), Vec::new());
        assert!(workload.step(Timestamp::UNIX_EPOCH).is_empty() && workload.is_empty());
    }
}
