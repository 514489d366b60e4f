//! A headless Chromium for tests of the page, steered through ChromeDriver by plain HTTP (the W3C
//! WebDriver protocol). Driver, browser and profile are gone when it is dropped.

#![allow(dead_code, clippy::unwrap_used, clippy::expect_used)] // Helpers of tests fail by panicking.

use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The key of that name, for [`Browser::press`].
pub const ENTER: &str = "\u{e007}";
/// The key that goes to the next control.
pub const TAB: &str = "\u{e004}";
/// How long the page may take for anything, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Chromium without what would look for the network beyond this machine.
const FLAGS: [&str; 9] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];

/// A browser with one window.
pub struct Browser {
    driver: Child,
    agent: ureq::Agent,
    session: String,
    _profile: TempDir,
}

impl Browser {
    /// A new browser whose user reads `language`, `en` or `zh-CN`.
    pub fn start(language: &str) -> Self {
        let profile = tempfile::Builder::new().prefix("bkcmdb-browser-").tempdir().unwrap();
        // Whatever browser and driver write belongs to the profile.
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").env("TMPDIR", profile.path()).env("HOME", profile.path());
        let mut driver = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("chromedriver");
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines();
        let port = lines
            .find_map(|line| {
                line.unwrap().split_once("successfully on port ").map(|(_, port)| port.to_owned())
            })
            .expect("the driver tells its port");
        std::thread::spawn(move || lines.for_each(drop));
        let config = ureq::Agent::config_builder().proxy(None).http_status_as_error(false).build();
        let mut browser = Self {
            driver,
            agent: config.into(),
            session: format!("http://127.0.0.1:{}/session", port.trim_end_matches('.')),
            _profile: profile,
        };
        let mut arguments: Vec<String> = FLAGS.iter().map(|&flag| flag.into()).collect();
        arguments.push(format!("--user-data-dir={}", browser._profile.path().join("data").display()));
        arguments.push(format!("--lang={language}"));
        let options = json!({"args": arguments, "prefs": {"intl.accept_languages": language}});
        let capabilities = json!({"browserName": "chrome", "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"}, "unhandledPromptBehavior": "dismiss",
            // Milliseconds, for a busy machine.
            "timeouts": {"script": 180_000}});
        let answer = browser.post("", json!({"capabilities": {"alwaysMatch": capabilities}}));
        browser.session = format!("{}/{}", browser.session, answer["sessionId"].as_str().unwrap());
        browser
    }

    #[track_caller]
    fn post(&self, path: &str, body: Value) -> Value {
        self.try_post(path, body).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    fn try_post(&self, path: &str, body: Value) -> Result<Value, String> {
        let request = self.agent.post(format!("{}{path}", self.session)).content_type("application/json");
        let mut answer = request.send(body.to_string()).unwrap();
        let text = answer.body_mut().with_config().limit(64 << 20).read_to_string().unwrap();
        let mut value: Value = serde_json::from_str(&text).unwrap();
        match answer.status().is_success() {
            true => Ok(value["value"].take()),
            false => Err(value["value"]["message"].to_string()),
        }
    }

    /// Opens an address.
    pub fn open(&self, url: &str) {
        self.post("/url", json!({"url": url}));
    }

    /// Runs a function body in the page and returns its result.
    #[track_caller]
    pub fn run(&self, script: &str) -> Value {
        self.post("/execute/sync", json!({"script": script, "args": []}))
    }

    /// A Chromium command beyond WebDriver.
    fn chromium(&self, command: &str, parameters: Value) -> Value {
        self.post("/goog/cdp/execute", json!({"cmd": command, "params": parameters}))
    }

    /// Shows the page on a screen of that size, light or dark.
    pub fn screen(&self, width: u32, height: u32, scheme: &str) {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        self.chromium("Emulation.setDeviceMetricsOverride", size);
        let feature = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.chromium("Emulation.setEmulatedMedia", feature);
    }

    /// Waits until an expression is true in the page.
    #[track_caller]
    pub fn wait(&self, what: &str, condition: &str) {
        let started = Instant::now();
        while self.run(&format!("return Boolean({condition})")) != json!(true) {
            let text = self.run("return document.body.innerText");
            assert!(
                started.elapsed() < PATIENCE,
                "not in time: {what}\n{}",
                text.as_str().unwrap_or_default()
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The text of the first element of a selector.
    #[track_caller]
    pub fn text(&self, selector: &str) -> String {
        self.run(&format!("return document.querySelector({}).innerText", json!(selector)))
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// How many elements a selector finds.
    pub fn count(&self, selector: &str) -> u64 {
        self.run(&format!("return document.querySelectorAll({}).length", json!(selector))).as_u64().unwrap()
    }

    fn element(&self, selector: &str) -> Result<String, String> {
        let found = self.try_post("/element", json!({"using": "css selector", "value": selector}))?;
        let id = found.as_object().unwrap().values().next().unwrap();
        Ok(format!("/element/{}", id.as_str().unwrap()))
    }

    /// Clicks as a mouse does: what is covered or out of sight cannot be clicked. The page may draw
    /// itself anew in between; then the new element is clicked.
    #[track_caller]
    pub fn click(&self, selector: &str) {
        let started = Instant::now();
        let scroll =
            format!("document.querySelector({}).scrollIntoView({{block: 'center'}})", json!(selector));
        let click = || {
            self.try_post("/execute/sync", json!({"script": scroll, "args": []}))?;
            self.try_post(&format!("{}/click", self.element(selector)?), json!({}))
        };
        while let Err(error) = click() {
            assert!(started.elapsed() < PATIENCE, "cannot click {selector}: {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Types into a field in place of what is there.
    #[track_caller]
    pub fn fill(&self, selector: &str, text: &str) {
        let element = self.element(selector).unwrap();
        // As a person does it: all is marked and deleted, and the page hears of each step.
        let marked_and_deleted = "\u{e009}a\u{e000}\u{e003}";
        self.post(&format!("{element}/value"), json!({"text": format!("{marked_and_deleted}{text}")}));
    }

    /// Presses keys, wherever the focus is.
    pub fn press(&self, keys: &[&str]) {
        let down =
            |key: &&str| [json!({"type": "keyDown", "value": key}), json!({"type": "keyUp", "value": key})];
        let actions: Vec<Value> = keys.iter().flat_map(down).collect();
        self.post("/actions", json!({"actions": [{"type": "key", "id": "keyboard", "actions": actions}]}));
    }

    /// Texts that are hard to read against what is behind them.
    pub fn weak_contrasts(&self) -> Value {
        self.run(include_str!("contrast.js"))
    }

    /// What can be operated, as a screen reader is told: role and name of each.
    pub fn controls(&self) -> Vec<(String, String)> {
        let tree = self.chromium("Accessibility.getFullAXTree", json!({}));
        let text = |node: &Value, key: &str| node[key]["value"].as_str().unwrap_or_default().to_owned();
        let nodes = tree["nodes"].as_array().unwrap().iter().filter(|node| node["ignored"] == false);
        let operable =
            ["button", "link", "checkbox", "combobox", "searchbox", "textbox", "DisclosureTriangle"];
        let controls = nodes.map(|node| (text(node, "role"), text(node, "name")));
        controls.filter(|(role, _)| operable.contains(&role.as_str())).collect()
    }

    /// A picture of the whole page, or of what fits the screen if it is very long, in the build directory.
    pub fn picture(&self, name: &str) {
        let height = self.run("return document.documentElement.scrollHeight").as_u64().unwrap();
        let shot = json!({"format": "png", "captureBeyondViewport": height < 8000});
        let data = self.chromium("Page.captureScreenshot", shot);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("pictures");
        std::fs::create_dir_all(&directory).unwrap();
        use base64::Engine;
        let png = base64::engine::general_purpose::STANDARD.decode(data["data"].as_str().unwrap()).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        std::fs::write(directory.join(format!("{name}.png")), png).unwrap();
    }

    /// What the console says since the last call: errors, violations of the policy and all else.
    pub fn console(&self) -> Vec<String> {
        let log = self.post("/se/log", json!({"type": "browser"}));
        log.as_array().unwrap().iter().map(|entry| entry["message"].to_string()).collect()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Closes the browser; the driver alone would leave it behind.
        let _ = self.agent.delete(&self.session).call();
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}
