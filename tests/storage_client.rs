//! The bcs-storage client over real sockets: both generations, both framings, and every way a
//! storage can fail (protocol.md 1).

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::config::{BaseUrl, TlsFiles};
use bcs_bkcmdb_synchronizer::http::{HttpError, Outcome, RequestStats, tls};
use bcs_bkcmdb_synchronizer::model::ClusterKind::{K8s, Mesos};
use bcs_bkcmdb_synchronizer::storage::{
    Client, EventKind, Settings, StaticAddresses, StorageError, WatchStopper, WatchStream,
};
use peer::certificates::Authority;
use peer::{Connection, Peer, Received, Unresponsive, wait_until};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SECOND: Duration = Duration::from_secs(1);
const CLUSTER: &str = "BCS-K8S-1";

fn settings() -> Settings {
    Settings { page_size: 2, timeout: 5 * SECOND, watch_idle_timeout: 5 * SECOND, list_concurrency: 2 }
}

fn client_with(
    origins: &[String],
    settings: Settings,
    tls: Option<&TlsFiles>,
) -> (Client, Arc<RequestStats>) {
    let url = |origin: &String| BaseUrl { origin: origin.clone(), prefix: String::new() };
    let addresses = Arc::new(StaticAddresses::new(origins.iter().map(url).collect()));
    let tls = tls.map(|files| tls::client_config(files, false).unwrap());
    let stats = Arc::new(RequestStats::default());
    (Client::new(addresses, tls, settings, stats.clone()), stats)
}

fn client(peers: &[&Peer]) -> Client {
    let origins: Vec<String> = peers.iter().map(|peer| peer.origin()).collect();
    client_with(&origins, settings(), None).0
}

/// A listing to its end: the documents of each page.
fn list(client: &Client) -> Result<Vec<Vec<String>>, StorageError> {
    let mut listing = client.listing(CLUSTER, K8s, "resourceName,data.metadata")?;
    let mut pages = Vec::new();
    loop {
        let mut page = Vec::new();
        let mut keep = |document: &[u8]| page.push(String::from_utf8_lossy(document).into_owned());
        match listing.next_page(&mut keep)? {
            Some(count) => assert_eq!(count, page.len()),
            None => return Ok(pages),
        }
        pages.push(page);
    }
}

fn offset(request: &Received) -> usize {
    let value = request.target.split("offset=").nth(1).unwrap();
    value.split('&').next().unwrap().parse().unwrap()
}

fn envelope(data: &str) -> String {
    format!(r#"{{"result":true,"code":0,"message":"success","data":{data}}}"#)
}

/// Serves `documents` in pages as asked.
fn paged(documents: &'static [&'static str]) -> Peer {
    Peer::answering(move |request| {
        let page: Vec<&str> = documents.iter().skip(offset(request)).take(2).copied().collect();
        (200, envelope(&format!("[{}]", page.join(","))))
    })
}

#[test]
fn a_listing_is_paged_until_a_page_is_short() {
    for (documents, pages) in [
        (&[][..], &[&[][..]][..]),
        (&["1"], &[&["1"]]),
        (&["1", "2"], &[&["1", "2"], &[]]),
        (&["1", "2", "3"], &[&["1", "2"], &["3"]]),
    ] {
        let peer = paged(documents);
        assert_eq!(list(&client(&[&peer])).unwrap(), pages);
        let requests = peer.requests();
        assert_eq!(requests.len(), pages.len());
        let target = "/bcsstorage/v1/k8s/dynamic/all_resources/clusters/BCS-K8S-1/Pod\
                      ?field=resourceName,data.metadata&offset=0&limit=2";
        assert_eq!((requests[0].method.as_str(), requests[0].target.as_str()), ("GET", target));
        assert_eq!(peer.accepted(), 1);
    }
}

#[test]
fn mesos_clusters_are_asked_for_their_taskgroups() {
    let peer = paged(&[]);
    let mut listing = client(&[&peer]).listing("BCS-MESOS-1", Mesos, "a").unwrap();
    listing.next_page(&mut |_| ()).unwrap();
    assert!(
        peer.requests()[0].target.contains("/mesos/dynamic/all_resources/clusters/BCS-MESOS-1/taskgroup?")
    );
}

