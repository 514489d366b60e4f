//! `sync` and `purge` beside a fleet: they write only with the cluster's lock.

use crate::processes::{Fleet, PATIENCE};
use crate::world::BIZ;
use crate::world::cmdb::Fault;
use crate::zookeeper::{ZooKeepers, own_address};
use std::process::{Command, Stdio};

/// A command with the fleet's configuration, and a session that a busy machine does not interrupt.
fn command(fleet: &Fleet, arguments: &[&str]) -> Command {
    let config = fleet.world.config_file();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bcs-bkcmdb-synchronizer"));
    command.args(["--config", config.to_str().unwrap(), "--address", &own_address()]);
    command.args(["--zk_session_timeout", "12"]).args(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it: exit code, and everything it printed.
fn run(fleet: &Fleet, arguments: &[&str]) -> (Option<i32>, String) {
    let output = command(fleet, arguments).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

#[test]
fn commands_that_write_take_the_lock_or_name_who_has_it() {
    let mut fleet = Fleet::new(ZooKeepers::single(), 1).start(1);
    fleet.wait_equal(PATIENCE);
    let id = fleet.clusters()[0].clone();
    let biz = BIZ.to_string();
    let purge = ["purge", "--cluster", &id, "--biz", &biz, "--yes"];
    let holder = fleet.instances[0].name.clone();
    for command in [&["sync"][..], &purge] {
        let (code, text) = run(&fleet, command);
        assert!(code == Some(1) && text.contains(&format!("is at work at {holder}")), "{code:?} {text}");
    }
    let (code, text) = run(&fleet, &["diff"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(fleet.instances[0].terminate().success());
    let records = fleet.world.cmdb.records(BIZ).unwrap().len();
    let (code, text) = run(&fleet, &purge);
    assert!(code == Some(0) && text.contains(&format!("{records} record")), "{code:?} {text}");
    let (code, text) = run(&fleet, &["sync"]);
    assert!(code == Some(0) && text.contains(&format!("{records} created")), "{code:?} {text}");
    // One that is told to end gives the lock back, and does not leave it to the end of its session.
    let (code, text) = run(&fleet, &purge);
    assert_eq!(code, Some(0), "{text}");
    fleet.world.cmdb.break_next(&["create", "createmany"], Fault::Hang, 1);
    let before = fleet.world.cmdb.calls().len();
    let child = command(&fleet, &["sync", "--shutdown_grace", "1"]).spawn().unwrap();
    fleet.wait("it writes", PATIENCE, |fleet| {
        fleet.world.cmdb.calls().iter().skip(before).any(|call| call.is_write())
    });
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let interrupted = child.wait_with_output().unwrap();
    assert_eq!(interrupted.status.code(), Some(1), "{}", String::from_utf8_lossy(&interrupted.stdout));
    let (code, text) = run(&fleet, &["sync"]);
    assert!(code == Some(0), "{code:?} {text}");
    fleet.check_one_writer();
    fleet.instances[0].start();
    fleet.wait("it takes the cluster over again", PATIENCE, |fleet| fleet.is_shared_by(&[0]));
    fleet.wait_equal(PATIENCE);
}
