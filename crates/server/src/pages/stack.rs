//! How a stack stands: in a sentence, in what is wrong, in its last year, and in what each loss would take.

use std::collections::BTreeSet;
use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use jiff::{Timestamp, ToSpan as _};
use operations::schedule::backups;
use serde_json::Value;

use super::button::Button;
use super::calendar::{Calendar, Happened};
use super::layout::{Frame, SignedIn, shown};
use super::words::{ago, text, texts, time};
use crate::access::Caller;
use crate::api::{Path, blocking};
use crate::known::{WantedSnapshots, of_stacks};
use crate::problem::Problem;
use crate::shared::Shared;
use crate::task::Task;

/// So many snapshots are looked at for the calendar.
const SNAPSHOTS_MAX: usize = 5000;

/// A stack in short.
pub struct Card {
    /// Its name.
    pub name: String,
    /// `safe`, `warning` or `critical`.
    pub state: &'static str,
    /// Until when it is protected, what proved that, and where.
    pub sentence: String,
    /// What is wrong, the worst first.
    pub problems: Vec<Trouble>,
    /// Takes a backup now.
    pub backup: Option<Button>,
}

/// What is wrong, and what mends it.
pub struct Trouble {
    /// How bad it is.
    pub severity: String,
    /// What is wrong.
    pub text: String,
    /// What to do.
    pub fix: String,
    /// Does it.
    pub button: Option<Button>,
}

/// More of a stack.
pub struct Detail {
    /// Its last year.
    pub calendar: Calendar,
    /// The rules of 3-2-1-1-0.
    pub rules: Vec<Rule>,
    /// The copies that losses take or leave.
    pub copies: Vec<String>,
    /// What each loss would take.
    pub losses: Vec<Loss>,
}

/// A rule of 3-2-1-1-0.
pub struct Rule {
    /// Its number.
    pub wanted: &'static str,
    /// Its name.
    pub name: String,
    /// Whether it is kept.
    pub kept: bool,
    /// Why, in words.
    pub text: String,
}

/// What one loss would take.
pub struct Loss {
    /// What is lost.
    pub of: String,
    /// Whether the data itself and each of the copies stays.
    pub stays: Vec<bool>,
    /// In words.
    pub text: String,
    /// Nothing is left.
    pub is_total: bool,
}

#[derive(Template)]
#[template(path = "stack.html")]
struct StackPage {
    frame: Frame,
    stacks: Vec<Card>,
    detail: Option<Detail>,
}

/// The page of one stack.
pub async fn show(State(shared): State<Arc<Shared>>, SignedIn(caller): SignedIn, Path(name): Path<String>) -> Response {
    let who = caller.clone();
    let made = blocking(move || {
        let known = shared.known.told("status")?.map(|told| of_stacks(&told.summary, &who.stacks)).unwrap_or_default();
        let health = known.get(&name).ok_or_else(|| Problem::not_found(format!("there is no stack {name}")))?;
        let card = Card::new(&shared, &who, &name, health);
        let detail = Some(Detail::new(&shared, &name, health)?);
        Ok(StackPage { frame: Frame::new(name, "/", &who), stacks: vec![card], detail })
    });
    shown(&caller, made.await)
}

impl Card {
    /// By what `lifeboat status` said of it.
    pub fn new(shared: &Shared, caller: &Caller, name: &str, health: &Value) -> Self {
        let problems = health["problems"].as_array().into_iter().flatten();
        let problems: Vec<_> = problems.map(|problem| Trouble::new(shared, caller, problem)).collect();
        let has = |severity: &str| problems.iter().any(|problem| problem.severity == severity);
        let state = match (has("critical"), has("warning")) {
            (true, _) => "critical",
            (false, true) => "warning",
            (false, false) => "safe",
        };
        let task = Task::Backup { stack: name.to_owned(), sources: Vec::new(), copies: Vec::new() };
        // Where the same button mends a problem, one is enough.
        let backup = Button::of(shared, caller, &task)
            .filter(|button| !problems.iter().any(|problem| problem.starts(&button.task)));
        Self { name: name.to_owned(), state, sentence: sentence(health, shared.clock.now()), problems, backup }
    }

    /// The worst comes first.
    pub fn rank(&self) -> usize {
        ["critical", "warning", "safe"].iter().position(|state| *state == self.state).unwrap_or_default()
    }
}

