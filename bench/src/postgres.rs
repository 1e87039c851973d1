//! What a PostgreSQL costs: Lifeboat's source for it beside `pg_dump | restic backup --stdin`, and beside borgmatic, each called
//! as its users call it. The rows are made up; the server is a real one, and the same for all.

use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, ensure};
use servers::PostgresServer;

use crate::data::random::Random;
use crate::data::text::{Pen, hex};
use crate::measure::{Cost, Invocation, measure};
use crate::tool::{PASSWORD, Program, RESTIC_OPTIONS};

/// The database.
const DATABASE: &str = "bench";
/// Tables, all of one size.
const TABLES: u64 = 8;
/// Words in the note of a row: about as much as an order or a visit has.
const NOTE_WORDS: (u64, u64) = (20, 80);
/// Rows that are looked at to know how large one is.
const SAMPLE_ROWS: u64 = 1000;

/// How much is made.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Bytes of all rows as text, about.
    pub bytes: u64,
    /// Another seed makes other rows.
    pub seed: u64,
}

/// The programs that are compared.
pub struct Programs<'a> {
    pub lifeboat: &'a Program,
    pub restic: &'a Program,
    /// `None` where it is left out.
    pub borgmatic: Option<&'a Path>,
}

/// Whether a program is here.
pub fn runs(program: &Path) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Measures it in `work` and prints a table.
pub fn compare(work: &Path, programs: &Programs<'_>, size: Size) -> Result<()> {
    let home = work.join("postgres");
    if home.exists() {
        fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))?;
    }
    fs::create_dir_all(&home).with_context(|| format!("create {}", home.display()))?;
    let server = PostgresServer::start().map_err(|what| anyhow!(what))?;
    let rows = fill(&server, size)?;
    let bench = Bench { home: &home, server: &server, programs };
    bench.begin()?;
    let mut output = io::stdout();
    let stored: u64 = server.sql(DATABASE, "SELECT pg_database_size(current_database()) >> 20").parse()?;
    writeln!(output, "{TABLES} tables, {rows} rows each, {stored} MiB on the server's disk\n")?;
    writeln!(
        output,
        "| | pg_dump alone | lifeboat | restic | borgmatic | lifeboat/best | growth: lifeboat | restic | borgmatic | \
         lifeboat/best | memory of lifeboat |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
    )?;
    bench.line("first backup", "first")?;
    bench.line("no change", "unchanged")?;
    let recent = rows - rows / 100;
    change(&server, &format!("id > {recent}"))?;
    bench.line("the last 1 % of the rows changed", "recent")?;
    let offset = rows / 3;
    change(&server, &format!("id > {offset} AND id <= {offset} + {}", rows / 100))?;
    bench.line("1 % of the rows in the middle changed", "middle")?;
    change(&server, "id % 100 = 7")?;
    bench.line("every hundredth row changed", "scattered")?;
    drop(server);
    fs::remove_dir_all(&home).with_context(|| format!("remove {}", home.display()))
}

/// Makes the tables. Gives how many rows each has.
fn fill(server: &PostgresServer, size: Size) -> Result<u64> {
    server.sql("postgres", &format!("CREATE DATABASE {DATABASE}"));
    let pen = Pen::new();
    let mut random = Random::new(size.seed, "sample", 0);
    let mut sample = Vec::new();
    (1..=SAMPLE_ROWS).for_each(|id| row(&pen, &mut random, id, &mut sample));
    let rows = (size.bytes / TABLES) / (sample.len() as u64 / SAMPLE_ROWS);
    ensure!(rows >= 1000, "`--size` is too small for 1 % of a table to be some rows");
    for table in 0..TABLES {
        server.sql(
            DATABASE,
            &format!(
                "CREATE TABLE orders_{table} (id bigint PRIMARY KEY, made timestamptz NOT NULL, customer int NOT NULL, \
                 state text NOT NULL, amount numeric(12, 2) NOT NULL, reference uuid NOT NULL, note text NOT NULL)"
            ),
        );
        let mut random = Random::new(size.seed, "orders", table);
        let copy = format!("COPY orders_{table} FROM STDIN");
        let mut psql = server.command("psql", DATABASE);
        let mut psql = psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-c", &copy]).stdin(Stdio::piped()).spawn()?;
        let mut input = BufWriter::new(psql.stdin.take().context("psql has no input")?);
        let mut line = Vec::new();
        for id in 1..=rows {
            line.clear();
            row(&pen, &mut random, id, &mut line);
            input.write_all(&line)?;
        }
        drop(input.into_inner().map_err(|error| error.into_error())?);
        ensure!(psql.wait()?.success(), "psql could not fill a table");
    }
    server.sql(DATABASE, "VACUUM ANALYZE");
    Ok(rows)
}