#[test]
fn a_page_may_arrive_in_any_pieces() {
    let body = envelope(r#"[{"a":"]}\"é"}]"#);
    for step in [1, 2, 3, 7] {
        let body = body.clone();
        let peer = Peer::start(move |mut connection| {
            connection.request();
            connection.begin_stream();
            for piece in body.as_bytes().chunks(step) {
                connection.chunk(piece);
            }
            connection.chunk("");
        });
        assert_eq!(list(&client(&[&peer])).unwrap(), [[r#"{"a":"]}\"é"}"#]]);
    }
}

#[test]
fn one_bad_document_costs_only_itself() {
    let mut body = envelope(r#"[{"a":"?"},{"b":1}]"#).into_bytes();
    let at = body.iter().position(|byte| *byte == b'?').unwrap();
    body[at] = 0xff;
    let peer = Peer::answering(move |request| match offset(request) {
        0 => (200, body.clone()),
        _ => (200, envelope("[]").into_bytes()),
    });
    assert_eq!(list(&client(&[&peer])).unwrap()[0], ["{\"a\":\"\u{fffd}\"}", r#"{"b":1}"#]);
}

#[test]
fn a_document_of_five_mebibytes_is_listed_read_and_watched() {
    let document = format!(r#"{{"resourceName":"web-0","data":"{}"}}"#, "x".repeat(5 * 1024 * 1024));
    let expected = document.clone();
    let peer = Peer::answering(move |request| match request.target.as_str() {
        target if target.contains("/watch/") => (200, format!(r#"{{"type":1,"value":{document}}}"#)),
        target if target.contains("all_resources") => (200, envelope(&format!("[{document}]"))),
        _ => (200, envelope(&document)),
    });
    let client = client(&[&peer]);
    assert!(list(&client).unwrap() == [[expected.clone()]]);
    assert!(client.get(CLUSTER, K8s, "ns", "web-0").unwrap().unwrap() == expected.as_bytes());
    let mut stream = client.watch(CLUSTER, K8s, None).unwrap();
    assert!(stream.next().unwrap().unwrap().value.unwrap() == expected.as_bytes());
}

#[test]
fn a_document_above_the_limit_is_counted_and_reported() {
    let body = envelope(&format!(r#"["{}",{{}}]"#, "x".repeat(17 * 1024 * 1024)));
    let peer = Peer::answering(move |request| match offset(request) {
        0 => (200, body.clone()),
        _ => (200, envelope("[]")),
    });
    let client = client(&[&peer]);
    let mut listing = client.listing(CLUSTER, K8s, "a").unwrap();
    let mut seen = 0;
    assert_eq!(listing.next_page(&mut |_| seen += 1).unwrap(), Some(2));
    assert_eq!((seen, listing.too_large().len()), (1, 1));
    assert_eq!(listing.next_page(&mut |_| ()).unwrap(), Some(0));
}

#[test]
fn a_server_that_does_not_page_is_found_out() {
    let ignores_limit = Peer::answering(|_| (200, envelope("[1,2,3]")));
    let ignores_offset = Peer::answering(|_| (200, envelope("[1,2]")));
    for (peer, word) in [(ignores_limit, "2 were asked for"), (ignores_offset, "ignores `offset`")] {
        let error = list(&client(&[&peer])).unwrap_err();
        assert!(
            matches!(error, StorageError::Malformed { .. }) && error.to_string().contains(word),
            "{error}"
        );
    }
}

/// Every read of a storage that answers everything with `status` and `body` has to fail the way
/// `expected` says; returns the error of the listing.
fn check_answer(
    status: u16,
    body: &'static [u8],
    expected: impl Fn(&StorageError) -> bool,
    outcome: Outcome,
) -> StorageError {
    let peer = Peer::answering(move |_| (status, body));
    let (client, stats) = client_with(&[peer.origin()], settings(), None);
    let error = list(&client).unwrap_err();
    assert!(expected(&error), "{error:?}");
    assert_eq!(stats.snapshot()["list"].count(outcome), 1, "{error:?}");
    error
}

#[test]
fn an_empty_cluster_by_error_never_looks_like_an_empty_cluster() {
    let refused = |error: &StorageError| matches!(error, StorageError::Refused { code: 1405085, .. });
    let malformed = |error: &StorageError| matches!(error, StorageError::Malformed { .. });
    let body = br#"{"result":false,"code":1405085,"message":"list failed","data":[]}"#;
    let error = check_answer(200, body, refused, Outcome::Refused);
    assert!(error.to_string().contains("list failed"), "{error}");
    for body in [
        &br#"{"result":true,"data":null}"#[..],
        br#"{"result":true,"data":{}}"#,
        br#"{"result":true}"#,
        br#"{"data":[]}"#,
        br#"{"result":true,"data":[]"#,
        br#"{"result":true,"data":[{"a":1}"#,
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"<html><body>502 Bad Gateway</body></html>",
    ] {
        check_answer(200, body, malformed, Outcome::Error);
    }
}

#[test]
fn any_other_status_is_an_error_that_shows_the_answer() {
    for (status, body, words) in [
        (500, &b"<html>\n<b>boom</b>"[..], "HTTP 500: <html> <b>boom</b>"),
        (503, b"", "HTTP 503: (nothing readable)"),
        (404, b"404 page not found", "HTTP 404: 404 page"),
        (204, b"", "HTTP 204"),
    ] {
        let is_status = |error: &StorageError| matches!(error, StorageError::Status { .. });
        let error = check_answer(status, body, is_status, Outcome::Error);
        assert!(error.to_string().contains(words), "{error}");
    }
}

fn redirecting() -> Peer {
    Peer::start(|mut connection| {
        while connection.request().is_some() {
            connection.write(
                b"HTTP/1.1 302 Found\r\nlocation: http://other/login?token=hidden\r\ncontent-length: 0\r\n\r\n",
            );
        }
    })
}

#[test]
fn a_redirect_is_not_followed_and_its_query_not_shown() {
    let peer = redirecting();
    let client = client(&[&peer]);
    for error in [
        list(&client).unwrap_err(),
        client.get(CLUSTER, K8s, "ns", "web-0").unwrap_err(),
        client.watch(CLUSTER, K8s, None).err().unwrap(),
    ] {
        let text = error.to_string();
        assert!(text.contains("302") && text.contains("http://other/login"), "{text}");
        assert!(!text.contains("hidden"), "{text}");
    }
}

#[test]
fn a_broken_or_late_page_is_an_error() {
    let cut = Peer::start(|mut connection| {
        connection.request();
        connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"result\":true,\"data\":[{},");
    });
    let mut listing = client(&[&cut]).listing(CLUSTER, K8s, "a").unwrap();
    let mut seen = 0;
    let error = listing.next_page(&mut |_| seen += 1).unwrap_err();
    assert!(matches!(error, StorageError::Http(HttpError::Broken { .. })), "{error:?}");
    assert_eq!(seen, 1, "what was handed out before the error is void");

    let late = Peer::start(|mut connection| {
        connection.request();
        connection.begin_stream();
        connection.chunk("{\"result\":");
        connection.wait_for_end();
    });
    let settings = Settings { timeout: SECOND / 5, ..settings() };
    let (client, stats) = client_with(&[late.origin()], settings, None);
    assert!(matches!(list(&client).unwrap_err(), StorageError::Http(error) if error.is_timeout()));
    assert_eq!(stats.snapshot()["list"].count(Outcome::Timeout), 1);
}

#[test]
fn a_point_read_asks_for_exactly_that_pod() {
    let peer = Peer::answering(|_| (200, envelope(r#"{"resourceName":"a b/c","namespace":"n%s"}"#)));
    let client = client(&[&peer]);
    let document = client.get(CLUSTER, K8s, "n%s", "a b/c").unwrap().unwrap();
    assert_eq!(document, br#"{"resourceName":"a b/c","namespace":"n%s"}"#);
    assert_eq!(
        peer.requests()[0].target,
        "/bcsstorage/v1/k8s/dynamic/namespace_resources/clusters/BCS-K8S-1/namespaces/n%25s/Pod/a%20b%2Fc"
    );
    for (namespace, name) in [("", "x"), ("x", ""), ("..", "x"), ("x", ".")] {
        let error = client.get(CLUSTER, K8s, namespace, name).unwrap_err();
        assert!(matches!(error, StorageError::Http(HttpError::Invalid { .. })), "{error:?}");
    }
    assert_eq!(peer.requests().len(), 1);
}

#[test]
fn only_a_clear_answer_says_that_a_pod_is_gone() {
    let gone = Peer::answering(|_| (200, r#"{"result":false,"code":1405087,"message":"none","data":{}}"#));
    assert_eq!(client(&[&gone]).get(CLUSTER, K8s, "ns", "web-0").unwrap(), None);
    for (status, body) in [
        (404, r#"{"result":false,"data":{}}"#),
        (500, r#"{"result":false,"data":{}}"#),
        (200, r#"{"result":false,"data":{}"#),
        (200, "<html>"),
        (200, ""),
        (200, r#"{"result":true,"data":[{"resourceName":"web-0"}]}"#),
    ] {
        let peer = Peer::answering(move |_| (status, body));
        client(&[&peer]).get(CLUSTER, K8s, "ns", "web-0").unwrap_err();
    }
    let (nobody, _) = client_with(&[format!("http://{}", peer::nobody())], settings(), None);
    nobody.get(CLUSTER, K8s, "ns", "web-0").unwrap_err();
}

#[test]
fn no_address_is_an_error_of_its_own() {
    let client = client(&[]);
    assert!(matches!(list(&client), Err(StorageError::NoAddress)));
    assert!(matches!(client.get(CLUSTER, K8s, "a", "b"), Err(StorageError::NoAddress)));
    assert!(matches!(client.watch(CLUSTER, K8s, None), Err(StorageError::NoAddress)));
}

#[test]
fn what_one_address_cannot_do_the_next_one_does() {
    let failing = Peer::answering(|_| (503, "busy"));
    let hanging_up = Peer::start(|mut connection| drop(connection.request()));
    let good = Peer::answering(|request| match request.target.contains("/watch/") {
        true => (200, r#"{"type":0}"#.to_owned()),
        false => (200, envelope("[]")),
    });
    let refusing = format!("http://{}", peer::nobody());
    for bad in [refusing, failing.origin(), hanging_up.origin()] {
        for order in [[bad.clone(), good.origin()], [good.origin(), bad.clone()]] {
            let fresh = || client_with(&order, settings(), None).0;
            assert_eq!(list(&fresh()).unwrap(), [[""; 0]], "{order:?}");
            assert_eq!(fresh().get(CLUSTER, K8s, "a", "b").unwrap(), None, "{order:?}");
            assert_eq!(fresh().watch(CLUSTER, K8s, None).unwrap().address(), good.origin(), "{order:?}");
        }
    }
}

#[test]
fn a_bad_address_is_not_asked_again_at_once() {
    let bad = Peer::answering(|_| (503, "busy"));
    let good = Peer::answering(|_| (200, envelope("[]")));
    let client = client(&[&bad, &good]);
    for number in 0..20 {
        assert_eq!(client.get(&format!("BCS-K8S-{number}"), K8s, "a", "b").unwrap(), None);
    }
    assert_eq!((bad.requests().len(), good.requests().len()), (1, 20));
}

#[test]
fn a_mute_address_is_avoided_if_there_is_another() {
    let peers = [1, 2].map(|_| Peer::answering(|_| (200, "")));
    let client = client(&[&peers[0], &peers[1]]);
    let first = client.watch(CLUSTER, K8s, None).unwrap().address().to_owned();
    let second = client.watch(CLUSTER, K8s, Some(&first)).unwrap().address().to_owned();
    assert_ne!(first, second);
}

#[test]
fn listings_at_the_same_time_are_bounded() {
    let peer = paged(&[]);
    let client = client(&[&peer]);
    let held: Vec<_> = (0..2).map(|_| client.listing(CLUSTER, K8s, "a").unwrap()).collect();
    let other = client.scoped();
    let waiting = std::thread::spawn({
        let other = other.clone();
        move || other.listing(CLUSTER, K8s, "a").map(drop)
    });
    let third = std::thread::spawn({
        let client = client.clone();
        move || client.listing(CLUSTER, K8s, "a").map(drop)
    });
    other.stop();
    assert!(matches!(waiting.join().unwrap(), Err(StorageError::Stopped)));
    assert!(!third.is_finished());
    drop(held);
    third.join().unwrap().unwrap();
}

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
        let idle = if timeout { SECOND / 5 } else { 5 * SECOND };
        let settings = Settings { watch_idle_timeout: idle, ..settings() };
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

/// Runs `work` in a thread until `busy`, then `stop`: the thread has to end at once, and stopped.
fn check_stop<T: Send + 'static>(
    busy: impl Fn() -> bool,
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
    stop: impl FnOnce(),
) {
    let worker = std::thread::spawn(move || (work().map(drop), Instant::now()));
    wait_until("the thread is busy", busy);
    let before = Instant::now();
    stop();
    let (result, ended) = worker.join().unwrap();
    assert!(matches!(result, Err(StorageError::Stopped)), "{result:?}");
    assert!(ended.saturating_duration_since(before) < SECOND / 10, "{:?}", ended - before);
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

#[test]
fn a_storage_behind_mutual_tls_is_read_and_a_wrong_identity_is_explained() {
    let authority = Authority::new("ours");
    let other = Authority::new("theirs");
    let config = tls::server_config(&authority.trusting(authority.issue("storage.bcs"))).unwrap();
    let peer = Peer::start_tls(config, |mut connection| {
        while connection.request().is_some() {
            connection.answer(200, envelope("[]"));
        }
    });
    let read = |files: TlsFiles| list(&client_with(&[peer.origin()], settings(), Some(&files)).0);
    assert_eq!(read(authority.trusting(authority.issue("client"))).unwrap(), [[""; 0]]);
    for files in [
        authority.trusting(TlsFiles::default()),
        authority.trusting(other.issue("client")),
        other.trusting(authority.issue("client")),
    ] {
        let error = read(files).unwrap_err();
        assert!(matches!(error, StorageError::Http(HttpError::Tls { .. })), "{error:?}");
    }
}
