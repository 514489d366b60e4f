//! Who is there and who is the master: registrations in order, the first one leads.
//!
//! Pure, but for reading the nodes.

use super::client::{CallError, Client};
use super::layout::{self, ServerInfo};

/// A registered instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Name of its registration node.
    pub node: String,
    /// `ip:port`.
    pub instance: String,
    /// What it says of itself.
    pub info: ServerInfo,
    /// Grows with every heartbeat.
    pub(crate) mzxid: i64,
}

/// The registered instances, in the order of their registration; `watch` asks for one event when
/// one comes or goes. Nodes without a number are left out; data that cannot be read leaves the name.
pub fn members(client: &Client, watch: bool) -> Result<Vec<Member>, CallError> {
    let names = layout::in_order(client.children(layout::MEMBERS, watch)?);
    let mut members = Vec::with_capacity(names.len());
    for node in names {
        match client.read(&layout::child(layout::MEMBERS, &node), false) {
            Ok((data, stat)) => {
                members.push(member(node, &data, stat.mzxid));
            }
            Err(CallError::NoNode(_)) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(members)
}

/// The master among `members`, which are in order.
pub fn master(members: &[Member]) -> Option<&Member> {
    members.first()
}

fn member(node: String, data: &[u8], mzxid: i64) -> Member {
    let info = ServerInfo::parse(data).unwrap_or_default();
    let instance = info.instance().unwrap_or_else(|| layout::plain_name(&node).to_owned());
    Member { node, instance, info, mzxid }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_known_by_its_data_and_otherwise_by_its_name() {
        for (data, instance) in [
            (&br#"{"ip":"10.0.0.9","port":1}"#[..], "10.0.0.9:1"),
            (b"garbage", "10.0.0.1:8080"),
            (b"", "10.0.0.1:8080"),
            (b"\xff\xff", "10.0.0.1:8080"),
        ] {
            assert_eq!(member("10.0.0.1:80800000000007".to_owned(), data, 1).instance, instance);
        }
    }
}
