use super::*;
use std::fs;
use std::time::{Duration, Instant};

fn record(day: &str, number: usize) -> DeletedRecord {
    DeletedRecord {
        time: format!("{day}T08:00:00Z"),
        cluster_id: format!("BCS-K8S-{}", number % 2),
        uuid: format!("uid-{number}"),
        namespace: "default".to_owned(),
        name: format!("web-{number}"),
        proof: "point read: not in bcs-storage".to_owned(),
    }
}

/// Today: files of long ago are taken away.
fn today() -> String {
    jiff::Timestamp::now().to_string()[..10].to_owned()
}

fn query(text: &str) -> DeleteQuery {
    DeleteQuery::parse(text).unwrap()
}

fn uuids(page: &DeletePage) -> Vec<String> {
    page.deletes.iter().map(|record| record.uuid.clone()).collect()
}

/// Every delete a query leads to, page by page, and how many pages there were.
fn walk(journal: &Journal, text: &str) -> (Vec<String>, usize) {
    let mut query = query(text);
    let (mut all, mut pages) = (Vec::new(), 0);
    loop {
        let page = journal.page(&query);
        all.extend(uuids(&page));
        pages += 1;
        let Some(next) = page.next else { return (all, pages) };
        query.before = DeleteQuery::parse(&format!("before={next}")).unwrap().before;
        assert!(pages < 10_000, "the pages have no end");
    }
}

#[track_caller]
fn wait(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn deletes_survive_a_restart_and_are_paged_newest_first() {
    let directory = tempfile::tempdir().unwrap();
    let journal = Journal::start(Some(directory.path())).unwrap();
    let day = today();
    (0..25).for_each(|number| journal.add(record(&day, number)));
    drop(journal);
    let journal = Journal::start(Some(directory.path())).unwrap();
    let newest_first: Vec<String> = (0..25).rev().map(|number| format!("uid-{number}")).collect();
    for (limit, pages) in [(1, 25), (10, 3), (25, 1), (1000, 1)] {
        let (all, count) = walk(&journal, &format!("limit={limit}"));
        assert_eq!((all, count), (newest_first.clone(), pages), "limit {limit}");
    }
    let (of_one, _) = walk(&journal, "limit=5&cluster=BCS-K8S-1");
    assert_eq!((of_one.len(), of_one[0].as_str()), (12, "uid-23"));
    assert_eq!(walk(&journal, "cluster=unknown").0, Vec::<String>::new());
}

#[test]
fn pages_go_on_across_days_and_chunks() {
    let directory = tempfile::tempdir().unwrap();
    let mut expected = Vec::new();
    for (day, numbers) in [("2026-11-21", 0..900), ("2026-11-22", 900..1000)] {
        let lines: String =
            numbers.clone().map(|n| serde_json::to_string(&record(day, n)).unwrap() + "\n").collect();
        fs::write(file_of(directory.path(), day), lines).unwrap();
        expected.extend(numbers.map(|number| format!("uid-{number}")));
    }
    expected.reverse();
    let size = fs::metadata(file_of(directory.path(), "2026-11-21")).unwrap().len();
    assert!(size > 2 * 64 * 1024, "several chunks: {size}");
    let page = |before| pages::read(directory.path(), &DeleteQuery { before, ..query("limit=300") }).unwrap();
    let (mut all, mut before) = (Vec::new(), None);
    loop {
        let page = page(before);
        all.extend(uuids(&page));
        let Some(next) = page.next else { break };
        before = query(&format!("before={next}")).before;
    }
    assert_eq!(all, expected);
}

#[test]
fn lines_that_make_no_sense_are_passed_over_and_a_torn_one_is_ended() {
    let directory = tempfile::tempdir().unwrap();
    let day = today();
    let file = file_of(directory.path(), &day);
    let good = serde_json::to_string(&record(&day, 1)).unwrap();
    let long = "x".repeat(200_000);
    let bytes =
        [b"{\"time\":\n\xff\xfe\n", good.as_bytes(), b"\n", long.as_bytes(), b"\n{\"time\":\"20"].concat();
    fs::write(&file, bytes).unwrap();
    fs::write(directory.path().join("deletes-notes.jsonl"), "mine").unwrap();
    let journal = Journal::start(Some(directory.path())).unwrap();
    journal.add(record(&day, 2));
    wait("the delete is written", || walk(&journal, "").0 == ["uid-2", "uid-1"]);
    assert_eq!(fs::read_to_string(directory.path().join("deletes-notes.jsonl")).unwrap(), "mine");
}

#[test]
fn files_older_than_thirty_days_are_taken_away() {
    let directory = tempfile::tempdir().unwrap();
    let ago = |days: i64| {
        let then = jiff::Timestamp::from_second(jiff::Timestamp::now().as_second() - days * 86400).unwrap();
        then.to_string()[..10].to_owned()
    };
    let kept = [ago(29), ago(1), ago(0)];
    for day in [ago(2000), ago(32), ago(31)].iter().chain(&kept) {
        fs::write(file_of(directory.path(), day), "").unwrap();
    }
    let journal = Journal::start(Some(directory.path())).unwrap();
    wait("the old files are gone", || days(directory.path()).unwrap() == kept);
    drop(journal);
}

#[test]
fn a_directory_that_cannot_be_used_is_a_problem_and_no_delete_is_lost_when_it_can_be() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("journal");
    fs::write(&place, "a file is in the way").unwrap();
    let journal = Journal::start(Some(&place)).unwrap();
    journal.add(record(&today(), 1));
    wait("the problem shows", || journal.problem().is_some());
    assert!(journal.problem().unwrap().contains("deletes go on"), "{:?}", journal.problem());
    assert_eq!(uuids(&journal.page(&query(""))), ["uid-1"], "what is in memory is shown");
    fs::remove_file(&place).unwrap();
    wait("it is written", || journal.problem().is_none());
    assert_eq!(walk(&journal, "").0, ["uid-1"]);
}

