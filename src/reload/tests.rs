use super::*;
use crate::config::TaskManagerType;
use parking_lot::Mutex;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// `cmdb_qps` of a configuration that was put in force, and with which effects.
type Applied = (u32, Vec<Effect>);

/// What was put in force, and what is shown.
#[derive(Clone, Default)]
struct Seen {
    applied: Arc<Mutex<Vec<Applied>>>,
    last: Arc<Mutex<Option<Config>>>,
    shown: Arc<Mutex<Option<Problem>>>,
    /// Why nothing can be put in force.
    refuses: Arc<Mutex<Option<String>>>,
}

impl Target for Seen {
    fn apply(&self, config: &Config, effects: &[Effect]) -> Result<(), String> {
        self.applied.lock().push((config.cmdb_qps, effects.to_vec()));
        *self.last.lock() = Some(config.clone());
        self.refuses.lock().clone().map_or(Ok(()), Err)
    }

    fn show(&self, problem: Option<Problem>) {
        *self.shown.lock() = problem;
    }
}

/// A good configuration, with `keys` beside the required ones.
fn text(keys: &str) -> String {
    format!(
        r#"{{"zk":"","storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"127.0.0.1:1","cmdb_user":"u",
            "paas_addr":"127.0.0.1:1","paas_access_token":"t"{keys}}}"#
    )
}

/// Writes a configuration as editors do, by a rename.
fn write(path: &Path, keys: &str) {
    replace(path, &text(keys));
}

