//! When things are to be done: cron expressions, the times they mean in a time zone, and which jobs are to be started now.
//!
//! An [`Expression`] is what was typed. With a [`Spread`], which settles every `H`, and a time zone it becomes a
//! [`Timetable`], which knows the next time. [`decide`] goes from what is known of all jobs to which are started, and why
//! the others are not. All of it is pure: the time comes in as an argument, and nothing is remembered but what the caller
//! keeps in a [`Memory`]. Decisions: docs/design/schedule.md.

mod decide;
mod expression;
mod field;
mod hours;
mod memory;
mod of_stack;
mod pattern;
mod spread;
mod timetable;
mod wrong;

pub use decide::{Cause, Decision, Job, Limits, Overlap, Running, Verdict, Waiting, decide, look_again};
pub use expression::Expression;
pub use hours::Hours;
pub use memory::Memory;
pub use of_stack::{backups, drills, next_backup};
pub use spread::Spread;
pub use timetable::Timetable;
pub use wrong::WrongExpression;

#[cfg(test)]
mod tests;
