//! Plain data every other module speaks: clusters, pod records, what was seen in bcs-storage,
//! and the modules of a business.
//!
//! Pure: no I/O, no clock, no thread, no log, and no knowledge of any wire format beyond the
//! field names of the CMDB pod record.

mod cluster;
mod fence;
mod modules;
mod observation;
mod record;

pub use cluster::{Cluster, ClusterKind};
pub use fence::{Fence, NoFence, Permit};
pub use modules::{ModuleKey, Modules};
pub use observation::{DeletedPod, Observation, ObservedPod, StorageKey};
pub use record::{FIELD_COUNT, Field, FieldKind, PodRecord};
