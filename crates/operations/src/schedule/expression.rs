//! Cron expressions as they are typed.

use std::fmt;

use jiff::tz::TimeZone;
use serde::{Serialize, Serializer};

use super::field::{DAYS, Field, KINDS, MONTHS, WEEKDAYS};
use super::pattern::Pattern;
use super::spread::Spread;
use super::timetable::Timetable;
use super::wrong::{WrongExpression, quoted};
use crate::config::nearest;

/// A longer text is surely something else.
const EXPRESSION_BYTES_MAX: usize = 256;

/// What stands for a whole expression. As in cron: `@daily` is midnight everywhere, so a fleet writes `H H * * *`.
const NICKNAMES: [(&str, &str); 7] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
];

/// The days of each month, in a leap year.
const MONTH_DAYS_MAX: [u8; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

const EXAMPLE: &str =
    "write minute, hour, day of month, month and day of week, such as \"0 */4 * * *\" for every four hours, or @daily";

/// A cron expression that has times, whatever its `H` turn out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expression {
    text: String,
    fields: [Field; 5],
}

impl Expression {
    /// Reads an expression: five fields, or a name such as `@daily`.
    pub fn parse(text: &str) -> Result<Self, WrongExpression> {
        let text = text.trim();
        if text.is_empty() {
            return Err(WrongExpression::new(
                "the schedule is empty",
                "write a cron expression such as \"0 */4 * * *\", or remove it",
            ));
        }
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(WrongExpression::new(
                format!("the schedule is longer than {EXPRESSION_BYTES_MAX} bytes"),
                EXAMPLE,
            ));
        }
        let written = match text.starts_with('@') {
            true => nickname(text)?,
            false => text,
        };
        let words: Vec<&str> = written.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = words[..] else { return Err(wrong_count(text, &words)) };
        let fields = [
            Field::parse(minute, 0)?,
            Field::parse(hour, 1)?,
            Field::parse(day, DAYS)?,
            Field::parse(month, MONTHS)?,
            Field::parse(weekday, WEEKDAYS)?,
        ];
        let expression = Self { text: text.to_owned(), fields };
        expression.check_that_it_occurs()?;
        Ok(expression)
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its times in `zone`, for the job that `spread` names.
    pub fn timetable(&self, spread: &Spread<'_>, zone: TimeZone) -> Timetable {
        let mut place = 0..KINDS.len();
        let bits = self.fields.each_ref().map(|field| {
            let position = place.next().unwrap_or_default();
            field.bits(|item, size| spread.pick(position, item, size))
        });
        let narrows = |position: usize| !self.fields[position].begins_with_star;
        Timetable::new(Pattern::new(bits, narrows(DAYS) && narrows(WEEKDAYS)), zone)
    }

    /// Refuses what would never be, such as 30 February, and what would never be on some hosts.
    fn check_that_it_occurs(&self) -> Result<(), WrongExpression> {
        let [.., days, months, weekdays] = &self.fields;
        if !days.begins_with_star && !weekdays.begins_with_star {
            return Ok(()); // A day of the week is enough, and comes each week.
        }
        let day = days.items.iter().map(|item| item.latest_first()).min().unwrap_or(1);
        let month_days = |month: u8| MONTH_DAYS_MAX[usize::from(month - 1)];
        let longest = months.items.iter().filter_map(|item| match (item.is_spread, item.step) {
            (true, _) => (item.first..=item.last).map(month_days).min(),
            (false, None) => Some(month_days(item.first)),
            (false, Some(step)) => (item.first..=item.last).step_by(usize::from(step)).map(month_days).max(),
        });
        match longest.max() {
            Some(longest) if day > longest => Err(WrongExpression::new(
                format!("this never comes: no month of it is sure to have {day} days"),
                format!("write a day up to {longest}, other months, or * as the month"),
            )),
            _ => Ok(()),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Serialize for Expression {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

fn nickname(text: &str) -> Result<&'static str, WrongExpression> {
    if let Some((_, written)) = NICKNAMES.iter().find(|(name, _)| text.eq_ignore_ascii_case(name)) {
        return Ok(written);
    }
    let word = text.split_whitespace().next().unwrap_or_default();
    let what = format!("{} is not known", quoted(word));
    if word.eq_ignore_ascii_case("@reboot") {
        return Err(WrongExpression::new(what, "write the times; one that was missed is made up for after a start"));
    }
    if word.eq_ignore_ascii_case("@every") {
        return Err(WrongExpression::new(
            what,
            "write */15 * * * * for every 15 minutes, 0 */4 * * * for every 4 hours",
        ));
    }
    let names = NICKNAMES.map(|(name, _)| name);
    let meant = nearest(word, &names).map_or(String::new(), |near| format!("did you mean {near}? "));
    Err(WrongExpression::new(
        what,
        format!("{meant}known here: {}, or five fields such as \"0 */4 * * *\"", names.join(", ")),
    ))
}

fn wrong_count(text: &str, words: &[&str]) -> WrongExpression {
    let as_nickname = format!("@{}", text.to_ascii_lowercase());
    if NICKNAMES.iter().any(|(name, _)| *name == as_nickname) {
        return WrongExpression::new(format!("{} is no schedule", quoted(text)), format!("write {as_nickname}"));
    }
    if words.iter().any(|word| word.starts_with("TZ=") || word.starts_with("CRON_TZ=")) {
        return WrongExpression::new(
            "a time zone does not belong into the schedule",
            "write it as the stack's `timezone`",
        );
    }
    match words.len() {
        1 if !text.contains('*') => WrongExpression::new(format!("{} is no schedule", quoted(text)), EXAMPLE),
        1 => WrongExpression::new("there is 1 field, and a schedule has five", EXAMPLE),
        fewer @ ..5 => WrongExpression::new(format!("there are {fewer} fields, and a schedule has five"), EXAMPLE),
        more => WrongExpression::new(
            format!("there are {more} fields, and a schedule has five"),
            format!("there are no seconds, years and commands here: {EXAMPLE}"),
        ),
    }
}
