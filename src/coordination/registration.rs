//! Our registration: an ephemeral sequential node that says we are there, and the rule of a
//! ZooKeeper without memory.

use super::client::{CallError, Client};
use super::election::{Member, members};
use super::fence::Root;
use super::layout::{self, ServerInfo};
use std::time::Duration;
use zookeeper::CreateMode;

/// Looks at another registration of our address within one session timeout; a living owner writes
/// as often.
const LOOKS: u32 = 6;
/// Looks after which a registration that neither goes nor is written counts as somebody's: one and
/// a half timeouts, so an ended process has lost its session long before.
const LAST_LOOK: u32 = LOOKS + LOOKS / 2;

/// Why there is no registration.
#[derive(Debug, thiserror::Error)]
pub(super) enum RegistrationError {
    /// Try again, on a new session.
    #[error(transparent)]
    Call(#[from] CallError),
    /// Our address belongs to another process: this one must end.
    #[error("{0}")]
    Taken(String),
    /// Stopped meanwhile.
    #[error("stopped")]
    Stopped,
}

/// What a registration found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Registration {
    /// Path of our node.
    pub path: String,
    /// The root node.
    pub root: Root,
    /// How long nothing may be written.
    pub hold: Duration,
}

/// Makes sure the tree exists, waits until nobody else has our address (a guest shares it with its
/// service), and registers. `known_root` is the root node this process saw before. `pause` waits that long and tells whether
/// to go on.
pub(super) fn register(
    client: &Client,
    parent: &str,
    info: &ServerInfo,
    known_root: Option<Root>,
    pause: &mut dyn FnMut(Duration) -> bool,
) -> Result<Registration, RegistrationError> {
    let made_root = client.ensure(layout::ROOT)?;
    for path in [layout::CLUSTERS, layout::WORKERS, layout::LOCKS, parent] {
        client.ensure(path)?;
    }
    let instance = info.instance().unwrap_or_default();
    if parent == layout::MEMBERS {
        await_address(client, &instance, info, pause)?;
    }
    let prefix = layout::child(parent, &instance);
    let data = serde_json::to_vec(info).unwrap_or_default();
    let path = match client.create(&prefix, &data, CreateMode::EphemeralSequential) {
        Ok(path) => path,
        Err(CallError::Lost(path)) => find_ours(client, parent)?.ok_or(CallError::Lost(path))?,
        Err(error) => return Err(error.into()),
    };
    let gone = |path: &str| CallError::NoNode(path.to_owned());
    let root = Root::read(client)?.ok_or_else(|| gone(layout::ROOT))?;
    let ours = client.stat(&path)?.ok_or_else(|| gone(&path))?;
    let age = Duration::from_millis(ours.ctime.saturating_sub(root.ctime_ms).try_into().unwrap_or(0));
    let new = made_root || known_root.is_some_and(|known| known != root);
    let hold = hold(new, age, client.timeout());
    Ok(Registration { path, root, hold })
}

/// How long nothing may be written: one session timeout after a root node that is new to us
/// appeared, for those who still hold leases from before (design.md 4). `age` is the root's, by the
/// servers' clock.
fn hold(new: bool, age: Duration, timeout: Duration) -> Duration {
    if new { timeout } else { timeout.saturating_sub(age) }
}

/// Our node, when it is not known whether it was created.
fn find_ours(client: &Client, parent: &str) -> Result<Option<String>, CallError> {
    for name in client.children(parent, false)? {
        let path = layout::child(parent, &name);
        if client.stat(&path)?.is_some_and(|stat| stat.ephemeral_owner == client.session()) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Returns once nobody but us is registered under our address: an ended process stays registered
/// until its session expires, a living one keeps writing.
fn await_address(
    client: &Client,
    instance: &str,
    info: &ServerInfo,
    pause: &mut dyn FnMut(Duration) -> bool,
) -> Result<(), RegistrationError> {
    let mut first: Option<Member> = None;
    for look in 0.. {
        let mut others = members(client, false)?;
        others.retain(|member| member.instance == instance);
        for ours in others.iter().filter(|member| same_process(&member.info, info)) {
            match client.delete(&layout::child(layout::MEMBERS, &ours.node), None) {
                Ok(()) | Err(CallError::NoNode(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let Some(other) = others.into_iter().find(|member| !same_process(&member.info, info)) else {
            return Ok(());
        };
        let writes = first.as_ref().is_some_and(|seen| seen.node == other.node && seen.mzxid != other.mzxid);
        if writes || look >= LAST_LOOK {
            return Err(RegistrationError::Taken(format!(
                "address {instance} is registered in ZooKeeper by pid {} on host {:?}: give each instance its own address and port",
                other.info.pid, other.info.hostname
            )));
        }
        first = Some(first.filter(|seen| seen.node == other.node).unwrap_or(other));
        if !pause(client.timeout() / LOOKS) {
            return Err(RegistrationError::Stopped);
        }
    }
    Ok(())
}

fn same_process(left: &ServerInfo, right: &ServerInfo) -> bool {
    left.pid == right.pid && left.hostname == right.hostname
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_that_is_new_or_young_holds_writes_back_for_one_timeout() {
        let seconds = Duration::from_secs;
        for (new, age, expected) in
            [(true, 0, 20), (true, 99, 20), (false, 5, 15), (false, 20, 0), (false, 99, 0)]
        {
            assert_eq!(hold(new, seconds(age), seconds(20)), seconds(expected));
        }
    }
}