impl Trouble {
    /// By what a command said, with the button for those who may.
    pub fn new(shared: &Shared, caller: &Caller, problem: &Value) -> Self {
        let fix = text(&problem["fix"]);
        Self {
            severity: text(&problem["severity"]),
            text: text(&problem["text"]),
            button: Button::mending(shared, caller, &fix),
            fix,
        }
    }

    fn starts(&self, task: &str) -> bool {
        self.button.as_ref().is_some_and(|button| button.task == task)
    }
}

impl Detail {
    /// By what `lifeboat status` said of a stack, and the snapshots that are known.
    pub fn new(shared: &Shared, name: &str, health: &Value) -> Result<Self, Problem> {
        let losses = || health["losses"].as_array().into_iter().flatten();
        let named = losses().flat_map(|loss| texts(&loss["takes"]).into_iter().chain(texts(&loss["leaves"])));
        let copies: Vec<_> = named.collect::<BTreeSet<_>>().into_iter().collect();
        let losses = losses().map(|loss| Loss::new(loss, &copies)).collect();
        let rules = health["rules"].as_array().into_iter().flatten().map(Rule::new).collect();
        Ok(Self { calendar: calendar(shared, name)?, rules, copies, losses })
    }
}

impl Rule {
    fn new(rule: &Value) -> Self {
        let name = text(&rule["rule"]);
        let wanted = match &*name {
            "copies" => "3",
            "media" => "2",
            "verified" => "0",
            _ => "1",
        };
        // The rule asks for no errors; a copy without is one that was verified.
        let name = if name == "verified" { "unproven".to_owned() } else { name };
        Self { wanted, name, kept: rule["kept"] == true, text: text(&rule["text"]) }
    }
}

impl Loss {
    fn new(loss: &Value, copies: &[String]) -> Self {
        let takes = texts(&loss["takes"]);
        let stays = std::iter::once(loss["takes_data"] != true).chain(copies.iter().map(|copy| !takes.contains(copy)));
        Self {
            of: text(&loss["of"]),
            stays: stays.collect(),
            text: text(&loss["text"]),
            is_total: loss["is_total"] == true,
        }
    }
}

fn calendar(shared: &Shared, name: &str) -> Result<Calendar, Problem> {
    let stack = shared.settings.stack(name)?;
    let day = |at: Timestamp| at.to_zoned(stack.time_zone.clone()).date();
    let wanted = WantedSnapshots { stack: Some(name.to_owned()), limit: SNAPSHOTS_MAX, ..WantedSnapshots::default() };
    let snapshots = shared.known.snapshots(&wanted)?;
    let backups_at = snapshots.iter().filter_map(|snapshot| time(&snapshot["time"])).map(day).collect();
    let drills = snapshots.iter().flat_map(|snapshot| snapshot["drilled"].as_object().into_iter().flatten());
    let drills = drills.filter_map(|(_, drill)| time(&drill["at"])).map(day).collect();
    let timetables = backups(stack, &shared.host);
    let is_due = |date: jiff::civil::Date| {
        let Ok(start) = date.to_zoned(stack.time_zone.clone()) else { return false };
        let before = start.timestamp() - 1.second();
        timetables.iter().any(|(_, timetable)| timetable.next_after(before).is_some_and(|at| day(at) == date))
    };
    Ok(Calendar::new(day(shared.clock.now()), &Happened { backups: backups_at, drills }, is_due))
}

/// Until when it is protected, what proved that, and where.
fn sentence(health: &Value, now: Timestamp) -> String {
    let Some(backup) = time(&health["last_backup"]) else {
        return "There is no backup yet.".to_owned();
    };
    let drills = health["last_drill"].as_object().into_iter().flatten();
    let passed = drills.filter(|(_, drill)| drill["status"] == "passed");
    let proven: Vec<_> = passed.filter_map(|(copy, drill)| Some((time(&drill["at"])?, copy))).collect();
    let protected = format!("Protected until {}", ago(backup, now));
    match proven.iter().max() {
        None => format!("{protected}, but no drill has proven yet that it restores."),
        Some((at, _)) => {
            let copies: Vec<_> = proven.iter().map(|(_, copy)| copy.as_str()).collect();
            format!("{protected}; a restore from {} was proven {}.", copies.join(" and "), ago(*at, now))
        }
    }
}
