//! What must hold for any data of a node and any bytes of a ZooKeeper server (protocol.md 5).

use super::layout::{
    ClusterNode, ServerInfo, encode_worker, in_order, parse_worker, plain_name, sequence, valid_name,
};
use super::wire;

/// The data of worker, cluster and registration nodes: what was read is written so that it is read
/// the same again, and the ids of a worker's list are sorted, unique and valid names.
pub fn nodes(data: &[u8]) {
    if let Ok((entries, _)) = parse_worker(data) {
        assert!(entries.is_sorted_by(|one, next| one.clusterid < next.clusterid));
        assert!(entries.iter().all(|entry| valid_name(&entry.clusterid)));
        assert_eq!(parse_worker(&encode_worker(&entries)), Ok((entries, 0)));
    }
    if let Ok(node) = ClusterNode::parse("BCS-K8S-1", data) {
        assert_eq!(ClusterNode::parse("BCS-K8S-1", &node.encode()), Ok(node.clone()));
        assert_eq!(node.cluster().id, "BCS-K8S-1");
    }
    if let Some(info) = ServerInfo::parse(data) {
        let written = serde_json::to_vec(&info).unwrap_or_default();
        assert_eq!(ServerInfo::parse(&written).as_ref(), Some(&info));
        assert_eq!(info.url().is_some(), info.instance().is_some());
    }
    if let Ok(name) = std::str::from_utf8(data) {
        assert!(name.ends_with(plain_name(name)) || sequence(name).is_some());
        assert_eq!(in_order(vec![name.to_owned()]).len(), usize::from(sequence(name).is_some()));
    }
}

/// The frames of a connection: the same however the bytes are cut, and made of nothing but its bytes;
/// the heads in them are read without a look beyond. The first byte says how the stream is cut.
pub fn frames(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else { return };
    let whole = frames_of(stream, usize::MAX);
    assert_eq!(frames_of(stream, usize::from(*cut) % 19 + 1), whole, "cut");
    let taken: Vec<u8> = whole.concat();
    assert!(stream.starts_with(&taken), "a frame that is not in the stream");
    for frame in &whole {
        let _ = (wire::request_head(frame), wire::reply_head(frame), wire::requested_timeout(frame));
        if let Ok(Some(key)) = wire::parse_connect_response(frame) {
            assert_eq!(wire::parse_connect_response(&wire::connect_response(&key)), Ok(Some(key)));
        }
    }
}

/// Frames up to the end of the stream or to one that cannot be.
fn frames_of(stream: &[u8], step: usize) -> Vec<Vec<u8>> {
    let mut pieces = Pieces { stream, step };
    let mut frames = wire::Frames::default();
    let mut found = Vec::new();
    while let Ok(Some(frame)) = frames.next(&mut pieces) {
        found.push(frame);
    }
    found
}

struct Pieces<'a> {
    stream: &'a [u8],
    step: usize,
}

impl std::io::Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let length = self.step.min(buffer.len()).min(self.stream.len());
        buffer[..length].copy_from_slice(&self.stream[..length]);
        self.stream = &self.stream[length..];
        Ok(length)
    }
}
