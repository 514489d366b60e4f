//! Secrets: where they are found, and that they are never shown.

use super::*;

#[test]
fn secrets_are_found_in_file_variable_and_credential() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("token"), "hunter2\n").unwrap();
    let file = least_file();
    let token = |text: &str| {
        let credentials = directory.path().to_str().unwrap();
        let variables = [("CREDENTIALS_DIRECTORY", credentials), ("TOKEN", "hunter2")];
        let given = sources(Some(file.path().into()), &variables, &[("paas_access_token", text)]);
        Config::load(&given).map(|loaded| loaded.config.paas_access_token.expose().to_owned())
    };
    let path = directory.path().join("token");
    assert_eq!(token(&format!("{{\"file\":{path:?}}}")).unwrap(), "hunter2");
    assert_eq!(token("{\"env\":\"TOKEN\"}").unwrap(), "hunter2");
    assert_eq!(token("{\"credential\":\"token\"}").unwrap(), "hunter2");
    for (text, wanted) in [
        ("hunter2", "must not stand on the command line"),
        ("{\"env\":\"NONE\"}", "NONE is not set"),
        ("{\"file\":\"/none/such\"}", "cannot read the secret from /none/such"),
        ("{\"credential\":\"../token\"}", "without a slash"),
        ("{\"credential\":\"\"}", "must be a text, or an object"),
        ("{\"env\":\"TOKEN\",\"file\":\"x\"}", "must be a text, or an object"),
        ("{\"hunter2\":\"TOKEN\"}", "must be a text, or an object"),
    ] {
        let problem = token(text).unwrap_err().to_string();
        assert!(problem.contains(wanted) && !problem.contains("hunter2"), "{text}: {problem}");
    }
}

#[test]
fn no_secret_is_printed_by_a_configuration_or_its_problems() {
    let config = good("\"paas_app_secret\":\"hunter2\",\"zk_password\":\"hunter2\"");
    assert!(!format!("{config:?}").contains("hunter2"));
    let text = Config::from_json(&with("\"paas_app_secret\":[\"hunter2\"]")).unwrap_err().to_string();
    assert!(text.contains("paas_app_secret") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_password_in_an_address_is_refused_and_not_shown() {
    let json = "{\"cmdb_addr\":\"http://u:hunter2@cmdb\",\"cmdb_user\":\"u\",\"paas_addr\":\"p\"}";
    let text = Config::from_json(json).unwrap_err().to_string();
    assert!(text.contains("user name or password") && !text.contains("hunter2"), "{text}");
}

#[test]
fn a_key_where_the_path_of_its_file_should_stand_is_refused_and_not_shown() {
    let key = "-----BEGIN PRIVATE KEY-----\\nhunter2\\n-----END PRIVATE KEY-----";
    let text = Config::from_json(&with(&format!("\"storage_key\":\"{key}\""))).unwrap_err().to_string();
    assert!(text.contains("storage_key: cannot be read") && !text.contains("hunter2"), "{text}");
}

#[test]
fn the_admin_token_is_read_from_its_file() {
    let file = NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap();
    wrong(&format!("\"admin_token_file\":{path:?}"), "admin_token_file", "is empty");
    std::fs::write(file.path(), "hunter2\r\n").unwrap();
    let config = good(&format!("\"admin_token_file\":{path:?}"));
    assert_eq!(config.admin_token.unwrap().expose(), "hunter2");
}
