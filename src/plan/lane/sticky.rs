//! What does not go away: records that are always refused, a CMDB that is busy for an hour. Requests
//! are bounded, nobody waits for somebody else, each state is told once, and afterwards all is well.

use crate::model::Field;
use crate::plan::testkit::*;
use crate::plan::{Effect, Failure, PointRead, Source, Standing};
use std::collections::BTreeMap;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);

/// A CMDB as a test wants it: by uuid, what a create or an update comes to.
type Cmdb<'a> = &'a dyn Fn(&str) -> Result<(), Failure>;

/// What a while of work came to.
#[derive(Debug, Default)]
struct Account {
    /// Requests by uuid; a create of many counts for its first.
    requests: BTreeMap<String, usize>,
    /// What the log was told, in order.
    told: Vec<String>,
}

impl Account {
    fn total(&self) -> usize {
        self.requests.values().sum()
    }

    fn take(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Refused { uuid, .. } => self.told.push(format!("{uuid} refused")),
                Effect::Failing { uuid, .. } => self.told.push(format!("{uuid} failing")),
                Effect::Mended { uuid } => self.told.push(format!("{uuid} mended")),
                _ => {}
            }
        }
    }
}

/// Works until `until` with that CMDB.
fn work(desk: &mut Desk, until: Duration, cmdb: Cmdb<'_>) -> Account {
    let mut account = Account::default();
    loop {
        let step = desk.next();
        let words: Vec<&str> = step.split([' ', ':']).collect();
        let effects = match &words[..] {
            ["idle"] => return account,
            ["wait", _] => {
                let before = desk.now;
                desk.wait();
                if desk.now > until {
                    desk.now = before.max(until);
                    return account;
                }
                continue;
            }
            ["create", uuid] => desk.create_answered(uuid, cmdb(uuid)),
            // A server that fails, fails for the whole call; a refusal is about one of its pods.
            ["create", uuids @ ..] => match uuids.iter().find_map(|uuid| cmdb(uuid).err()) {
                Some(failure @ Failure::Refused { .. }) => {
                    let one = |uuid: &&str| cmdb(uuid).map_err(|_| failure.clone());
                    desk.created(uuids, Ok(uuids.iter().map(one).collect()))
                }
                Some(failure) => desk.created(uuids, Err(failure)),
                None => desk.created(uuids, Ok(uuids.iter().map(|_| Ok(())).collect())),
            },
            // The record of a parked job that was let go.
            ["read", _, "for", uuid] => {
                desk.found_pod(uuid, named(uuid, 1, "S1"));
                continue;
            }
            ["update", uuid, ..] => desk.updated(uuid, &[Field::Status], cmdb(uuid)),
            other => panic!("unexpected: {other:?}"),
        };
        *account.requests.entry(words[1].to_owned()).or_default() += 1;
        account.take(effects);
    }
}

fn desk_with(pods: usize) -> Desk {
    let mut desk = Desk::new();
    (0..pods).for_each(|number| {
        desk.sees(named(&format!("p{number}"), 1, "S1"), Source::Event);
    });
    desk
}

#[test]
fn a_cmdb_that_is_busy_for_an_hour_is_asked_now_and_then_and_then_caught_up_with() {
    for pods in [1, 2, 10, 500] {
        let mut desk = desk_with(pods);
        let until = desk.now + HOUR;
        let account = work(&mut desk, until, &|_| Err(busy()));
        // One request each 6 s at most three quarters of which are jitter; two pods retry alone, each 8 s.
        assert!(account.total() < 1500, "{pods} pods: {} requests", account.total());
        assert!(account.total() > 300, "{pods} pods: {} requests", account.total());
        assert!(account.told.len() <= 2, "{pods} pods: {:?}", account.told);
        assert_eq!(desk.lane.len(), pods);
        let healed = desk.now;
        let account = work(&mut desk, healed + HOUR, &|_| Ok(()));
        assert_eq!(desk.ledger.counts().in_step, pods, "{pods} pods");
        assert!(desk.now <= healed + 10 * SECOND, "{pods} pods: {:?}", desk.now - healed);
        assert!(account.total() <= pods, "{pods} pods: {} requests", account.total());
        assert!(desk.ledger.troubles().is_empty() && desk.lane.is_empty());
    }
}

