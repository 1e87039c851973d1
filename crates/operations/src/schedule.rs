//! When things are to be done: cron expressions, and the times they mean in a time zone.
//!
//! An [`Expression`] is what was typed. With a [`Spread`], which settles every `H`, and a time zone it becomes a
//! [`Timetable`], which knows the next time.

mod expression;
mod field;
mod pattern;
mod spread;
mod timetable;
mod wrong;

pub use expression::Expression;
pub use spread::Spread;
pub use timetable::Timetable;
pub use wrong::WrongExpression;

#[cfg(test)]
mod tests;
