//! File, environment and flags: what is read, what wins, what is unknown.

use super::*;

#[test]
fn what_is_no_json_object_is_refused_as_a_whole() {
    for text in ["", "{", "[]", "\"secret\"", "5", "null", "{\"a\":1}}", "{\"port\":08}", "\u{feff}{}"] {
        let Problems(problems) = Config::from_json(text).unwrap_err();
        assert_eq!(problems.len(), 1, "{text}: {problems:?}");
        assert!(!problems[0].to_string().contains("secret"), "{text}");
    }
}

#[test]
fn deep_nesting_is_refused_without_harm() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(Config::from_json(&with(&format!("\"zk\":{deep}"))).is_err());
}

#[test]
fn flags_win_over_environment_over_file_over_defaults() {
    let file = least_file();
    let port = |variables: &[(&str, &str)], flags: &[(&str, &str)]| {
        Config::load(&sources(Some(file.path().into()), variables, flags)).unwrap().config.port
    };
    let variable = [("BKCMDB_SYNC_PORT", "2222"), ("OTHER_PORT", "x")];
    assert_eq!(port(&[], &[]), 1111);
    assert_eq!(port(&variable, &[]), 2222);
    assert_eq!(port(&variable, &[("port", "3333")]), 3333);
    assert_eq!(port(&[], &[("port", "3333"), ("port", "4444")]), 4444);
}

#[test]
fn a_problem_says_where_the_value_came_from() {
    let file = least_file();
    std::fs::write(file.path(), format!("{{{LEAST},\n\"port\":\"x\"}}")).unwrap();
    let given = sources(Some(file.path().into()), &[("BKCMDB_SYNC_V", "y")], &[("metric_port", "z")]);
    let text = Config::load(&given).unwrap_err().to_string();
    for wanted in ["line 2", "environment variable BKCMDB_SYNC_V", "given z (flag)"] {
        assert!(text.contains(wanted), "`{text}` lacks `{wanted}`");
    }
}

#[test]
fn an_unknown_key_names_the_nearest_one() {
    wrong("\"metrics_port\":1", "metrics_port", "did you mean `metric_port`?");
    wrong("\"cmdb-addr\":1", "cmdb-addr", "did you mean `cmdb_addr`?");
    wrong("\"\":1", "\"\"", "--help");
    wrong("\"zzz\":1", "zzz", "--help");
}

#[test]
fn an_unknown_variable_with_our_prefix_is_an_error() {
    let file = least_file();
    let given = sources(Some(file.path().into()), &[("BKCMDB_SYNC_SYNC_POLCY", "dry-run")], &[]);
    assert!(Config::load(&given).unwrap_err().to_string().contains("did you mean `sync_policy`?"));
}

#[test]
fn a_key_given_twice_is_an_error_that_names_both_lines() {
    wrong("\"port\":1,\n\"port\":2", "port", "given twice, first on line 1; keep one (line 2)");
}

#[test]
fn keys_that_no_longer_act_only_warn() {
    let file = least_file();
    std::fs::write(
        file.path(),
        format!("{{{LEAST},\"paas_access_token\":\"x\",\"log_dir\":\"/x\",\"insecure_port\":[]}}"),
    )
    .unwrap();
    let given = sources(Some(file.path().into()), &[], &[("alsologtostderr", "true")]);
    let warnings = Config::load(&given).unwrap().warnings;
    assert_eq!(warnings.len(), 3, "{warnings:?}");
}
