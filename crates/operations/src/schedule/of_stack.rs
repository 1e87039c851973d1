//! When the jobs of a stack are due, by its configuration.

use jiff::Timestamp;

use super::expression::Expression;
use super::spread::Spread;
use super::timetable::Timetable;
use crate::config::StackSettings;

/// A backup, as it is called where times are spread.
const BACKUP: &str = "backup";
/// A drill, as it is called where times are spread.
const DRILL: &str = "drill";

/// The timetables of a stack's backups on `host`, each with the sources where it is for some alone: those with the same schedule
/// are taken together. Empty where nothing is scheduled.
pub fn backups<'a>(stack: &'a StackSettings, host: &str) -> Vec<(Vec<&'a str>, Timetable)> {
    let mut groups: Vec<(&Expression, Vec<&str>)> = Vec::new();
    for source in &stack.sources {
        let Some(schedule) = &source.schedule else { continue };
        match groups.iter_mut().find(|(other, _)| *other == schedule) {
            Some((_, names)) => names.push(&source.name),
            None => groups.push((schedule, vec![&source.name])),
        }
    }
    let whole = stack.schedule.as_ref().map(|schedule| (Vec::new(), timetable(stack, host, BACKUP, schedule)));
    let alone = groups.into_iter().map(|(schedule, names)| {
        let job = format!("{BACKUP} {}", names.join(" "));
        (names, timetable(stack, host, &job, schedule))
    });
    whole.into_iter().chain(alone).collect()
}

/// The timetable of a stack's drills on `host`. `None` where none are scheduled.
pub fn drills(stack: &StackSettings, host: &str) -> Option<Timetable> {
    let schedule = stack.drill.as_ref()?.schedule.as_ref()?;
    Some(timetable(stack, host, DRILL, schedule))
}

/// When a backup of a stack, or of a source of it, is due next after `now`. `None` where nothing is scheduled.
pub fn next_backup(stack: &StackSettings, host: &str, now: Timestamp) -> Option<Timestamp> {
    backups(stack, host).iter().filter_map(|(_, timetable)| timetable.next_after(now)).min()
}

fn timetable(stack: &StackSettings, host: &str, job: &str, schedule: &Expression) -> Timetable {
    schedule.timetable(&Spread { host, stack: &stack.name, job }, stack.time_zone.clone())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::config::{Environment, parse};

    fn stack(lines: &str) -> StackSettings {
        let text = format!(
            "version: 1\npassword_file: /pw\ncopies: {{ disk: {{ url: /b }} }}\nstacks:\n  s:\n{lines}    timezone: Africa/Nairobi\n    \
             sources: {{ a: {{ files: {{ paths: [/x] }} }}, b: {{ schedule: '*/10 9-17 * * *', files: {{ paths: [/y] }} }} }}\n"
        );
        let environment = Environment::of([("HOME", "/root")]);
        parse(&text, Path::new("/lifeboat.yaml"), &environment).unwrap().stacks.remove(0)
    }

    #[test]
    fn the_next_backup_is_that_of_the_stack_or_of_a_source_whichever_is_first() {
        let stack = stack("    schedule: '0 */4 * * *'\n    drill: { schedule: '0 6 * * SUN' }\n");
        let next = |now: &str| next_backup(&stack, "host", now.parse().unwrap()).unwrap().to_string();
        assert_eq!(next("2026-03-10T11:58:00Z"), "2026-03-10T12:00:00Z", "in Nairobi 15:00, for the source b");
        assert_eq!(next("2026-03-10T20:58:00Z"), "2026-03-10T21:00:00Z", "midnight there, for all");
        let names: Vec<_> = backups(&stack, "host").into_iter().map(|(sources, _)| sources).collect();
        assert_eq!(names, [vec![], vec!["b"]]);
        let drill =
            drills(&stack, "host").and_then(|drills| drills.next_after("2026-03-10T12:00:00Z".parse().unwrap()));
        assert_eq!(drill.map(|at| at.to_string()).as_deref(), Some("2026-03-15T03:00:00Z"));
    }

    #[test]
    fn of_one_expression_hosts_and_jobs_have_times_of_their_own() {
        let stack = stack("    schedule: H H * * *\n    drill: { schedule: H H * * * }\n");
        let now = "2026-03-10T18:00:00Z".parse().unwrap();
        let backup = |host| backups(&stack, host)[0].1.next_after(now);
        assert_eq!(backup("one"), backup("one"));
        assert_ne!(backup("one"), backup("two"));
        assert_ne!(backup("one"), drills(&stack, "one").unwrap().next_after(now));
    }

    #[test]
    fn without_a_schedule_nothing_is_due() {
        let StackSettings { sources, .. } = stack("");
        let bare = StackSettings { sources: sources.into_iter().take(1).collect(), ..stack("") };
        assert_eq!(next_backup(&bare, "host", Timestamp::UNIX_EPOCH), None);
        assert_eq!(drills(&bare, "host"), None);
    }
}
