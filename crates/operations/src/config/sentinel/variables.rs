//! Sentinel's variables as they are set: in either spelling, or as a file that holds the value, in the environment or in
//! the `.env` of its data folder. What is wrong is told by the variable's name, never by its value.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::super::mistake::nearest;
use super::super::secret::{Secret, SecretSource};
use crate::{Fault, FaultKind};

/// How Sentinel's documentation spells the beginning of these names: the second is a slip of its first generation.
const PREFIXES: [&str; 2] = ["SNAPSHOTS_", "SNAPHOSTS_"];
/// Behind a name: the file that holds the value.
const FILE: &str = "_FILE";
/// A file that is longer holds no setting.
const VALUE_BYTES_MAX: u64 = 64 << 10;

/// Two names that are less alike (1 is the same) are no slip of the pen.
const LIKENESS_MIN: f64 = 0.8;

/// What may stand behind one of [`PREFIXES`].
const KNOWN: [&str; 18] = [
    "AGE_PUBLIC_KEY",
    "AGE_SECRET_KEY",
    "CRON_SCHEDULE",
    "DB_PREFIX",
    "ENABLED",
    "ENCRYPTION_KEY",
    "MAIN_SCHEDULE",
    "REDIS_SCHEDULE",
    "STORAGE_AZURE_CONNECTION_STRING",
    "STORAGE_AZURE_CONTAINER",
    "STORAGE_LOCAL_DIR",
    "STORAGE_PROVIDER",
    "STORAGE_S3_ACCESS_KEY_ID",
    "STORAGE_S3_BUCKET",
    "STORAGE_S3_ENDPOINT",
    "STORAGE_S3_REGION",
    "STORAGE_S3_SECRET_ACCESS_KEY",
    "STORAGE_S3_URL",
];

/// What ours begin with.
const OWN_PREFIX: &str = "LIFEBOAT_";
/// What may stand behind it that is read here. Others are read elsewhere, or are what hooks are told.
const OWN: [&str; 11] = [
    "PASSWORD",
    "READY_URL",
    "READY_WITHIN",
    "REDIS_FILES",
    "RELOAD_COMMAND",
    "RELOAD_CONTAINER",
    "RELOAD_HEADERS",
    "RELOAD_METHOD",
    "RELOAD_URL",
    "REPOSITORY",
    "WITHOUT",
];
/// Names that begin so are ours, and all known.
const OWN_GROUPS: [&str; 2] = ["READY_", "RELOAD_"];

/// No variables.
static NONE: BTreeMap<String, String> = BTreeMap::new();

/// The variables that may configure Lifeboat.
pub struct Variables<'a> {
    /// Those of the process, which win, and those of the data folder's `.env`, with its name.
    layers: [(&'a BTreeMap<String, String>, Option<&'a Path>); 2],
}

/// The variables of the process alone, for what reaches beyond Sentinel's data: whoever may write the `.env` must not have
/// commands run or other folders read.
pub struct ProcessVariables<'a>(Variables<'a>);

impl<'a> std::ops::Deref for ProcessVariables<'a> {
    type Target = Variables<'a>;

    fn deref(&self) -> &Variables<'a> {
        &self.0
    }
}

/// A value and the variable that it came from, as it is called in messages.
#[derive(Debug, PartialEq, Eq)]
pub struct Named<T> {
    /// The variable, and the file that sets it where it is not the environment.
    pub name: String,
    /// The value.
    pub value: T,
}

impl<T> Named<T> {
    /// A fault of this variable.
    pub fn fault(&self, what: &str, hint: &str) -> Fault {
        Fault::new(FaultKind::Config, format!("{}: {what}", self.name)).with_hint(hint)
    }

    fn map<U>(self, with: impl FnOnce(T) -> U) -> Named<U> {
        Named { name: self.name, value: with(self.value) }
    }
}

/// A text that may hold a secret.
pub type Text = Named<Zeroizing<String>>;

impl<'a> Variables<'a> {
    /// The variables of the process, and those that `file` sets.
    pub fn new(process: &'a BTreeMap<String, String>, file: &'a Path, of_file: &'a BTreeMap<String, String>) -> Self {
        Self { layers: [(process, None), (of_file, Some(file))] }
    }