/// A row as `COPY` takes it.
fn row(pen: &Pen, random: &mut Random, id: u64, out: &mut Vec<u8>) {
    const STATES: [&str; 5] = ["new", "paid", "sent", "returned", "closed"];
    let (month, day) = (random.between(1, 13), random.between(1, 29));
    let (hour, minute, second) = (random.below(24), random.below(60), random.below(60));
    let time = format!("2026-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}+00");
    let state = STATES[random.below(STATES.len() as u64) as usize];
    let (customer, amount) = (random.below(100_000), random.below(1_000_000));
    out.extend(format!("{id}\t{time}\t{customer}\t{state}\t{}.{:02}\t", amount / 100, amount % 100).bytes());
    hex(random, out, 32);
    out.push(b'\t');
    let words = random.between(NOTE_WORDS.0, NOTE_WORDS.1);
    pen.sentence(random, out, words);
    out.push(b'\n');
}

/// Changes rows as an application does, one column of each.
fn change(server: &PostgresServer, which: &str) -> Result<()> {
    for table in 0..TABLES {
        server
            .sql(DATABASE, &format!("UPDATE orders_{table} SET amount = amount + 1, state = 'changed' WHERE {which}"));
    }
    server.sql(DATABASE, "CHECKPOINT");
    Ok(())
}

struct Bench<'a> {
    home: &'a Path,
    server: &'a PostgresServer,
    programs: &'a Programs<'a>,
}

/// What a backup cost, and how much larger the repository is for it.
#[derive(Clone, Copy)]
struct Done {
    cost: Cost,
    growth: u64,
}