fn replace(path: &Path, text: &str) {
    fs::write(path.with_extension("new"), text).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

/// Looks at a file that `keys` was written to at first.
fn looks(path: &Path, keys: &str) -> (Looks<Seen>, Seen) {
    write(path, keys);
    let sources = Sources { file: Some(path.to_owned()), ..Sources::default() };
    let config = Config::load(&sources).unwrap().config;
    let target = Seen::default();
    (Looks::new(sources, &config, target.clone(), Arc::default()), target)
}

#[test]
fn a_changed_file_is_put_in_force_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let (mut looks, target) = looks(&path, "");
    looks.look();
    assert!(target.applied.lock().is_empty(), "nothing changed");
    write(&path, r#","cmdb_qps":7"#);
    looks.look();
    looks.look();
    assert_eq!(*target.applied.lock(), [(7, vec![Effect::AtOnce])]);
    assert_eq!(*target.shown.lock(), None);
}

#[test]
fn a_file_that_changes_while_it_is_read_is_read_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let (mut looks, target) = looks(&path, "");
    write(&path, r#","cmdb_qps":7"#);
    looks.seen = versions(&looks.sources, &looks.current);
    let read = Config::load(&looks.sources).unwrap().config;
    write(&path, r#","cmdb_qps":8"#);
    looks.take(read, false);
    looks.look();
    let applied: Vec<u32> = target.applied.lock().iter().map(|(qps, _)| *qps).collect();
    assert_eq!(applied, [7, 8]);
}

#[test]
fn a_broken_file_changes_nothing_and_is_a_problem_until_it_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let (mut looks, target) = looks(&path, "");
    for broken in [r#","cmdb_qps":"many""#, ",", r#","unknown":1"#] {
        write(&path, broken);
        looks.look();
        assert!(matches!(&*target.shown.lock(), Some(Problem::NotInForce(_))), "{broken}");
    }
    fs::remove_file(&path).unwrap();
    looks.look();
    assert!(target.shown.lock().is_some() && target.applied.lock().is_empty());
    write(&path, r#","cmdb_qps":7"#);
    looks.look();
    assert_eq!((target.applied.lock().len(), target.shown.lock().clone()), (1, None));
}

#[test]
fn what_could_not_be_put_in_force_is_a_problem_until_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let (mut looks, target) = looks(&path, "");
    *target.refuses.lock() = Some("no thread".to_owned());
    write(&path, r#","cmdb_qps":7"#);
    looks.look();
    let problem =
        Problem::NotInForce("a part of the new configuration is not in force: no thread".to_owned());
    assert_eq!(target.shown.lock().clone(), Some(problem.clone()));
    looks.look();
    assert_eq!(target.applied.lock().len(), 1, "nothing changed since");
    looks.asked.store(true, Relaxed);
    looks.look();
    assert_eq!(target.shown.lock().clone(), Some(problem), "a signal alone mends nothing");
    *target.refuses.lock() = None;
    looks.asked.store(true, Relaxed);
    looks.look();
    let tries = [(7, vec![Effect::AtOnce]), (7, vec![Effect::AtOnce]), (7, vec![Effect::AtOnce])];
    assert_eq!((&target.applied.lock()[..], target.shown.lock().clone()), (&tries[..], None));
}

#[test]
fn what_could_not_be_put_in_force_is_taken_back_with_the_former_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let (mut looks, target) = looks(&path, r#","cmdb_qps":6"#);
    *target.refuses.lock() = Some("no thread".to_owned());
    write(&path, r#","cmdb_qps":7"#);
    looks.look();
    *target.refuses.lock() = None;
    write(&path, r#","cmdb_qps":6"#);
    looks.look();
    assert_eq!(target.applied.lock().last(), Some(&(6, vec![Effect::AtOnce])));
    assert_eq!(*target.shown.lock(), None);
}

#[test]
fn a_key_that_needs_a_restart_is_named_until_it_is_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let (mut looks, target) = looks(&path, "");
    write(&path, r#","port":1,"cmdb_qps":7"#);
    looks.look();
    write(&path, r#","port":1,"cmdb_qps":8"#);
    looks.look();
    assert_eq!(
        *target.shown.lock(),
        Some(Problem::Restart(
            "port changed in the configuration: restart the service to put that in force".to_owned()
        ))
    );
    assert_eq!(target.applied.lock().len(), 2, "the other key is in force");
    write(&path, "");
    looks.look();
    assert_eq!(*target.shown.lock(), None);
}

#[test]
fn what_needs_a_restart_does_not_come_in_with_what_does_not() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let made = rcgen::generate_simple_self_signed(["status".to_owned()]).unwrap();
    fs::write(file("cert"), made.cert.pem()).unwrap();
    fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
    let (mut looks, target) = looks(&path, "");
    let keys = format!(
        r#","task_manager_type":"file","task_file":"{}",
            "server_cert_file":"{}","server_key_file":"{}","exclude_clusters":["x"]"#,
        file("tasks"),
        file("cert"),
        file("key")
    );
    fs::write(file("tasks"), "[]").unwrap();
    replace(&path, &text(&keys).replace("http://127.0.0.1:1", "http://127.0.0.1:2"));
    looks.look();
    let shown = target.shown.lock().clone().unwrap();
    let named = "storage_addrs, task_manager_type, server_cert_file changed in the configuration: restart";
    assert!(shown.message().starts_with(named), "{shown:?}");
    let config = target.last.lock().clone().unwrap();
    assert_eq!(config.storage_addrs, looks.started.storage_addrs);
    assert_eq!((&config.task_manager_type, config.server_tls.cert), (&TaskManagerType::Paas, None));
    assert_eq!(config.exclude_clusters, ["x"], "the other key is in force");
    assert_eq!(target.applied.lock().last().unwrap().1, [Effect::Inventory]);
}

#[test]
fn a_certificate_that_changed_beside_a_broken_file_is_noticed_once_the_file_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(file("cert"), made.cert.pem()).unwrap();
        fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
    };
    pair("first");
    let keys = format!(r#","storage_cert":"{}","storage_key":"{}""#, file("cert"), file("key"));
    let (mut looks, target) = looks(&path, &keys);
    pair("another, longer name");
    write(&path, ",");
    looks.look();
    assert!(target.applied.lock().is_empty());
    write(&path, &keys);
    looks.look();
    assert_eq!(target.applied.lock().last().unwrap().1, [Effect::Clusters]);
}

#[test]
fn a_certificate_and_a_token_that_change_under_their_names_are_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let pair = |name: &str| {
        let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        fs::write(file("cert"), made.cert.pem()).unwrap();
        fs::write(file("key"), made.signing_key.serialize_pem()).unwrap();
    };
    pair("first");
    fs::write(file("token"), "one").unwrap();
    let keys = format!(
        r#","storage_cert":"{}","storage_key":"{}","admin_token_file":"{}""#,
        file("cert"),
        file("key"),
        file("token")
    );
    let (mut looks, target) = looks(&path, &keys);
    pair("another, longer name");
    looks.look();
    fs::write(file("token"), "three").unwrap();
    looks.look();
    let effects: Vec<Vec<Effect>> =
        target.applied.lock().iter().map(|(_, effects)| effects.clone()).collect();
    assert_eq!(effects, [vec![Effect::Clusters], vec![Effect::StatusService]]);
}

#[test]
fn the_signal_reads_again_without_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    write(&path, "");
    let sources = Sources { file: Some(path), ..Sources::default() };
    let config = Config::load(&sources).unwrap().config;
    let target = Seen::default();
    let reloader = Reloader::start(sources, &config, target.clone()).unwrap();
    signal_hook::low_level::raise(SIGHUP).unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    while target.applied.lock().is_empty() {
        assert!(Instant::now() < deadline);
        std::thread::sleep(Duration::from_millis(10));
    }
    assert_eq!(*target.applied.lock(), [(config.cmdb_qps, Vec::new())]);
    drop(reloader);
}