    /// Those of the process alone.
    pub fn of_process(&self) -> ProcessVariables<'a> {
        ProcessVariables(Self { layers: [self.layers[0], (&NONE, None)] })
    }

    /// Whether any of Sentinel's own variables for snapshots is set.
    pub fn are_any_set(&self) -> bool {
        self.names().next().is_some()
    }

    /// Whether what is set is this variable alone, by whatever name.
    pub fn are_all(&self, rest: &str) -> bool {
        self.names().all(|(name, _)| {
            let name = name.strip_suffix("_FILE").unwrap_or(name);
            PREFIXES.iter().any(|prefix| name.strip_prefix(prefix) == Some(rest))
        })
    }

    /// Every name with one of the prefixes that is set.
    fn names(&self) -> impl Iterator<Item = (&'a str, Option<&'a Path>)> + use<'a> {
        let set = self.layers.into_iter().flat_map(|(variables, file)| variables.iter().map(move |pair| (pair, file)));
        set.filter(|((name, value), _)| !value.is_empty() && PREFIXES.iter().any(|prefix| name.starts_with(prefix)))
            .map(|((name, _), file)| (name.as_str(), file))
    }

    /// Refuses what has one of the prefixes and is not understood: whoever set it believes that it does something.
    pub fn check(&self) -> Result<(), Fault> {
        for (name, file) in self.names() {
            let (prefix, rest) = name.split_at(PREFIXES[0].len());
            let plain = rest.strip_suffix(FILE).unwrap_or(rest);
            if KNOWN.contains(&plain) {
                continue;
            }
            // Long names with a beginning in common, of which users leave out or add a word.
            let likeness = |known: &str| strsim::jaro_winkler(plain, known);
            let meant = KNOWN.iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            let meant = meant.filter(|near| likeness(near) >= LIKENESS_MIN);
            let meant = meant.map(|near| format!("did you mean {prefix}{near}? "));
            let known: Vec<String> = KNOWN.iter().map(|known| format!("{prefix}{known}")).collect();
            let what = format!("{} is set and not understood", shown(name, file));
            return Err(Fault::new(FaultKind::Config, what).with_hint(format!(
                "{}known, each also with {FILE}: {}",
                meant.unwrap_or_default(),
                known.join(", ")
            )));
        }
        Ok(())
    }

    /// The same for our own: they are taken from the process alone, and one that is nearly ours was meant to be.
    pub fn check_own(&self) -> Result<(), Fault> {
        let set = self.layers.into_iter().flat_map(|(variables, file)| variables.iter().map(move |pair| (pair, file)));
        for ((name, value), file) in set {
            let Some(rest) = name.strip_prefix(OWN_PREFIX).filter(|_| !value.trim().is_empty()) else { continue };
            let named = Named { name: shown(name, file), value: () };
            if file.is_some() {
                let hint = "unset it there, and set it where Lifeboat runs: whoever may write that file must not have commands run";
                return Err(named.fault("this is read from Lifeboat's own environment alone", hint));
            }
            let plain = rest.strip_suffix(FILE).unwrap_or(rest);
            if OWN.contains(&plain) {
                continue;
            }
            let near = nearest(plain, &OWN).or_else(|| nearest(rest, &OWN));
            if near.is_some() || OWN_GROUPS.iter().any(|group| rest.starts_with(group)) {
                let meant = near.map(|near| format!("did you mean {OWN_PREFIX}{near}? ")).unwrap_or_default();
                let known = OWN.map(|known| format!("{OWN_PREFIX}{known}")).join(", ");
                return Err(named.fault("it is set and not understood", &format!("{meant}known: {known}")));
            }
        }
        Ok(())
    }

    /// The value of one of [`KNOWN`].
    pub fn snapshots(&self, name: &str) -> Result<Option<Text>, Fault> {
        self.one_of(&spellings(name))
    }

    /// The same, where it is a secret: one in a file is read when it is needed.
    pub fn snapshots_secret(&self, name: &str) -> Result<Option<Named<SecretSource>>, Fault> {
        self.secret_of(&spellings(name))
    }

    /// The value of the variable `name`, or of the file that `name_FILE` names.
    pub fn get(&self, name: &str) -> Result<Option<Text>, Fault> {
        self.one_of(&[name.to_owned()])
    }

    /// Whether the variable `name` says something, or names a file.
    pub fn is_set(&self, name: &str) -> bool {
        self.layers.iter().any(|(variables, file)| !given_in(variables, &[name.to_owned()], *file).is_empty())
    }

    /// The value of the variable `name` where it is a secret: one in a file is read when it is needed.
    pub fn secret(&self, name: &str) -> Result<Option<Named<SecretSource>>, Fault> {
        self.secret_of(&[name.to_owned()])
    }

    fn one_of(&self, names: &[String]) -> Result<Option<Text>, Fault> {
        let read = |found: Named<Given>| -> Result<Text, Fault> {
            let value = match &found.value {
                Given::Text(text) => Zeroizing::new(text.trim().to_owned()),
                Given::File(path) => read_file(&found.name, path)?,
            };
            Ok(found.map(|_| value))
        };
        self.first_layer(names, read, |a, b| Ok(a.value == b.value))
    }

    fn secret_of(&self, names: &[String]) -> Result<Option<Named<SecretSource>>, Fault> {
        let source = |found: Named<Given>| {
            Ok(found.map(|given| match given {
                Given::Text(text) => SecretSource::Given(Secret::new(text.trim().to_owned())),
                Given::File(path) => SecretSource::File(path),
            }))
        };
        self.first_layer(names, source, |a, b| Ok(a.value == b.value || a.value.read()? == b.value.read()?))
    }

    /// What the first layer says that says something. One setting under two names must be the same.
    fn first_layer<T>(
        &self,
        names: &[String],
        read: impl Fn(Named<Given>) -> Result<Named<T>, Fault>,
        is_same: impl Fn(&Named<T>, &Named<T>) -> Result<bool, Fault>,
    ) -> Result<Option<Named<T>>, Fault> {
        for (variables, file) in self.layers {
            let mut first: Option<Named<T>> = None;
            for given in given_in(variables, names, file) {
                let found = read(given)?;
                match &first {
                    None => first = Some(found),
                    Some(first) if is_same(first, &found)? => {}
                    Some(first) => {
                        let what = format!("{} and {} are one setting, and differ", first.name, found.name);
                        return Err(Fault::new(FaultKind::Config, what).with_hint("unset one of the two"));
                    }
                }
            }
            if first.is_some() {
                return Ok(first);
            }
        }
        Ok(None)
    }
}

