//! The jobs that the configuration schedules.

use jiff::{SignedDuration, Timestamp};
use operations::config::{Settings, StackSettings};
use operations::schedule::{Hours, Memory, Overlap, Spread, Timetable, backups, drills};

use crate::task::Task;

/// Something that is done by itself, again and again.
pub struct Scheduled {
    /// Its name, which no other has.
    pub name: String,
    /// What is done.
    pub task: Task,
    /// When.
    pub timetable: Timetable,
    /// The hours in which it may begin.
    pub hours: Option<Hours>,
    /// What happens where its time comes while it runs.
    pub overlap: Overlap,
}

/// A job that has not begun so long after it was due is late. Until then it may wait for others.
pub const LATE_AFTER: SignedDuration = SignedDuration::from_hours(1);

impl Scheduled {
    /// When it should have begun, where that is more than an hour ago and it neither has nor runs.
    pub fn late_since(&self, memory: &Memory, now: Timestamp) -> Option<Timestamp> {
        if memory.begun.is_some() && memory.ended.is_none() {
            return None;
        }
        let due = self.timetable.next_after(memory.settled)?;
        let zone = self.timetable.zone();
        let may_begin = match self.hours.filter(|hours| !hours.contains(due, zone)) {
            None => due,
            Some(hours) => hours.opens_after(due, zone)?,
        };
        (now.duration_since(may_begin) > LATE_AFTER).then_some(may_begin)
    }
}

/// All jobs, as they are on this host.
pub fn jobs(settings: &Settings, host: &str) -> Vec<Scheduled> {
    // Whoever switched it off has it switched off here, too.
    if settings.sentinel.as_ref().is_some_and(|sentinel| sentinel.disabled.is_some()) {
        return Vec::new();
    }
    let of_stacks = settings.stacks.iter().flat_map(|stack| of_stack(stack, host));
    of_stacks.chain(of_copies(settings, host)).collect()
}

fn of_stack(stack: &StackSettings, host: &str) -> Vec<Scheduled> {
    let name = &stack.name;
    let backups = backups(stack, host).into_iter().map(|(sources, timetable)| Scheduled {
        name: [&["backup", name], &*sources].concat().join(" "),
        task: Task::Backup {
            stack: name.clone(),
            sources: sources.into_iter().map(str::to_owned).collect(),
            copies: Vec::new(),
        },
        timetable,
        hours: stack.hours,
        overlap: stack.overlap,
    });
    let drill = drills(stack, host).map(|timetable| Scheduled {
        name: format!("drill {name}"),
        task: Task::Drill { stack: name.clone(), copy: None, snapshot: None, level: None },
        timetable,
        hours: stack.hours,
        overlap: Overlap::Refuse,
    });
    backups.chain(drill).collect()
}

fn of_copies<'a>(settings: &'a Settings, host: &'a str) -> impl Iterator<Item = Scheduled> {
    let jobs = &settings.jobs;
    let check = jobs.check.as_ref().map(|check| {
        let task = Task::Check { copy: None, read_data: check.read_data, subset: check.read_data_subset };
        (task, &check.schedule, check.hours)
    });
    let others = [
        (Task::Sync { copy: None }, &jobs.sync),
        (Task::Prune { copy: None }, &jobs.prune),
        (Task::TamperTest { copy: None }, &jobs.tamper_test),
    ];
    let others = others.into_iter().filter_map(|(task, job)| {
        let job = job.as_ref()?;
        Some((task, &job.schedule, job.hours))
    });
    check.into_iter().chain(others).map(move |(task, schedule, hours)| {
        let name = task.kind();
        let spread = Spread { host, stack: "", job: name };
        let timetable = schedule.timetable(&spread, jobs.time_zone.clone());
        Scheduled { name: name.to_owned(), task, timetable, hours, overlap: Overlap::Refuse }
    })
}
