//! Debian's Chromium, driven by its chromedriver as the WebDriver standard (W3C) has it, in as much of it as these tests need.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{Running, wait_until};

/// The key of an element's id in WebDriver's JSON (section 12.1).
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// The tabulator, which goes to the next thing that can be used.
pub const TAB: char = '\u{E004}';
/// The key that uses it.
pub const ENTER: char = '\u{E007}';

/// A browser with nothing in it.
pub struct Browser {
    session: String,
    driver: Driver,
    _folder: TempDir,
}

/// chromedriver, which ends with the test.
struct Driver {
    port: u16,
    _process: Running,
}

impl Browser {
    /// Starts one that puts what it downloads into `downloads`.
    pub fn start(downloads: &Path) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let driver = Driver::start(folder.path());
        let profile = format!("--user-data-dir={}", folder.path().join("profile").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            &profile,
        ];
        let options = json!({
            "args": arguments,
            "prefs": { "download.default_directory": downloads, "download.prompt_for_download": false },
        });
        let wanted =
            json!({ "capabilities": { "alwaysMatch": { "browserName": "chrome", "goog:chromeOptions": options } } });
        let started = driver.ask("POST", "/session", &wanted).unwrap_or_else(|what| panic!("no browser: {what}"));
        Self { session: started["sessionId"].as_str().unwrap().to_owned(), driver, _folder: folder }
    }

    /// Opens a page.
    pub fn open(&self, url: &str) {
        self.post("url", &json!({ "url": url }));
    }

    /// The address of the page that is shown.
    pub fn url(&self) -> String {
        self.ask("GET", "url", &Value::Null).unwrap().as_str().unwrap().to_owned()
    }

    /// What this JavaScript returns on the page.
    pub fn script(&self, script: &str) -> Value {
        self.post("execute/sync", &json!({ "script": script, "args": [] }))
    }

    /// Clicks what a CSS selector names, which must be there.
    pub fn click(&self, css: &str) {
        let element = self.find(css);
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Types into what a CSS selector names, in place of what stands there.
    pub fn fill(&self, css: &str, text: &str) {
        let element = self.find(css);
        self.post(&format!("element/{element}/clear"), &json!({}));
        self.post(&format!("element/{element}/value"), &json!({ "text": text }));
    }

    /// Clicks the link or button of this text.
    pub fn press(&self, text: &str) {
        let path = format!("//*[self::a or self::button][normalize-space()=\"{text}\"]");
        let element = self.post("element", &json!({ "using": "xpath", "value": path }));
        let element = element[ELEMENT].as_str().unwrap().to_owned();
        self.post(&format!("element/{element}/click"), &json!({}));
    }

    /// Presses and releases a key, named as WebDriver names it (section 17.4.2).
    pub fn key(&self, key: char) {
        let strokes = [json!({ "type": "keyDown", "value": key }), json!({ "type": "keyUp", "value": key })];
        self.post("actions", &json!({ "actions": [{ "type": "key", "id": "keys", "actions": strokes }] }));
    }

    /// Whether anything is named by a CSS selector.
    pub fn has(&self, css: &str) -> bool {
        let found = self.post("elements", &json!({ "using": "css selector", "value": css }));
        !found.as_array().unwrap().is_empty()
    }

    /// All text of the page.
    pub fn text(&self) -> String {
        self.script("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Waits until the page says this.
    pub fn waits_for(&self, text: &str) {
        wait_until(&format!("the page says {text:?}; it says {}", self.text()), || {
            // The page may be loading itself anew just now.
            let said =
                self.ask("POST", "execute/sync", &json!({ "script": "return document.body.innerText", "args": [] }));
            said.is_ok_and(|said| said.as_str().is_some_and(|said| said.contains(text)))
        });
    }

    /// Shows pages so wide.
    pub fn width(&self, pixels: u32) {
        let metrics = json!({ "width": pixels, "height": 900, "deviceScaleFactor": 1, "mobile": false });
        self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
    }

    /// Shows pages in a light or dark colour scheme.
    pub fn scheme(&self, name: &str) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": name }] });
        self.devtools("Emulation.setEmulatedMedia", &features);
    }

    /// Writes a picture of the whole page, for people to look at.
    pub fn picture(&self, file: &Path) {
        let taken = self.devtools("Page.captureScreenshot", &json!({ "captureBeyondViewport": true }));
        let decoded = data(taken["data"].as_str().unwrap());
        std::fs::write(file, decoded).unwrap();
    }

    /// Forgets all cookies, as a browser does once they have expired.
    pub fn forget_cookies(&self) {
        self.ask("DELETE", "cookie", &Value::Null).unwrap();
    }

    fn devtools(&self, command: &str, parameters: &Value) -> Value {
        self.post("goog/cdp/execute", &json!({ "cmd": command, "params": parameters }))
    }

    fn find(&self, css: &str) -> String {
        let found = self.post("element", &json!({ "using": "css selector", "value": css }));
        found[ELEMENT].as_str().unwrap().to_owned()
    }

    fn post(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", path, body).unwrap_or_else(|what| panic!("{path} {body}: {what}; the page: {}", self.url()))
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        self.driver.ask(method, &format!("/session/{}/{path}", self.session), body)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Without this, Chromium would outlive its driver.
        let _ = self.driver.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
    }
}

impl Driver {
    fn start(folder: &Path) -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.env("HOME", folder).env("TMPDIR", folder);
        let mut process = Running(command.spawn().unwrap());
        let output = BufReader::new(process.0.stdout.take().unwrap());
        let port = output.lines().find_map(|line| {
            let line = line.ok()?;
            line.strip_prefix("ChromeDriver was started successfully on port ")?.trim_end_matches('.').parse().ok()
        });
        Self { port: port.unwrap(), _process: process }
    }

    /// A command; its value, or what the driver says is wrong.
    fn ask(&self, method: &str, path: &str, body: &Value) -> Result<Value, String> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost:{}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.port,
            body.len()
        );
        stream
            .write_all(head.as_bytes())
            .and_then(|()| stream.write_all(body.as_bytes()))
            .map_err(|error| error.to_string())?;
        let mut reader = BufReader::new(stream);
        let mut bytes = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).map_err(|error| error.to_string())?;
            if let Some(length) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                bytes = length.trim().parse().unwrap();
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut answer = vec![0; bytes];
        reader.read_exact(&mut answer).map_err(|error| error.to_string())?;
        let answer: Value = serde_json::from_slice(&answer).map_err(|error| error.to_string())?;
        let value = answer["value"].clone();
        match value["error"].as_str() {
            Some(error) => Err(format!("{error}: {}", value["message"].as_str().unwrap_or_default())),
            None => Ok(value),
        }
    }
}

/// What base64 says (RFC 4648), as the protocol has pictures in.
fn data(text: &str) -> Vec<u8> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => u32::from(byte - b'A'),
        b'a'..=b'z' => u32::from(byte - b'a') + 26,
        b'0'..=b'9' => u32::from(byte - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let digits: Vec<u32> = text.bytes().filter(|byte| *byte != b'=').map(digit).collect();
    let group = |digits: &[u32]| {
        let number = digits.iter().fold(0, |number, digit| number << 6 | digit) << (6 * (4 - digits.len()));
        number.to_be_bytes()[1..digits.len()].to_vec()
    };
    digits.chunks(4).flat_map(group).collect()
}
