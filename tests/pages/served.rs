//! A server with the admin app, for a test alone.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use crate::support::{Running, Site};

/// What the tests sign in with.
pub const PASSWORD: &str = "three plain words";

/// A time that no test meets: ten minutes before midnight at the end of February in leap years.
const SELDOM: &str = "50 23 29 2 *";

/// `lifeboat serve` for a site with two copies, `disk` and `nas`, and the sources `files` and `slow`.
pub struct Served {
    /// Its folders.
    pub site: Site,
    /// Where it is reached.
    pub url: String,
    /// The link that it printed for the first user.
    pub setup: String,
    _process: Running,
}

impl Served {
    /// Starts one, with repositories that are empty.
    pub fn start() -> Self {
        let site = Site::new();
        std::fs::write(site.data().join("letter.txt"), "dear all").unwrap();
        std::fs::create_dir(site.data().join("below")).unwrap();
        std::fs::write(site.data().join("below/a <b> & ü.txt"), "x").unwrap();
        rusqlite::Connection::open(site.data().join("notes.db"))
            .unwrap()
            .execute("CREATE TABLE note (text)", [])
            .unwrap();
        let text = format!(
            "version: 1\nstate_dir: state\npassword_file: password\n\
             server: {{ listen: \"127.0.0.1:0\", restore_dir: {:?} }}\n\
             copies:\n  disk: {{ url: repo }}\n  nas: {{ url: nas, offsite: true }}\n\
             stacks:\n  app:\n    schedule: \"{SELDOM}\"\n    rto: 2h\n    sources:\n      files: {{ files: {{ paths: [{:?}] }} }}\n  \
             slow:\n    sources:\n      endless: {{ command: {{ run: [\"sleep\", \"600\"], name: never }} }}\n",
            site.path("restored"),
            site.data()
        );
        std::fs::write(site.config(), text).unwrap();
        site.lifeboat(["init"]).ok();
        let mut command = site.lifeboat_command(["serve"]);
        let mut process = Running(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
        let told = BufReader::new(process.0.stderr.take().unwrap());
        let (sender, said) = mpsc::channel();
        // Read to the end, so that the server never waits for it.
        std::thread::spawn(move || {
            for line in told.lines().map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        let setup = loop {
            let line = said.recv_timeout(Duration::from_secs(60)).unwrap();
            let start = line.find("http://").filter(|_| line.contains("/setup?code="));
            if let Some(start) = start {
                break line[start..].split([' ', '"']).next().unwrap().to_owned();
            }
        };
        let url = setup.split("/setup").next().unwrap().to_owned();
        Self { site, url, setup, _process: process }
    }

    /// Where a page is.
    pub fn page(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// A folder for downloads.
    pub fn downloads(&self) -> PathBuf {
        let folder = self.site.path("downloads");
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }
}
