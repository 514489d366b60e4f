//! The store's own promises: writes share flushes and not failures, and the feed ends with them.

use super::*;
use crate::container_server::fields;
use crate::container_server::filter::{self, Group};
use rusqlite::types::Value as Cell;
use serde_json::json;
use std::sync::Barrier;
use tempfile::TempDir;

const LONG: Duration = Duration::from_secs(3600);

fn open(retention: Duration) -> (TempDir, Store) {
    let directory = tempfile::tempdir().unwrap();
    let times = Times { retention, query: LONG };
    let store = Store::open(&directory.path().join("a.db"), times).unwrap();
    (directory, store)
}

fn scope() -> Scope {
    Scope { account: "0".to_owned(), biz: 2 }
}

fn row(name: &str) -> Row {
    let mut row = [const { Cell::Null }; fields::FIELDS.len()];
    for (cell, field) in row.iter_mut().zip(&fields::FIELDS).filter(|(_, field)| field.required) {
        *cell = if field.kind.is_int() { Cell::Integer(2) } else { Cell::Text(name.to_owned()) };
    }
    row
}

fn by_uuid(uuid: &str) -> Sql {
    filter::equalities([("bk_pod_uuid", json!(uuid))]).unwrap()
}

fn token(number: i64) -> Option<FenceToken> {
    Some(FenceToken { cluster: "c".to_owned(), number })
}

#[test]
fn concurrent_writes_share_flushes() {
    let (_directory, store) = open(LONG);
    let (threads, writes) = (8, 25);
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope_| {
        for thread in 0..threads {
            let (store, barrier) = (&store, &barrier);
            scope_.spawn(move || {
                barrier.wait();
                for write in 0..writes {
                    store.create(&scope(), None, vec![row(&format!("{thread}-{write}"))]).unwrap()[0]
                        .clone()
                        .unwrap();
                }
            });
        }
    });
    let numbers = store.statistics().unwrap();
    assert_eq!((numbers.pods, numbers.writes, numbers.sequence), (200, 200, 200));
    assert!(numbers.flushes < numbers.writes, "{numbers:?}");
}

#[test]
fn a_write_the_database_refuses_takes_no_other_with_it() {
    let (directory, store) = open(LONG);
    let mut broken = row("broken");
    broken[fields::position("bk_pod_name").unwrap()] = Cell::Null;
    let threads: Vec<_> = (0..20).collect();
    std::thread::scope(|scope_| {
        for thread in &threads {
            let (store, broken) = (&store, broken.clone());
            scope_.spawn(move || {
                let rows =
                    if thread % 2 == 0 { vec![row(&thread.to_string())] } else { vec![row("x"), broken] };
                let outcome = store.create(&scope(), None, rows).map_err(|fault| fault.code);
                let refused = outcome.as_ref().err().copied();
                assert_eq!(refused, (thread % 2 == 1).then_some(codes::INSERT_FAILED), "{outcome:?}");
            });
        }
    });
    let numbers = store.statistics().unwrap();
    // Of a call that failed as a whole nothing stays: neither record nor change.
    assert_eq!((numbers.pods, numbers.sequence), (10, 10));
    drop(store);
    let store = Store::open(&directory.path().join("a.db"), Times::default()).unwrap();
    assert_eq!(store.statistics().unwrap().pods, 10);
    assert_eq!(store.sequence(), 10);
}

