//! Watch streams over real sockets: both framings, and stopping one in any state (protocol.md 1.3).

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::tls;
use bcs_bkcmdb_synchronizer::model::ClusterKind::{K8s, Mesos};
use bcs_bkcmdb_synchronizer::storage::{EventKind, Settings, StorageError, WatchStopper, WatchStream};
use peer::certificates::Authority;
use peer::storage::{CLUSTER, SECOND, client, client_with, settings};
use peer::{Connection, Peer, Unresponsive, wait_until};

/// Sends `pieces` as chunks of a watch stream, and ends it.
fn streaming(pieces: Vec<Vec<u8>>) -> Peer {
    Peer::start(move |mut connection| {
        while connection.request().is_some() {
            connection.begin_stream();
            for piece in &pieces {
                connection.chunk(piece);
            }
            connection.chunk("");
        }
    })
}

/// The events of a stream to its end, as text.
fn events(stream: &mut WatchStream) -> Vec<(EventKind, String)> {
    let mut events = Vec::new();
    while let Some(event) = stream.next().unwrap() {
        assert_eq!(event.problem.is_some(), event.kind == EventKind::Malformed);
        events.push((event.kind, String::from_utf8(event.value.unwrap_or_default().to_vec()).unwrap()));
    }
    assert_eq!(stream.next().unwrap(), None, "an end stays an end");
    events
}

