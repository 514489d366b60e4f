//! Tests against servers that do not keep to the protocol: nothing they say may hang a call, end
//! this process, or pass for an answer.

use super::client::{CallError, Client};
use super::link::{Link, LinkError, Servers};
use super::relay::Event;
use super::wire::{self, Frames, SessionKey};
use crate::config::Secret;
use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::time::{Duration, Instant};

const TIMEOUT: Duration = Duration::from_secs(2);
/// What takes longer hangs, also on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(30);

fn servers(listener: &TcpListener) -> Servers {
    Servers {
        hosts: vec![listener.local_addr().unwrap().to_string()],
        user: "u".to_owned(),
        password: Secret::new("hush"),
        session_timeout: TIMEOUT,
    }
}

/// A server that takes one connection, answers the handshake with `key` and `auth_error`, and then
/// every request with what `answer` makes of its number.
fn serve(
    key: SessionKey,
    auth_error: i32,
    answer: impl Fn(i32) -> Option<Vec<u8>> + Send + 'static,
) -> TcpListener {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let accepting = listener.try_clone().unwrap();
    std::thread::spawn(move || {
        let (mut stream, _) = accepting.accept().unwrap();
        let mut frames = Frames::default();
        let mut next = |stream: &mut TcpStream| frames.next(stream).ok().flatten();
        let Some(_) = next(&mut stream) else { return };
        stream.write_all(&wire::connect_response(&key)).unwrap();
        let Some(_) = next(&mut stream) else { return };
        stream.write_all(&wire::reply(wire::AUTH, auth_error)).unwrap();
        while let Some(request) = next(&mut stream) {
            let xid = wire::request_head(&request).unwrap().xid;
            let sent = answer(xid).is_none_or(|bytes| stream.write_all(&bytes).is_ok());
            if !sent {
                return;
            }
        }
    });
    listener
}

fn key(id: i64, timeout_ms: u32) -> SessionKey {
    SessionKey { id, password: vec![7; 16], timeout_ms }
}

/// A frame of a good reply's head and `body`.
fn reply(xid: i32, body: &[u8]) -> Vec<u8> {
    let mut frame = wire::reply(xid, 0);
    frame.extend(body);
    let length = u32::try_from(frame.len() - 4).unwrap();
    frame[..4].copy_from_slice(&length.to_be_bytes());
    frame
}

/// What a listing of children comes to when it is answered so; within bounds, whatever the answer.
#[track_caller]
fn check(answer: impl Fn(i32) -> Option<Vec<u8>> + Send + 'static) -> CallError {
    let listener = serve(key(9, 2000), 0, answer);
    let client = Client::open(&servers(&listener), |_| {}).unwrap();
    let start = Instant::now();
    let error = client.children("/x", false).unwrap_err();
    drop(client);
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
    error
}

#[test]
fn an_answer_that_cannot_be_read_is_an_error_and_not_the_end() {
    for body in
        [&(-1_i32).to_be_bytes()[..], &[0, 0, 0, 1, 0, 0, 0, 1, 0xff], &i32::MAX.to_be_bytes()[..2], &[]]
    {
        let body = body.to_vec();
        let error = check(move |xid| Some(reply(xid, &body)));
        assert!(matches!(error, CallError::Refused { .. }), "{error:?}");
    }
}

#[test]
fn watch_events_that_end_the_crates_threads_cost_the_session_and_hold_no_call() {
    // The first ends the thread that hears events, a later one the thread that reads answers
    // (protocol.md 6).
    let event = reply(wire::WATCH_EVENT, &[0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 0, 1, 0xff]);
    let listener = serve(key(9, 2000), 0, move |xid| Some([event.clone(), reply(xid, &[0; 4])].concat()));
    let client = Client::open(&servers(&listener), |_| {}).unwrap();
    let start = Instant::now();
    while client.children("/x", false).is_ok() {
        assert!(start.elapsed() < PATIENCE, "nobody noticed");
    }
    assert!(matches!(client.events().recv_timeout(PATIENCE), Ok(Event::Ended(_))));
    assert!(client.children("/x", false).is_err());
    drop(client);
    assert!(start.elapsed() < PATIENCE, "took {:?}", start.elapsed());
}

#[test]
fn an_answer_out_of_order_or_none_at_all_costs_the_connection() {
    let lost = |error| assert!(matches!(error, CallError::Lost(_)), "{error:?}");
    lost(check(|xid| Some(reply(xid + 7, &[0; 4]))));
    lost(check(|_| None));
    lost(check(|_| Some(i32::MIN.to_be_bytes().to_vec())));
    lost(check(|_| Some((64_i32 << 20).to_be_bytes().to_vec())));
}

#[test]
fn a_handshake_that_fails_says_where_and_never_the_password() {
    for (key, auth_error, expected) in [
        (key(0, 0), 0, "the ZooKeeper session is over"),
        (key(9, 2000), -115, "refused zk_user and zk_password"),
    ] {
        let listener = serve(key, auth_error, |_| None);
        let Err(error) = Link::open_any(&servers(&listener)) else { panic!("a link") };
        let words = error.to_string();
        assert!(words.contains(expected) && !words.contains("hush"), "{words}");
    }
}

#[test]
fn a_server_that_accepts_and_says_nothing_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let start = Instant::now();
    assert!(matches!(Link::open_any(&servers(&listener)), Err(LinkError::Unreachable(_))));
    assert!(start.elapsed() < PATIENCE);
}