/// Lists one record's worth of `modules` of business 2, and what is said of how many there are.
fn listed(store: &Store, group: Option<Group>, filter: Sql) -> serde_json::Value {
    let columns = fields::columns().collect();
    let query =
        ListQuery { scope: scope(), filter, group, columns, order: "bk_pod_id".into(), start: 0, limit: 1 };
    let mut out = Vec::new();
    store.list(&query, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn the_known_counts_are_those_of_the_records() {
    let (directory, store) = open(LONG);
    let at = fields::position("bk_module_id").unwrap();
    let check = |modules: [u64; 3]| {
        for (module, pods) in (2..).zip(modules) {
            let filter = filter::equalities([("bk_module_id", json!(module))]).unwrap();
            let twice = filter::group(2, &json!(null), Some(&[module, module]));
            for group in [None, twice] {
                assert_eq!(listed(&store, group, filter.clone())["count"], pods, "module {module}");
            }
        }
        let everything = filter::filter(&json!(null)).unwrap();
        let business = filter::group(2, &json!(null), None);
        assert_eq!(listed(&store, business, everything)["count"], modules.iter().sum::<u64>());
        assert_eq!(store.statistics().unwrap().pods as u64, modules.iter().sum::<u64>());
        assert_eq!(inspect(&directory.path().join("a.db")).unwrap().damage, Vec::<String>::new());
    };
    check([0, 0, 0]);
    // A duplicate is not counted, nor is anything of a call that failed.
    store.create(&scope(), None, ["a", "b", "c", "a"].map(row).into()).unwrap();
    let mut broken = row("d");
    broken[fields::position("bk_pod_name").unwrap()] = Cell::Null;
    store.create(&scope(), None, vec![row("e"), broken]).unwrap_err();
    check([3, 0, 0]);
    store.update(&scope(), None, by_uuid("a"), vec![(at, Cell::Integer(3))]).unwrap();
    store.update(&scope(), None, by_uuid("b"), vec![(at, Cell::Integer(2))]).unwrap();
    store.update(&scope(), None, by_uuid("nobody"), vec![(at, Cell::Integer(3))]).unwrap();
    let status = fields::position("bk_pod_status").unwrap();
    store.update(&scope(), None, by_uuid("a"), vec![(status, Cell::Text("x".into()))]).unwrap();
    check([2, 1, 0]);
    let all = || filter::equalities([("bk_cloud_id", json!(2))]).unwrap();
    store.update(&scope(), None, all(), vec![(at, Cell::Integer(4))]).unwrap();
    check([0, 0, 3]);
    store.delete(&scope(), None, by_uuid("a")).unwrap();
    store.delete(&scope(), None, by_uuid("a")).unwrap();
    check([0, 0, 2]);
    store.delete(&scope(), None, all()).unwrap();
    check([0, 0, 0]);
}

/// The answer of a list call for a group, and for the same filter as if nothing were known of it.
fn with_and_without_counts(
    store: &Store,
    rules: &serde_json::Value,
    order: &str,
    page: (u64, u64),
) -> [Vec<u8>; 2] {
    let filter = json!({"condition": "AND", "rules": rules});
    let filter = if rules.is_null() { json!(null) } else { filter };
    [filter::group(2, &filter, None), None].map(|group| {
        let query = ListQuery {
            scope: scope(),
            filter: filter::filter(&filter).unwrap(),
            group,
            columns: fields::columns().collect(),
            order: filter::order(order).unwrap(),
            start: page.0,
            limit: page.1,
        };
        let mut out = Vec::new();
        store.list(&query, &mut out).unwrap();
        out
    })
}

#[test]
fn pages_and_totals_found_by_counts_are_those_found_by_looking() {
    let (directory, store) = open(LONG);
    let other = rusqlite::Connection::open(directory.path().join("a.db")).unwrap();
    let (module, cluster) =
        (fields::position("bk_module_id").unwrap(), fields::position("bk_pod_cluster").unwrap());
    // Two records around the end of a block, a gap of several blocks, and so on.
    for (group, jump) in [0, 4094, 8190, 40_000].into_iter().enumerate() {
        other.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'pod'", [jump]).unwrap();
        for number in 0..4 {
            let mut row = row(&format!("{group}-{number}"));
            row[module] = Cell::Integer(41 + number % 2);
            row[cluster] = Cell::Text(format!("c{}", number / 2));
            store.create(&scope(), None, vec![row]).unwrap()[0].clone().unwrap();
        }
    }
    store.delete(&scope(), None, by_uuid("1-1")).unwrap();
    let equal =
        |field: &str, value: serde_json::Value| json!({"field": field, "operator": "equal", "value": value});
    let after = |id: i64| json!({"field": "bk_pod_id", "operator": "greater", "value": id});
    for rules in [
        json!(null),
        json!([equal("bk_module_id", json!(41))]),
        json!([equal("bk_module_id", json!(7))]),
        json!([equal("bk_pod_cluster", json!("c1"))]),
        json!([equal("bk_pod_cluster", json!("c1")), after(3)]),
        json!([equal("bk_pod_cluster", json!("c0")), after(4095)]),
        json!([after(40_002)]),
        json!([after(i64::MIN)]),
        json!([after(i64::MAX)]),
    ] {
        for order in ["bk_pod_id", "-bk_pod_id", "bk_module_id"] {
            for page in
                [(0, 0), (0, 1), (0, 3), (1, 2), (5, 2), (7, 0), (14, 1), (14, 5), (15, 5), (u64::MAX, 1)]
            {
                let [with, without] = with_and_without_counts(&store, &rules, order, page);
                assert_eq!(String::from_utf8(with), String::from_utf8(without), "{rules} {order} {page:?}");
            }
        }
    }
}

#[test]
fn a_count_that_is_not_true_shows_in_the_check() {
    let (directory, store) = open(LONG);
    let path = directory.path().join("a.db");
    store.create(&scope(), None, vec![row("a")]).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("UPDATE pod_block SET pods = 7 WHERE field = 'bk_module_id'").unwrap();
    let damage = inspect(&path).unwrap().damage;
    let wanted = "supplier account 0, business 2, bk_module_id 2, ids 0 to 4095: 7 pods counted, 1 there";
    assert_eq!(damage, [wanted]);
}

#[test]
fn the_feed_has_a_new_record_as_a_list_has_it() {
    let (_directory, store) = open(LONG);
    let mut strange = row("\"quoted\" \u{1} \u{2028} é");
    strange[fields::position("bk_pod_labels").unwrap()] = Cell::Text("{\"a\":\"b\"}".into());
    store.create(&scope(), None, vec![strange]).unwrap()[0].clone().unwrap();
    let Position::Page(page) = store.changes("0", None, 0).unwrap() else { panic!("nothing") };
    let fed: serde_json::Value = serde_json::from_str(page.changes[0].pod.get()).unwrap();
    let list = listed(&store, None, filter::filter(&json!(null)).unwrap());
    assert_eq!(fed, list["info"][0]);
    assert!(fed["bk_pod_id"].is_i64() && fed["last_time"].is_string(), "{fed}");
}

#[test]
fn the_highest_fence_is_remembered_per_account_and_cluster() {
    let (_directory, store) = open(LONG);
    let code = |number| {
        store.delete(&scope(), token(number), by_uuid("a")).map_err(|fault| (fault.status, fault.code))
    };
    assert_eq!(code(5), Ok(0));
    assert_eq!(code(4), Err((409, codes::FENCED)));
    assert_eq!(code(5), Ok(0));
    let elsewhere = Scope { account: "1".to_owned(), biz: 2 };
    assert_eq!(store.delete(&elsewhere, token(1), by_uuid("a")), Ok(0));
    // A write that fails for itself has still shown its fence.
    assert_eq!(store.update(&scope(), token(9), by_uuid("a"), vec![]), Ok(0));
    assert_eq!(code(8), Err((409, codes::FENCED)));
}

#[test]
fn changes_older_than_the_retention_go_and_their_readers_are_told() {
    let (_directory, store) = open(Duration::ZERO);
    let deadline = Instant::now() + Duration::from_secs(30);
    let mut name = 0;
    loop {
        store.create(&scope(), None, vec![row(&name.to_string())]).unwrap()[0].clone().unwrap();
        name += 1;
        match store.changes("0", None, 0).unwrap() {
            Position::Page(_) => assert!(Instant::now() < deadline, "nothing was removed"),
            Position::Lost { oldest, latest } => {
                assert!(0 < oldest && oldest < latest, "{oldest} {latest}");
                assert_eq!(latest, store.sequence());
                assert!(
                    matches!(store.changes("0", None, oldest).unwrap(), Position::Page(page) if !page.changes.is_empty())
                );
                return;
            }
        }
    }
}

#[test]
fn a_page_of_changes_is_bounded_and_goes_on() {
    let (_directory, store) = open(LONG);
    let rows = (0..1500).map(|name| row(&name.to_string())).collect();
    store.create(&scope(), None, rows).unwrap();
    let page = |since| match store.changes("0", Some(2), since).unwrap() {
        Position::Page(page) => (page.changes.len(), page.sequence),
        lost => panic!("{lost:?}"),
    };
    assert_eq!(page(0), (1000, 1000));
    assert_eq!(page(1000), (500, 1500));
    assert_eq!(page(1500), (0, 1500));
}

#[test]
fn a_page_of_long_records_is_bounded_too() {
    let (_directory, store) = open(LONG);
    let long = |name: usize| {
        let mut row = row(&name.to_string());
        row[fields::position("bk_pod_labels").unwrap()] = Cell::Text("l".repeat(400_000));
        row
    };
    store.create(&scope(), None, (0..7).map(long).collect()).unwrap();
    let (mut since, mut pages) = (0, Vec::new());
    while let Position::Page(page) = store.changes("0", None, since).unwrap() {
        if page.changes.is_empty() {
            break;
        }
        since = page.sequence;
        pages.push(page.changes.len());
    }
    assert_eq!(pages, [3, 3, 1]);
}

#[test]
fn a_database_that_goes_wrong_shows_in_the_check() {
    let (directory, store) = open(LONG);
    assert_eq!(store.check(), Ok(()));
    let other = rusqlite::Connection::open(directory.path().join("a.db")).unwrap();
    other.execute_batch("DROP TABLE heartbeat").unwrap();
    assert_eq!(store.check().unwrap_err().code, codes::UPDATE_FAILED);
    other.execute_batch("DROP TABLE pod").unwrap();
    assert_eq!(store.check().unwrap_err().code, codes::SELECT_FAILED);
    let fault = store.create(&scope(), None, vec![row("a")]).unwrap_err();
    assert_eq!(fault.code, codes::INSERT_FAILED);
}

#[test]
fn a_stop_leaves_the_database_and_its_lock() {
    let (directory, store) = open(LONG);
    store.create(&scope(), None, vec![row("a")]).unwrap()[0].clone().unwrap();
    store.check().unwrap();
    drop(store);
    let mut files: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    files.sort();
    assert_eq!(files, ["a.db", "a.db-server"]);
}

#[test]
fn a_read_ends_with_its_time_and_the_next_one_has_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let times = Times { query: Duration::from_millis(50), ..Times::default() };
    let store = Store::open(&directory.path().join("a.db"), times).unwrap();
    let endless = "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n";
    for _ in 0..=READERS {
        let count = |connection: &mut rusqlite::Connection| connection.query_row(endless, [], |_| Ok(()));
        let fault = store.readers.with(count).unwrap_err();
        assert_eq!(fault.code, codes::SELECT_FAILED);
        assert!(fault.message.contains("query_timeout"), "{fault}");
        assert_eq!(store.check(), Ok(()));
    }
}

#[test]
fn the_log_stays_bounded_under_steady_writes() {
    let (directory, store) = open(LONG);
    let large = |name: usize| {
        let mut row = row(&name.to_string());
        row[fields::position("bk_pod_volumes").unwrap()] = Cell::Text("v".repeat(20_000));
        row
    };
    // Each round writes about 24 MB: the records, and both changes of each.
    for round in 0..10 {
        store.create(&scope(), None, (0..400).map(large).collect()).unwrap();
        let all = filter::equalities([("bk_module_id", json!(2))]).unwrap();
        assert_eq!(store.delete(&scope(), None, all), Ok(400), "round {round}");
    }
    let log = std::fs::metadata(directory.path().join("a.db-wal")).unwrap().len();
    assert!(log < 120_000_000, "{log} bytes");
}

#[test]
fn a_database_has_one_server_and_what_a_killed_one_leaves_stops_no_other() {
    let (directory, store) = open(LONG);
    let path = directory.path().join("a.db");
    let times = Times::default();
    assert!(Store::open(&path, times).err().unwrap().to_string().contains("another container server"));
    assert!(inspect(&path).unwrap().damage.is_empty());
    copy(&path, &directory.path().join("b.db")).unwrap();
    drop(store);
    assert!(directory.path().join("a.db-server").exists());
    drop(Store::open(&path, times).unwrap());
}
