//! A write that arrives late: an instance sent it while it might write, and the network keeps it
//! until another instance has taken the cluster over and has written.

use crate::partition::is_whole;
use crate::processes::PATIENCE;
use crate::world::pods;
use bcs_bkcmdb_synchronizer::sandbox::storage::SimStorage;
use serde_json::Value;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};

/// How a request begins that changes something.
pub const WRITES: [&str; 4] =
    ["POST /api/v3/create/", "POST /api/v3/createmany/", "PUT /api/v3/update/", "DELETE /api/v3/delete/"];

/// A version of a pod that nothing else changes and nobody deletes: an update of it that arrives
/// late finds its record, and would undo what the successor wrote.
pub fn put_steady(storage: &SimStorage, cluster: &str, version: u64) {
    let pod = pods::pod_with_uid("steady", &format!("uid-{cluster}-steady"), version);
    storage.put(cluster, pods::with(pod, "/metadata/labels/app", format!("v{version}"))).unwrap();
}

/// The whole of a request on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Late {
    /// Who sent it: `BK_User`.
    pub user: String,
    /// The cluster it is about, and the number of its fence.
    pub cluster: String,
    pub fence: i64,
    text: String,
}

impl Late {
    /// The request of these bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        let text = String::from_utf8(bytes).unwrap();
        let header = |name: &str| {
            let mut fields = text.lines().take_while(|line| !line.is_empty());
            let value = fields.find_map(|line| {
                let (key, value) = line.split_once(':')?;
                key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
            });
            value.unwrap_or_else(|| panic!("a write without {name}: {text}"))
        };
        let (user, fence) = (header("BK_User"), header("X-Bkcmdb-Fence"));
        let (cluster, fence) = fence.rsplit_once(':').unwrap();
        Self { user, cluster: cluster.to_owned(), fence: fence.parse().unwrap(), text }
    }

    /// Lets it through to the CMDB at `addr`, on a connection of its own.
    ///
    /// # Errors
    /// When nobody is there any more.
    pub fn let_through(&self, addr: SocketAddr) -> io::Result<Arrival> {
        let mut stream = TcpStream::connect(addr)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(self.text.as_bytes())?;
        Ok(Arrival(stream))
    }
}

/// A request that has arrived. Its connection ends with this.
pub struct Arrival(TcpStream);

impl Arrival {
    /// Status and body of the answer.
    pub fn answer(mut self) -> (u16, Value) {
        let (mut answer, mut bytes) = (Vec::new(), [0; 4 << 10]);
        while !is_whole(&answer) {
            let length = self.0.read(&mut bytes).unwrap();
            assert!(length > 0, "half an answer: {}", String::from_utf8_lossy(&answer));
            answer.extend_from_slice(&bytes[..length]);
        }
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, serde_json::from_str(body).unwrap())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::partition::Network;
    use std::net::TcpListener;

    #[test]
    fn a_write_is_held_back_and_nothing_else_and_arrives_as_it_was_sent() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let network = Network::to(&addr.to_string());
        network.hold_back(&WRITES);
        let read = b"POST /api/v3/findmany/container/bk_biz_id/2/pod HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
        let write = b"PUT /api/v3/update/container/bk_biz_id/2/pod HTTP/1.1\r\nBK_User: a\r\n\
            x-bkcmdb-fence: BCS-K8S-1:7\r\nContent-Length: 2\r\n\r\n{}";

        let mut sender = TcpStream::connect(network.host()).unwrap();
        sender.write_all(read).unwrap();
        let mut passed = vec![0; read.len()];
        let mut direct = server.accept().unwrap().0;
        direct.read_exact(&mut passed).unwrap();
        assert_eq!(passed, read);

        let (begun, rest) = write.split_at(write.len() - 1);
        sender.write_all(begun).unwrap();
        sender.write_all(rest).unwrap();
        let mut held = None;
        crate::world::wait_until("it is held back", PATIENCE, || {
            held = network.held_back();
            held.is_some()
        });
        drop(sender);
        assert_eq!(direct.read(&mut passed).unwrap(), 0, "nothing of it has arrived");

        let late = Late::new(held.unwrap());
        assert_eq!((&*late.user, &*late.cluster, late.fence), ("a", "BCS-K8S-1", 7));
        let arrival = late.let_through(addr).unwrap();
        let mut stream = server.accept().unwrap().0;
        let mut arrived = vec![0; write.len()];
        stream.read_exact(&mut arrived).unwrap();
        assert_eq!(arrived, write);
        stream.write_all(b"HTTP/1.1 409 Conflict\r\nContent-Length: 1\r\n\r\n1").unwrap();
        assert_eq!(arrival.answer(), (409, Value::from(1)));
    }
}