#[test]
fn both_framings_and_any_pieces_give_the_same_events() {
    let all = [r#"{"type":1,"value":{"a":"}{"}}"#, r#"{"type":2,"value":{"_id":"5f"}}"#, r#"{"type":0}"#];
    let expected = [
        (EventKind::Add, r#"{"a":"}{"}"#.to_owned()),
        (EventKind::Delete, r#"{"_id":"5f"}"#.to_owned()),
        (EventKind::Nop, String::new()),
    ];
    for separator in ["", "\n"] {
        let bytes: Vec<u8> =
            all.iter().flat_map(|event| format!("{event}{separator}").into_bytes()).collect();
        for step in [1, 5, 1000] {
            let peer = streaming(bytes.chunks(step).map(<[u8]>::to_vec).collect());
            let mut stream = client(&[&peer]).watch(CLUSTER, K8s, None).unwrap();
            assert_eq!(events(&mut stream), expected, "{separator:?} in steps of {step}");
        }
    }
}

#[test]
fn a_watch_subscribes_to_everything_and_refuses_compression() {
    let peer = streaming(Vec::new());
    client(&[&peer]).watch("BCS-MESOS-1", Mesos, None).unwrap();
    let request = peer.requests().pop().unwrap();
    assert_eq!(request.method, "POST");
    assert_eq!(request.target, "/bcsstorage/v1/dynamic/watch/BCS-MESOS-1/taskgroup");
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(request.body, br#"{"selfOnly":false,"maxEvents":0,"timeout":0,"mustDiff":""}"#);
}

#[test]
fn what_is_no_event_is_an_item_and_the_stream_goes_on() {
    let peer = streaming(vec![
        b"{\"type\":1,\"value\":{\"a\":\"\xff\"}}".to_vec(),
        b"<html> {\"type\":\"1\"} null [1] {\"value\":{}} } ".to_vec(),
        b"{\"type\":77}{\"type\":3}{\"type\":3,\"value\":".to_vec(),
    ]);
    let mut stream = client(&[&peer]).watch(CLUSTER, K8s, None).unwrap();
    let kinds: Vec<EventKind> = events(&mut stream).into_iter().map(|(kind, _)| kind).collect();
    let mut expected = vec![EventKind::Malformed; 7];
    expected.extend([EventKind::Unknown(77), EventKind::Change]);
    assert_eq!(kinds, expected);
}

#[test]
fn a_break_event_ends_the_stream() {
    let peer = Peer::start(|mut connection| {
        connection.request();
        connection.begin_stream();
        connection.chunk(r#"{"type":-1,"value":null}{"type":1,"value":{}}"#);
        connection.wait_for_end();
    });
    let mut stream = client(&[&peer]).watch(CLUSTER, K8s, None).unwrap();
    assert_eq!(events(&mut stream), []);
}

#[test]
fn a_stream_that_breaks_or_falls_silent_is_an_error_and_then_over() {
    let broken = Peer::start(|mut connection| {
        connection.request();
        connection.begin_stream();
        connection.write(b"ff\r\n{\"type\":1");
    });
    let silent = Peer::start(|mut connection| {
        connection.request();
        connection.begin_stream();
        connection.wait_for_end();
    });
    for (peer, timeout) in [(broken, false), (silent, true)] {
        let settings = match timeout {
            true => Settings { watch_idle_timeout: SECOND / 5, ..settings() },
            false => settings(),
        };
        let (client, _) = client_with(&[peer.origin()], settings, None);
        let mut stream = client.watch(CLUSTER, K8s, None).unwrap();
        match stream.next().unwrap_err() {
            StorageError::Http(error) => assert_eq!(error.is_timeout(), timeout, "{error}"),
            other => panic!("{other}"),
        }
        assert_eq!(stream.next().unwrap(), None);
    }
}

#[test]
fn a_watch_that_is_refused_is_not_waited_for() {
    let peer = Peer::start(|mut connection| {
        connection.request();
        connection.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 5\r\n\r\n");
        connection.wait_for_end();
    });
    let error = client(&[&peer]).watch(CLUSTER, K8s, None).err().unwrap();
    assert!(matches!(error, StorageError::Status { status: 403, .. }), "{error:?}");
}

/// Runs `work` in a thread until `busy`, then `stop`: the thread has to end long before its request would,
/// and stopped.
fn check_stop<T: Send + 'static>(
    busy: impl Fn() -> bool,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    stop: impl FnOnce(),
) {
    let worker = std::thread::spawn(move || work().map(drop));
    wait_until("the thread is busy", busy);
    stop();
    wait_until("the thread has ended", || worker.is_finished());
    let result = worker.join().unwrap();
    assert!(matches!(result, Err(StorageError::Stopped)), "{result:?}");
}

fn idle(connection: &mut Connection) {
    connection.request();
    connection.begin_stream();
    connection.chunk("{\"type\":0}");
    connection.wait_for_end();
}

#[test]
fn an_idle_stream_is_stopped_at_once_from_another_thread() {
    let peer = Peer::start(|mut connection| idle(&mut connection));
    for by_client in [false, true] {
        let client = client(&[&peer]);
        let mut stream = client.watch(CLUSTER, K8s, None).unwrap();
        assert_eq!(stream.next().unwrap().unwrap().kind, EventKind::Nop);
        let stopper = stream.stopper();
        let stop = || if by_client { client.stop() } else { stopper.stop() };
        check_stop(|| true, move || stream.next().map(drop), stop);
        assert_eq!(client.watch(CLUSTER, K8s, None).is_err(), by_client);
    }
}

#[test]
fn an_idle_secured_stream_is_stopped_at_once() {
    let authority = Authority::new("ours");
    let config = tls::server_config(&authority.issue("storage")).unwrap();
    let peer = Peer::start_tls(config, |mut connection| idle(&mut connection));
    let files = authority.trusting(TlsFiles::default());
    let (client, _) = client_with(&[peer.origin()], settings(), Some(&files));
    let mut stream = client.watch(CLUSTER, K8s, None).unwrap();
    assert_eq!(stream.next().unwrap().unwrap().kind, EventKind::Nop);
    let stopper = stream.stopper();
    check_stop(|| true, move || stream.next().map(drop), || stopper.stop());
}

#[test]
fn a_watch_is_stopped_while_it_connects_shakes_hands_or_waits_for_the_head() {
    let unresponsive = Unresponsive::start();
    let others = unresponsive.connecting();
    let silent = Peer::start(|mut connection| connection.wait_for_end());
    let handshaking = Peer::start(|mut connection| connection.wait_for_end());
    let files = Authority::new("ours");
    let files = files.trusting(TlsFiles::default());
    let connecting = || unresponsive.connecting() > others;
    let (waiting, shaking) =
        (|| !silent.requests().is_empty() || silent.accepted() > 0, || handshaking.accepted() > 0);
    for (url, busy) in [
        (format!("http://{}", unresponsive.addr), &connecting as &dyn Fn() -> bool),
        (silent.origin(), &waiting),
        (format!("https://{}", handshaking.addr()), &shaking),
    ] {
        let (client, stats) = client_with(&[url], settings(), Some(&files));
        let stopper = WatchStopper::new();
        let theirs = stopper.clone();
        check_stop(busy, move || client.watch_with(CLUSTER, K8s, None, &theirs), || stopper.stop());
        assert!(stats.snapshot().is_empty(), "what was stopped is no failure");
    }
}

#[test]
fn a_stopped_client_ends_its_reads_and_leaves_the_other_scopes_alone() {
    let silent = Peer::start(|mut connection| connection.wait_for_end());
    let root = client(&[&silent]);
    for (number, listing) in [(1, true), (2, false)] {
        let scope = root.scoped();
        let theirs = scope.clone();
        let work = move || match listing {
            true => theirs.listing(CLUSTER, K8s, "a")?.next_page(&mut |_| ()).map(drop),
            false => theirs.get(CLUSTER, K8s, "a", "b").map(drop),
        };
        check_stop(|| silent.accepted() == number, work, || scope.stop());
        assert!(matches!(scope.get(CLUSTER, K8s, "a", "b"), Err(StorageError::Stopped)));
    }
    assert_eq!(silent.accepted(), 2);
}
