use super::*;
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
    shown: Arc<Mutex<Option<String>>>,
}

impl Target for Seen {
    fn apply(&self, config: &Config, effects: &[Effect]) -> Result<(), String> {
        self.applied.lock().push((config.cmdb_qps, effects.to_vec()));
        Ok(())
    }

    fn show(&self, problem: Option<String>) {
        *self.shown.lock() = problem;
    }
}

/// Writes a configuration as editors do, by a rename.
fn write(path: &Path, keys: &str) {
    let text = format!(
        r#"{{"zk":"","storage_addrs":["http://127.0.0.1:1"],"cmdb_addr":"127.0.0.1:1","cmdb_user":"u",
            "paas_addr":"127.0.0.1:1","paas_access_token":"t"{keys}}}"#
    );
    fs::write(path.with_extension("new"), text).unwrap();
    fs::rename(path.with_extension("new"), path).unwrap();
}

/// Looks at a file that `keys` was written to at first.
fn looks(path: &Path, keys: &str) -> (Looks<Seen>, Seen) {
    write(path, keys);
    let sources = Sources { file: Some(path.to_owned()), ..Sources::default() };
    let config = Config::load(&sources).unwrap().config;
    let target = Seen::default();
    let (asked, seen) = (Arc::default(), versions(&sources, &config));
    let (started, current) = (config.clone(), config);
    let looks = Looks { sources, target: target.clone(), asked, started, current, seen, told: None };
    (looks, target)
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
fn a_broken_file_changes_nothing_and_is_a_problem_until_it_is_good() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.json");
    let (mut looks, target) = looks(&path, "");
    for broken in [r#","cmdb_qps":"many""#, ",", r#","unknown":1"#] {
        write(&path, broken);
        looks.look();
        assert!(target.shown.lock().as_ref().unwrap().contains("not in force"), "{broken}");
    }
    fs::remove_file(&path).unwrap();
    looks.look();
    assert!(target.shown.lock().is_some() && target.applied.lock().is_empty());
    write(&path, r#","cmdb_qps":7"#);
    looks.look();
    assert_eq!((target.applied.lock().len(), target.shown.lock().clone()), (1, None));
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
        target.shown.lock().as_deref(),
        Some("port changed in the configuration: restart the service to put that in force")
    );
    assert_eq!(target.applied.lock().len(), 2, "the other key is in force");
    write(&path, "");
    looks.look();
    assert_eq!(*target.shown.lock(), None);
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
