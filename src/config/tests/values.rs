//! What each kind of value may be.

use super::*;

#[test]
fn a_value_of_the_wrong_kind_is_named_with_what_would_be_right() {
    for (members, key, wanted) in [
        ("\"port\":\"8080\"", "port", "a whole number from 0 to 65535; given \"8080\" (line 1)"),
        ("\"port\":65536", "port", "given 65536"),
        ("\"port\":-1", "port", "from 0"),
        ("\"port\":1.5", "port", "given 1.5"),
        ("\"port\":1e400", "port", "port"),
        ("\"port\":null", "port", "given null"),
        ("\"v\":[3]", "v", "whole number"),
        ("\"zk\":5", "zk", "host:port"),
        ("\"zk\":[\"a\",5]", "zk", "host:port"),
        ("\"zk\":\"a,,b\"", "zk", "host:port"),
        ("\"cmdb_supplier_id\":1.5", "cmdb_supplier_id", "a text or a whole number"),
        ("\"storage_verify_hostname\":\"true\"", "storage_verify_hostname", "true or false"),
        ("\"include_clusters\":{}", "include_clusters", "a list of texts"),
        ("\"include_clusters\":[\"\"]", "include_clusters", "none of them empty"),
        ("\"include_clusters\":[\"a[\"]", "include_clusters", "glob"),
        ("\"paas_env\":\"live\"", "paas_env", "empty, `test`, `uat`, `prod`, `debug`; given \"live\""),
        ("\"sync_policy\":\"none\"", "sync_policy", "`upsert-only`"),
        ("\"full_sync_interval\":9", "full_sync_interval", "from 10"),
        ("\"cluster_pull_interval\":9", "cluster_pull_interval", "from 10"),
        ("\"full_sync_interval\":99999999999999999999", "full_sync_interval", "whole number"),
        ("\"address\":\"localhost\"", "address", "must be an IP address"),
        ("\"time_zone\":\"Mars/Phobos\"", "time_zone", "IANA"),
        ("\"default_set\":\"\"", "default_set", "empty"),
        ("\"zk_user\":\"a:b\"", "zk_user", "colon"),
        ("\"cmdb_supplier_id\":\"a\\nb\"", "cmdb_supplier_id", "printable"),
    ] {
        wrong(members, key, wanted);
    }
}

#[test]
fn lists_are_separated_by_commas_or_json() {
    let file = least_file();
    let list = |text: &str| {
        Config::load(&sources(Some(file.path().into()), &[], &[("include_clusters", text)]))
            .unwrap()
            .config
            .include_clusters
    };
    assert_eq!(list("a, b"), ["a", "b"]);
    assert_eq!(list("[\"a\",\"{b,c}\"]"), ["a", "{b,c}"]);
    assert_eq!(list("[ab]*"), ["[ab]*"]);
    assert!(list("").is_empty());
    assert_eq!(good("\"include_clusters\":\"a,b\"").include_clusters, ["a", "b"]);
}

#[test]
fn cmdb_addresses_take_every_documented_form() {
    for (text, origin, prefix) in [
        ("127.0.0.1", "http://127.0.0.1", "/api/v3"),
        ("cmdb:8080", "http://cmdb:8080", "/api/v3"),
        ("http://cmdb", "http://cmdb", "/api/v3"),
        ("HTTPS://cmdb/", "https://cmdb", "/api/v3"),
        ("https://cmdb/container/v3/", "https://cmdb", "/container/v3"),
        ("::1", "http://[::1]", "/api/v3"),
        ("[::1]:80", "http://[::1]:80", "/api/v3"),
        ("http://[2001:db8::1]:80/x", "http://[2001:db8::1]:80", "/x"),
    ] {
        let url = url::parse_base_url(text, "/api/v3").unwrap_or_else(|reason| panic!("{text}: {reason}"));
        assert_eq!((url.origin.as_str(), url.prefix.as_str()), (origin, prefix), "{text}");
    }
}

#[test]
fn bad_addresses_are_refused() {
    for text in [
        "",
        "http://",
        ":80",
        "a:0",
        "a:65536",
        "a:+1",
        "a:",
        "a b",
        "ftp://a",
        "http://a/?x",
        "http://a#x",
        "[::1",
        "[::1]x",
        "[zz]",
        "a/b c",
        "http://a/é",
        "::1::",
        "a:1:2",
        "http://é",
    ] {
        assert!(url::parse_base_url(text, "").is_err(), "{text} was accepted");
    }
    assert!(url::parse_base_url(&"a".repeat(254), "").is_err());
}

#[test]
fn zookeeper_servers_take_commas_semicolons_and_lists() {
    let expected = ["127.0.0.1:2181", "localhost:9"];
    assert_eq!(good("\"zk\":\"127.0.0.1; localhost:9\"").zk, expected);
    assert_eq!(good("\"zk\":[\"127.0.0.1:2181\",\"localhost:9\"]").zk, expected);
    assert_eq!(good("\"zk\":\"[::1]:9\"").zk, ["[::1]:9"]);
}

#[test]
fn messages_stay_on_one_line_and_short() {
    let long = format!("\"port\":\"{}\\n\"", "x".repeat(1000));
    let text = Config::from_json(&with(&long)).unwrap_err().to_string();
    assert!(text.lines().count() == 1 && text.len() < 250, "{text}");
    assert_eq!(printable("a\u{1b}[31m\nb"), "a\\u{1b}[31m\\nb");
}
