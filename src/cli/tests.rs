//! What the command line takes and what it refuses.

use super::*;
use crate::config::SYNCHRONIZER;

fn command(line: &str) -> Command {
    let arguments = ["program"].into_iter().chain(line.split_whitespace()).map(OsString::from);
    parse(arguments).unwrap_or_else(|error| panic!("{line}: {error}"))
}

fn exit_code(line: &str) -> i32 {
    let arguments = ["program"].into_iter().chain(line.split_whitespace()).map(OsString::from);
    parse(arguments).map(|_| -1).unwrap_or_else(|error| error.exit_code())
}

fn check(line: &str, wanted: &[(&str, &str)]) {
    let (Command::Run(sources)
    | Command::CheckConfig(sources, _)
    | Command::ContainerServer(sources)
    | Command::ContainerCheck(sources)) = command(line)
    else {
        panic!("{line}: another command");
    };
    let given: Vec<(&str, &str)> =
        sources.flags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    assert_eq!(given, wanted, "{line}");
}

#[test]
fn the_definition_is_consistent() {
    definition().debug_assert();
}

#[test]
fn run_is_the_default_command() {
    assert!(matches!(command(""), Command::Run(_)));
    assert!(matches!(command("--port 1"), Command::Run(_)));
}

#[test]
fn flags_stand_before_or_after_the_command_and_the_latter_win() {
    check("--port 1 run", &[("port", "1")]);
    check("run --port 1", &[("port", "1")]);
    check("--port 1 check-config --port 2", &[("port", "1"), ("port", "2")]);
    check("--database x container-server --users a,b", &[("database", "x"), ("users", "a,b")]);
    check("container-server --database x check --v 4", &[("database", "x"), ("v", "4")]);
    let Command::ContainerFences(sources, reset) = command("container-server fences --reset a --v 4 -f x")
    else {
        panic!("another command");
    };
    assert_eq!((reset.as_deref(), sources.flags.len(), sources.file.is_some()), (Some("a"), 1, true));
    for line in ["-f x run", "run --config x", "check-config -f x", "-f x"] {
        let (Command::Run(sources) | Command::CheckConfig(sources, _)) = command(line) else {
            panic!("{line}")
        };
        assert_eq!(sources.file, Some(PathBuf::from("x")), "{line}");
    }
}

#[test]
fn switches_stand_alone_or_with_true_or_false() {
    check("--storage_verify_hostname", &[("storage_verify_hostname", "true")]);
    check("--storage_verify_hostname run", &[("storage_verify_hostname", "true")]);
    check("--storage_verify_hostname false run", &[("storage_verify_hostname", "false")]);
    check("run --storage_verify_hostname=false", &[("storage_verify_hostname", "false")]);
    check("--logtostderr --v 4", &[("logtostderr", "true"), ("v", "4")]);
    assert_eq!(exit_code("--storage_verify_hostname maybe"), 2);
}

#[test]
fn odd_values_reach_the_configuration_which_judges_them() {
    check("--cloud_id -1", &[("cloud_id", "-1")]);
    check("--zk=", &[("zk", "")]);
}

#[test]
fn usage_errors_exit_2_and_help_exits_0() {
    for line in ["--prot 1", "fly", "--port", "sandbox --clusters 0", "sandbox --for x", "--port 1 sandbox"] {
        assert_eq!(exit_code(line), 2, "{line}");
    }
    for line in ["purge", "purge --cluster x", "purge --cluster x --biz 0", "diff --qps 0", "sync --output x"]
    {
        assert_eq!(exit_code(line), 2, "{line}");
    }
    for line in ["--help", "-h", "--version", "sandbox --help", "help container-server"] {
        assert_eq!(exit_code(line), 0, "{line}");
    }
}

#[test]
fn commands_on_clusters_take_flags_and_keys() {
    let Command::Diff(sources, flags) = command("diff --cluster a --cluster b --v 4 --output json") else {
        panic!()
    };
    assert_eq!((flags.clusters, flags.output), (vec!["a".to_owned(), "b".to_owned()], Output::Json));
    assert_eq!(sources.flags, [("v".to_owned(), "4".to_owned())]);
    let Command::Sync(_, flags) = command("sync --approve-deletes") else { panic!() };
    assert!(flags.approve_deletes && flags.clusters.is_empty());
    let Command::Purge(_, flags) = command("--zk= purge --cluster a --biz 7 --yes") else { panic!() };
    assert_eq!((flags.cluster.as_str(), flags.biz, flags.yes), ("a", 7, true));
    let Command::CheckConfig(_, flags) = command("check-config --connect") else { panic!() };
    assert!(flags.connect);
}

#[test]
fn the_sandbox_takes_its_flags() {
    let line =
        "sandbox --pods p --clusters 2 --churn 50 --seed 7 --for 30 --data d --port 1 --metric_port 2 --v 4";
    let Command::Sandbox(arguments) = command(line) else { panic!() };
    assert_eq!((arguments.clusters, arguments.churn, arguments.seed), (2, 50, 7));
    assert_eq!((arguments.seconds, arguments.port, arguments.metric_port), (Some(30), 1, 2));
    assert_eq!((arguments.pods, arguments.data), (Some("p".into()), Some("d".into())));
}

#[test]
fn each_command_has_a_man_page_of_its_own() {
    let mut page = Vec::new();
    man(Some("sandbox"), &mut page).unwrap();
    let page = String::from_utf8(page).unwrap();
    assert!(page.contains("churn") && page.contains("bcs\\-bkcmdb\\-synchronizer\\-sandbox"), "{page}");
    assert_eq!(exit_code("man fly"), 2);
}

#[test]
fn help_completions_and_man_page_know_every_living_key() {
    let (mut fish, mut page) = (Vec::new(), Vec::new());
    completions(clap_complete::Shell::Fish, &mut fish).unwrap();
    man(None, &mut page).unwrap();
    let help = definition().render_long_help().to_string();
    let (fish, page) = (String::from_utf8(fish).unwrap(), String::from_utf8(page).unwrap());
    // Without the marks of its format.
    let plain = page.replace("\\*(Aq", "'").replace('\\', "");
    for key in SYNCHRONIZER.keys.iter().filter(|key| !key.kind.is_ignored()) {
        assert!(
            help.contains(&format!("--{} ", key.name)) || help.contains(&format!("--{}[", key.name)),
            "{}",
            key.name
        );
        assert!(fish.contains(key.name), "completions lack {}", key.name);
        assert!(page.contains(key.name), "the man page lacks {}", key.name);
        assert!(plain.contains(key.help), "the man page does not say what {} is", key.name);
    }
}