#[test]
fn a_full_disk_stops_nobody() {
    // Writing to it fails with ENOSPC.
    if !Path::new("/dev/full").exists() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let day = today();
    std::os::unix::fs::symlink("/dev/full", file_of(directory.path(), &day)).unwrap();
    let journal = Journal::start(Some(directory.path())).unwrap();
    (0..20_000).for_each(|number| journal.add(record(&day, number)));
    wait("the problem shows", || journal.problem().is_some_and(|problem| problem.contains("journal")));
    assert_eq!(journal.last().len(), KEPT);
}

#[test]
fn queries_say_what_would_be_right() {
    for text in ["limit=0", "limit=1001", "limit=x", "before=x", "before=2026-11-23", "before=..:1", "more=1"]
    {
        assert!(DeleteQuery::parse(text).is_err(), "{text}");
    }
    let parsed = query("limit=7&before=2026-11-23:99&cluster=BCS%2DK8S");
    assert_eq!((parsed.limit, parsed.cluster.as_deref()), (7, Some("BCS-K8S")));
    assert_eq!(query(""), DeleteQuery { limit: LIMIT, before: None, cluster: None });
}

#[test]
fn a_file_that_root_begins_belongs_to_whoever_has_the_directory() {
    use std::os::unix::fs::{MetadataExt, chown};
    let directory = tempfile::tempdir().unwrap();
    // Nobody but root can give a directory away, and nobody else has to be careful here.
    if chown(directory.path(), Some(12_345), Some(23_456)).is_err() {
        return;
    }
    let journal = Journal::start(Some(directory.path())).unwrap();
    journal.add(record(&today(), 1));
    drop(journal);
    let file = fs::metadata(file_of(directory.path(), &today())).unwrap();
    assert_eq!((file.uid(), file.gid()), (12_345, 23_456), "the service could not go on with it");
}
