//! What must hold for any configuration file.

use super::{Config, ContainerServerConfig};

/// A secret of the seeds.
const SECRET: &str = "hunter2-hunter2";
/// Where it stands.
const PLACE: &str = "\"paas_app_secret\":\"hunter2-hunter2\"";

/// A configuration of either program: good, or refused in words; and a secret is in nothing that is
/// printed.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    // What names a file would be read from the machine the fuzzer runs on.
    if ["file", "_ca", "_cert", "_key", "\\u"].iter().any(|word| text.contains(word)) {
        return;
    }
    let shown = match Config::from_json(text) {
        Ok(config) => {
            assert!(!config.cmdb_user.is_empty(), "a required key was not given");
            format!("{config:?}")
        }
        Err(problems) => problems.to_string(),
    };
    assert!(!shown.trim().is_empty(), "refused without a word");
    if text.matches(SECRET).count() == 1 && text.contains(PLACE) {
        assert!(!shown.contains(SECRET), "a secret is printed: {shown}");
    }
    if let Err(problems) = ContainerServerConfig::from_json(text) {
        assert!(!problems.to_string().trim().is_empty(), "refused without a word");
    }
}