#[test]
fn a_record_that_always_fails_is_shown_and_holds_nobody_up() {
    let mut desk = desk_with(1);
    let bad = |uuid: &str| if uuid == "p0" { Err(busy()) } else { Ok(()) };
    let mut told = Vec::new();
    let mut attempts = 0;
    for minute in 1..=60 {
        desk.sees(named(&format!("good{minute}"), 1, "S1"), Source::Event);
        let until = desk.now + HOUR / 60;
        let account = work(&mut desk, until, &bad);
        assert_eq!(account.requests.get(&format!("good{minute}")), Some(&1));
        attempts += account.requests["p0"];
        told.extend(account.told);
    }
    assert!((300..700).contains(&attempts), "{attempts} attempts in an hour");
    assert_eq!(told, ["p0 failing"]);
    let trouble = desk.ledger.troubles().remove(0);
    assert_eq!((trouble.standing, trouble.code), (Standing::Retrying, -1));
    assert_eq!(desk.ledger.counts().pending, 1);
    let until = desk.now + HOUR;
    assert_eq!(work(&mut desk, until, &|_| Ok(())).told, ["p0 mended"]);
    assert!(desk.ledger.troubles().is_empty());
}

#[test]
fn records_that_always_fail_do_not_make_the_lane_wait_for_the_others() {
    let mut desk = desk_with(8);
    let bad = |uuid: &str| if uuid.starts_with('p') { Err(busy()) } else { Ok(()) };
    let until = desk.now + HOUR / 6;
    work(&mut desk, until, &bad);
    desk.sees(named("good0", 1, "S1"), Source::Event);
    let until = desk.now + SECOND * 10;
    work(&mut desk, until, &bad);
    assert_eq!(desk.ledger.counts().in_step, 1);
    // From here on nothing pauses: what is new is written at once, whatever else is due.
    for number in 1..100 {
        desk.sees(named(&format!("good{number}"), 1, "S1"), Source::Event);
        let until = desk.now + SECOND;
        work(&mut desk, until, &bad);
        assert_eq!(desk.ledger.counts().in_step, number + 1);
        assert!(!desk.lane.is_paused());
    }
}

#[test]
fn a_record_that_is_always_refused_is_told_once_and_tried_once_a_version() {
    let mut desk = desk_with(1);
    let never = |_: &str| Err(refused(1_199_015, Some(Field::WorkloadName)));
    let mut account = work(&mut desk, HOUR * 2, &never);
    assert_eq!(account.told, ["p0 refused"]);
    for version in 2..100 {
        desk.sees(named("p0", version, &format!("S{version}")), Source::Event);
        desk.sees(named("p0", version, &format!("S{version}")), Source::Listing);
        let until = desk.now + SECOND;
        let more = work(&mut desk, until, &never);
        assert_eq!((more.total(), more.told.len()), (1, 0), "version {version}");
        assert_eq!(desk.ledger.counts().rejected, 1);
        account.told.extend(more.told);
    }
    // The same version again, seen by every full sync of a day: once an hour.
    let mut attempts = 0;
    for _ in 0..24 * 6 {
        desk.now += HOUR / 6;
        desk.ledger.begin_full_sync();
        desk.sees(named("p0", 99, "S99"), Source::Listing);
        let until = desk.now + SECOND;
        let more = work(&mut desk, until, &never);
        attempts += more.total();
        account.told.extend(more.told);
    }
    assert!((23..=24).contains(&attempts), "{attempts} attempts in a day");
    assert_eq!(account.told, ["p0 refused"]);
    desk.sees(named("p0", 100, "S100"), Source::Event);
    let until = desk.now + SECOND;
    assert_eq!(work(&mut desk, until, &|_| Ok(())).told, ["p0 mended"]);
    assert_eq!(desk.ledger.counts().in_step, 1);
}

#[test]
fn another_reason_is_told_again() {
    let mut desk = desk_with(1);
    work(&mut desk, HOUR, &|_| Err(refused(1_199_015, Some(Field::WorkloadName))));
    desk.sees(named("p0", 2, "S2"), Source::Event);
    let until = desk.now + SECOND;
    let account = work(&mut desk, until, &|_| Err(refused(1_199_010, Some(Field::WorkloadName))));
    assert_eq!(account.told, ["p0 refused"]);
}

#[test]
fn a_document_a_point_read_cannot_understand_is_read_once_a_minute() {
    let mut desk = Desk::new();
    desk.record(pod("a", 1, "S1"));
    desk.event(None, Some(hint("id")));
    let (mut reads, end) = (0, desk.now + HOUR);
    while desk.now < end {
        desk.expect("read web-0 for a");
        desk.found("a", PointRead::Unusable("no uid".into()));
        reads += 1;
        desk.wait();
    }
    assert!((59..=61).contains(&reads), "{reads} reads in an hour");
    desk.expect("read web-0 for a");
    desk.found("a", PointRead::Unusable("no uid".into()));
    // Nothing was deleted on the strength of it, and the pod is followed as before.
    desk.sees(pod("a", 2, "S2"), Source::Event);
    desk.expect("read web-0 for a");
    desk.found_pod("a", pod("a", 2, "S2"));
    desk.expect("update a: bk_pod_status");
}
