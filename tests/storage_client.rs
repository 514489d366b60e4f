//! Listings and point reads over real sockets, and every way a storage can fail (protocol.md 1.1
//! and 1.2).

#![allow(clippy::unwrap_used, clippy::expect_used)] // helpers of tests fail by panicking

mod peer;

use bcs_bkcmdb_synchronizer::config::TlsFiles;
use bcs_bkcmdb_synchronizer::http::{HttpError, Outcome, tls};
use bcs_bkcmdb_synchronizer::model::ClusterKind::{K8s, Mesos};
use bcs_bkcmdb_synchronizer::storage::{Client, Settings, StorageError};
use peer::certificates::Authority;
use peer::storage::{CLUSTER, SECOND, client, client_with, settings};
use peer::{Peer, Received};
use std::time::Instant;

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
        (503, b"", "HTTP 503: (no body)"),
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
    let cut = [1, 2].map(|_| {
        Peer::start(|mut connection| {
            connection.request();
            connection.write(b"HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{\"result\":true,\"data\":[{},");
        })
    });
    let mut listing = client(&[&cut[0], &cut[1]]).listing(CLUSTER, K8s, "a").unwrap();
    let mut seen = 0;
    let error = listing.next_page(&mut |_| seen += 1).unwrap_err();
    assert!(matches!(error, StorageError::Http(HttpError::Broken { .. })), "{error:?}");
    assert_eq!(seen, 1, "what was handed out is void, and no other address is asked for it again");
    assert_eq!(cut.map(|peer| peer.requests().len()).iter().sum::<usize>(), 1);

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
    let began = Instant::now();
    for number in 0..20 {
        assert_eq!(client.get(&format!("BCS-K8S-{number}"), K8s, "a", "b").unwrap(), None);
    }
    // Not for five seconds; a busy machine may take longer than that for all of them.
    let times = 1 + began.elapsed().as_secs() as usize / 5;
    assert!((1..=times).contains(&bad.requests().len()), "{} times", bad.requests().len());
    assert_eq!(good.requests().len(), 20);
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