impl Bench<'_> {
    fn begin(&self) -> Result<()> {
        let (own, restic, borg) = (self.folder("lifeboat")?, self.folder("restic")?, self.folder("borgmatic")?);
        let password = own.join("database-password");
        fs::write(&password, PostgresServer::PASSWORD)?;
        fs::set_permissions(&password, Permissions::from_mode(0o600))?;
        let text = format!(
            "version: 1\nstate_dir: state\npassword_file: password\ncopies:\n  disk: {{ url: repository }}\nstacks:\n  \
             bench:\n    sources:\n      data: {{ postgres: {{ url: '{}', user: {}, password_file: database-password, \
             databases: [{DATABASE}], tools: '{}' }} }}\n",
            self.server.url(),
            PostgresServer::USER,
            self.server.programs.display()
        );
        fs::write(own.join("lifeboat.yaml"), text)?;
        self.programs.lifeboat.run_in(&own, &["init"], "init")?;
        fs::write(restic.join("password"), PASSWORD)?;
        self.programs.restic.run_in(&restic, &[&RESTIC_OPTIONS[..], &["init"]].concat(), "init")?;
        if self.programs.borgmatic.is_some() {
            let empty = borg.join("empty");
            fs::create_dir(&empty)?;
            let text = format!(
                "location:\n  source_directories: ['{}']\n  repositories: ['{}']\n  borgmatic_source_directory: '{}'\nstorage:\n  \
                 encryption_passphrase: {PASSWORD:?}\n  compression: zstd,3\nhooks:\n  postgresql_databases:\n    - name: \
                 {DATABASE}\n      hostname: 127.0.0.1\n      port: {}\n      username: {}\n      password: {}\n",
                empty.display(),
                borg.join("repository").display(),
                borg.join("dumps").display(),
                self.server.port,
                PostgresServer::USER,
                PostgresServer::PASSWORD
            );
            fs::write(borg.join("config.yaml"), text)?;
            self.borgmatic(&["init", "--encryption", "repokey-blake2"], "init")?;
        }
        Ok(())
    }

    fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.home.join(name);
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        Ok(folder)
    }

    /// A backup with each program, and a line of the table.
    fn line(&self, work: &str, log: &str) -> Result<()> {
        // What is read the first time comes from the disk; each is to find it in memory.
        self.shell(self.home, "pg_dump >/dev/null", &format!("warm-{log}"))?;
        let alone = self.shell(self.home, "pg_dump >/dev/null", &format!("alone-{log}"))?;
        let own = self
            .grown("lifeboat", |folder| self.programs.lifeboat.run_in(folder, &["backup", "bench", "--quiet"], log))?;
        let restic = self.grown("restic", |folder| {
            let restic = self.programs.restic.path.display();
            let piped = format!(
                "set -o pipefail; pg_dump | {restic} {} backup --stdin --stdin-filename {DATABASE}.sql",
                RESTIC_OPTIONS.join(" ")
            );
            self.shell(folder, &piped, log)
        })?;
        let borgmatic = match self.programs.borgmatic {
            Some(_) => Some(self.grown("borgmatic", |_| self.borgmatic(&["create"], log))?),
            None => None,
        };
        let best =
            |of: fn(Done) -> f64| [Some(restic), borgmatic].into_iter().flatten().map(of).fold(f64::MAX, f64::min);
        let seconds = |done: Done| done.cost.wall.as_secs_f64();
        let mebibytes = |done: Done| done.growth as f64 / f64::from(1 << 20);
        let shown = |done: Option<Done>, of: fn(Done) -> f64, unit: &str| {
            done.map_or("–".to_owned(), |done| format!("{:.2} {unit}", of(done)))
        };
        writeln!(
            io::stdout(),
            "| {work} | {:.2} s | {:.2} s | {} | {} | {:.2} | {:.2} MiB | {} | {} | {:.2} | {} MiB |",
            alone.wall.as_secs_f64(),
            seconds(own),
            shown(Some(restic), seconds, "s"),
            shown(borgmatic, seconds, "s"),
            seconds(own) / best(seconds),
            mebibytes(own),
            shown(Some(restic), mebibytes, "MiB"),
            shown(borgmatic, mebibytes, "MiB"),
            mebibytes(own) / best(mebibytes),
            own.cost.memory_peak >> 20
        )?;
        Ok(())
    }

    /// Backs up, and weighs the repository before and after.
    fn grown(&self, name: &str, backup: impl FnOnce(&Path) -> Result<Cost>) -> Result<Done> {
        let folder = self.home.join(name);
        let repository = folder.join("repository");
        let before = crate::folder::size(&repository)?;
        let cost = backup(&folder)?;
        Ok(Done { cost, growth: crate::folder::size(&repository)?.saturating_sub(before) })
    }

    /// Runs a line of a shell in which `pg_dump` is that of the server, and has it.
    fn shell(&self, folder: &Path, line: &str, log: &str) -> Result<Cost> {
        let command = ["bash", "-c", line].map(OsString::from).to_vec();
        self.measure(folder, command, log)
    }

    fn borgmatic(&self, arguments: &[&str], log: &str) -> Result<Cost> {
        let program = self.programs.borgmatic.context("borgmatic is not here")?;
        let folder = self.home.join("borgmatic");
        let words = [&["--config", "config.yaml"][..], arguments].concat();
        let command = [program.as_os_str().to_owned()].into_iter().chain(words.into_iter().map(OsString::from));
        self.measure(&folder, command.collect(), log)
    }

    fn measure(&self, folder: &Path, command: Vec<OsString>, log: &str) -> Result<Cost> {
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin", self.server.programs.display());
        let environment = vec![
            ("HOME", folder.as_os_str().to_owned()),
            ("PATH", path.into()),
            ("PGHOST", "127.0.0.1".into()),
            ("PGPORT", self.server.port.to_string().into()),
            ("PGUSER", PostgresServer::USER.into()),
            ("PGPASSWORD", PostgresServer::PASSWORD.into()),
            ("PGDATABASE", DATABASE.into()),
        ];
        measure(&Invocation { command, environment, folder: folder.to_owned() }, &folder.join(format!("{log}.log")))
    }
}
