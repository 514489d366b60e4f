//! TCP that does not leave the machine.
//!
//! Many servers have BBR as their congestion control. It sends no faster than it believes the path to
//! be, and every ten seconds it lets four packets be under way and no more, for a fifth of a second, to see how
//! long the path is. A network gains by that. On loopback, where a packet has 64 KB and the last one
//! is acknowledged 40 ms later, a page of 700 KB takes 25 to 110 ms meanwhile instead of 4.

use socket2::SockRef;
use std::net::IpAddr;

/// What every Linux has and everybody may choose: no pacing, and nothing that is done by the clock.
const PLAIN: &[u8] = b"reno";

/// Spares a connection that stays on this machine what is there for networks. Only a matter of speed.
pub fn spare(socket: SockRef<'_>) {
    let ip = |address: std::io::Result<socket2::SockAddr>| address.ok()?.as_socket().map(|it| it.ip());
    if is_here(ip(socket.local_addr()), ip(socket.peer_addr())) {
        let _ = socket.set_tcp_congestion(PLAIN);
    }
}

/// Who talks to an address of this machine does so from the same one, or on the loopback network.
fn is_here(local: Option<IpAddr>, peer: Option<IpAddr>) -> bool {
    let Some(peer) = peer.map(|peer| peer.to_canonical()) else { return false };
    peer.is_loopback() || local.is_some_and(|local| local.to_canonical() == peer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{TcpListener, TcpStream};

    #[test]
    fn both_ends_of_a_connection_within_the_machine_are_spared() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        for end in [&client, &server] {
            spare(end.into());
            let name = SockRef::from(end).tcp_congestion().unwrap();
            assert!(name.starts_with(b"reno"), "{}", String::from_utf8_lossy(&name));
        }
    }

    #[test]
    fn a_network_is_left_to_the_system() {
        for (local, peer, here) in [
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", true),
            ("::ffff:127.0.0.1", "::ffff:127.0.0.1", true),
            ("::1", "::1", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.2", false),
            ("::ffff:10.0.0.1", "::ffff:10.0.0.2", false),
            ("fd00::1", "fd00::2", false),
        ] {
            let ip = |text: &str| Some(text.parse().unwrap());
            assert_eq!(is_here(ip(local), ip(peer)), here, "{local} {peer}");
        }
        assert!(!is_here(None, None));
    }
}