/// What a variable is given as.
enum Given {
    Text(String),
    File(PathBuf),
}

/// Both spellings of a name.
fn spellings(name: &str) -> Vec<String> {
    PREFIXES.iter().map(|prefix| format!("{prefix}{name}")).collect()
}

/// An empty value says nothing: Compose files pass on variables that are not set so.
fn given_in(variables: &BTreeMap<String, String>, names: &[String], file: Option<&Path>) -> Vec<Named<Given>> {
    let value = |name: &str| variables.get(name).filter(|value| !value.trim().is_empty()).cloned();
    let mut given = Vec::new();
    for name in names {
        let of_file = format!("{name}{FILE}");
        given.extend(value(name).map(|text| Named { name: shown(name, file), value: Given::Text(text) }));
        let path = value(&of_file);
        given.extend(path.map(|path| Named { name: shown(&of_file, file), value: Given::File(path.into()) }));
    }
    given
}

fn shown(name: &str, file: Option<&Path>) -> String {
    file.map_or_else(|| name.to_owned(), |file| format!("{name} in {}", file.display()))
}

fn read_file(name: &str, path: &Path) -> Result<Zeroizing<String>, Fault> {
    let mut text = Zeroizing::new(String::new());
    let read = File::open(path).and_then(|file| file.take(VALUE_BYTES_MAX + 1).read_to_string(&mut text));
    read.map_err(|error| {
        let fault = Fault::local(format!("{name}: cannot read {}", path.display()), error);
        let hint = fault.hint.clone().or_else(|| Some("name a file that is there and can be read".to_owned()));
        Fault { kind: FaultKind::Config, hint, ..fault }
    })?;
    if text.len() as u64 > VALUE_BYTES_MAX || text.trim().is_empty() {
        let what = format!("{name}: {} is empty or longer than {VALUE_BYTES_MAX} bytes", path.display());
        return Err(Fault::new(FaultKind::Config, what).with_hint("name a file that holds the value and nothing else"));
    }
    Ok(Zeroizing::new(text.trim().to_owned()))
}
