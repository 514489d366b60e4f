//! Keeps the Pod records of the BlueKing CMDB equal to the Pods bcs-storage knows. Read this first.
//!
//! # What it does
//!
//! bcs-storage knows every Pod of every cluster; the CMDB is where everybody looks up what runs
//! where. For each cluster this program follows the storage's stream of events, lists both sides now
//! and then because events can be lost, and sends the CMDB what differs. Neither side can be
//! trusted to answer, to keep an order or to say everything, so the program is built around one
//! question: what may be concluded from what was just heard?
//!
//! A pure core decides; threads at the edges carry its decisions out. There is no async runtime: a
//! thread is an actor with one loop, and everything it waits for has a bound.
//!
//! # The way of one Pod
//!
//! ```text
//! bcs-storage ──watch──> [watch] ──event queue──> [gate] ──shard = hash(uuid)──> [sender 0..N) ──> CMDB
//!             └─list───> [full sync] ── holds the gate: list both sides, compare, hand over ──┘
//! ```
//!
//! 1. [`storage`] finds where one event ends and the next begins; nobody has parsed a Pod so far.
//! 2. The watch thread of [`sync`] has [`convert`] make a compact record of it, placed in a module
//!    of its business, and queues that: the newest per storage document, never the document itself.
//! 3. The gate thread asks the ledger of [`plan`] whether this changes what the CMDB should hold.
//!    Most events end here, without a request.
//! 4. What is left becomes an order for the sender shard of the Pod's uuid. Its lane ([`plan`] again)
//!    folds orders on one uuid into one job and says which request comes next; the shard sends it
//!    through [`cmdb`] and brings the answer back. What must wait is parked on a timer.
//! 5. The ledger learns what the CMDB acknowledged. An answer that never came is not a "no": the
//!    record is read back before anything else is decided about it.
//! 6. A delete takes the same way, with one more step: a point read of exactly this Pod in
//!    bcs-storage decides, whatever the event or the listing said.
//!
//! A full sync goes the same way from step 3 on, with the gate held, so that events wait in the
//! queue and the order between the listing and the events around it is kept.
//!
//! # Where to find what
//!
//! | module | what it is about |
//! |---|---|
//! | [`model`] | cluster, pod record, observation, fence: plain data (pure) |
//! | [`convert`] | storage document to pod record, annotations to module, repair of refused fields (pure) |
//! | [`plan`] | event queue, ledger, lanes, delete guard, schedule: what is to be done (pure) |
//! | [`assignment`] | clusters and workers: who does what (pure) |
//! | [`storage`] | bcs-storage: list, point read, watch stream |
//! | [`cmdb`] | the CMDB's container server: five calls, topology, error classes |
//! | [`inventory`] | which clusters exist and whose they are: paas-cc or a file |
//! | [`coordination`] | ZooKeeper: session, lease, locks, election, discovery; or the instance that is alone |
//! | [`task_manager`] | on the master: inventory and workers become the lists the workers work from |
//! | [`task_informer`] | on every worker: its own list becomes clusters to start and to stop |
//! | `feed` | the inventory as coordination asks for it |
//! | [`fleet`] | those three put together, behind one face |
//! | [`sync`] | the threads: controller, one reconciler per cluster, its senders |
//! | [`journal`] | what was deleted, when and on what proof, for 30 days |
//! | [`reload`] | the configuration read again while the service runs |
//! | [`service`] | puts all of this together, the only place that knows every part |
//! | [`commands`] | `diff`, `sync`, `purge`, `check-config --connect`: work that ends |
//! | `pulse` | signs of life of the working threads, and who has given none for too long |
//! | [`supervised`] | what a service manager is told: ready, alive, stopping |
//! | [`observe`] | status page, JSON, health, metrics |
//! | [`front`] | the guarded listener that owns every port |
//! | [`http`] | outgoing HTTP and TLS |
//! | [`container_server`] | the CMDB's side: the API on an SQLite store |
//! | [`sandbox`] | simulated peers, a workload and a judge, in one process |
//! | [`config`], [`cli`], [`logging`] | keys, commands, the log |
//! | `warnings` | certificates that end, versions and clocks that differ |
//! | `boottime` | the clock leases are measured by |
//! | `loopback` | TCP that does not leave the machine |
//! | `fuzz` | what must hold for any bytes from outside; in tests and fuzzers only |
//!
//! Dependencies point one way: `observe`, `sandbox` → `sync` → `plan`, `convert` → `model`. The peers'
//! modules (`storage`, `cmdb`, `inventory`, `coordination`) do not know each other.
//!
//! # What must always hold
//!
//! Comments and tests name these rules by their number ("design.md 3, rule 4"). That document, and
//! `protocol.md` and `interface.md` beside it, are the contract this program is held to; they are
//! kept next to the repository, in `../shared`.
//!
//! 1. **Convergence.** Once the storage is quiet, the CMDB holds exactly its recordable Pods, field
//!    by field, whatever failed in between and without waiting for the periodic full sync; deletes
//!    that are held back aside.
//! 2. **Order.** The CMDB never ends on a version of a Pod that is older than one it acknowledged.
//! 3. **One writer.** At most one instance writes for a cluster at any moment.
//! 4. **No delete without proof.** Events and listings are hints; a point read, or one of a few
//!    proofs that are as good ([`plan::Proof`]), decides. A great many deletes wait for a second
//!    opinion.
//! 5. **No needless write.** What changes no field of the record causes no request.
//! 6. **Bounded.** Memory grows with the number of Pods, never with documents or events.
//! 7. **Nothing silent.** What the CMDB refuses is kept, counted, shown with its reason, and tried
//!    again; it holds nobody else back.
//! 8. **No mute watch.** A watch that is connected and does not deliver is noticed and renewed.

pub mod assignment;
mod boottime;
pub mod cli;
pub mod cmdb;
pub mod commands;
pub mod config;
pub mod container_server;
pub mod convert;
pub mod coordination;
mod feed;
pub mod fleet;
pub mod front;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod http;
pub mod inventory;
pub mod journal;
pub mod logging;
mod loopback;
pub mod model;
pub mod observe;
pub mod plan;
mod pulse;
pub mod reload;
pub mod sandbox;
pub mod service;
pub mod storage;
pub mod supervised;
pub mod sync;
pub mod task_informer;
pub mod task_manager;
mod warnings;
