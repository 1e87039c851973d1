//! One of the five fields of a cron expression: numbers, names, ranges, steps and `H`, in a list.

use super::wrong::{WrongExpression, quoted};

/// What may stand in a field.
#[derive(Debug, PartialEq, Eq)]
pub struct Kind {
    /// Its name in messages.
    name: &'static str,
    /// With what its steps begin anew.
    within: &'static str,
    /// The smallest number.
    first: u8,
    /// The largest number.
    last: u8,
    /// The largest number that `*` covers. Sunday is 0, and may be written 7.
    last_of_star: u8,
    /// The largest number that an `H` without a range may be: a day that every month has.
    last_of_spread: u8,
    /// Names that stand for numbers, from the smallest on.
    names: &'static [&'static str],
    /// What may be written, for messages.
    hint: &'static str,
}

/// The fields, in the order of an expression.
pub static KINDS: [Kind; 5] = [
    Kind {
        name: "minute",
        within: "hour",
        first: 0,
        last: 59,
        last_of_star: 59,
        last_of_spread: 59,
        names: &[],
        hint: "write 0 to 59, such as 0, */15 or H",
    },
    Kind {
        name: "hour",
        within: "day",
        first: 0,
        last: 23,
        last_of_star: 23,
        last_of_spread: 23,
        names: &[],
        hint: "write 0 to 23, such as 3, 22-23 or */4; midnight is 0",
    },
    Kind {
        name: "day of month",
        within: "month",
        first: 1,
        last: 31,
        last_of_star: 31,
        last_of_spread: 28,
        names: &[],
        hint: "write 1 to 31, such as 1,15 or *",
    },
    Kind {
        name: "month",
        within: "year",
        first: 1,
        last: 12,
        last_of_star: 12,
        last_of_spread: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        hint: "write 1 to 12 or JAN to DEC",
    },
    Kind {
        name: "day of week",
        within: "week",
        first: 0,
        last: 7,
        last_of_star: 6,
        last_of_spread: 6,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        hint: "write SUN to SAT, or 0 to 7, where 0 and 7 are Sunday",
    },
];

/// Where the days of months stand in [`KINDS`].
pub const DAYS: usize = 2;
/// Where the months stand.
pub const MONTHS: usize = 3;
/// Where the days of weeks stand.
pub const WEEKDAYS: usize = 4;

/// Numbers with the same distance. `first` to `last` lie within the bounds of the field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The smallest.
    pub first: u8,
    /// None is larger.
    pub last: u8,
    /// The distance, at least 1. `None`: there is one number.
    pub step: Option<u8>,
    /// Which of them it begins with, or is, depends on the host: `H`.
    pub is_spread: bool,
}

impl Item {
    /// Of how many numbers an `H` is one, or begins with one.
    fn choices(&self) -> u8 {
        let size = self.last.saturating_sub(self.first).saturating_add(1);
        self.step.map_or(size, |step| step.min(size))
    }

    /// The largest number that it can begin with, whatever the host.
    pub fn latest_first(&self) -> u8 {
        if self.is_spread { self.first.saturating_add(self.choices() - 1) } else { self.first }
    }

    /// Its numbers, as bits, where `pick` settles an `H` by the count of its choices.
    fn bits(&self, pick: impl FnOnce(u8) -> u8) -> u64 {
        let first = if self.is_spread { self.first + pick(self.choices()) } else { self.first };
        match self.step {
            None => 1 << first,
            Some(step) => (first..=self.last).step_by(usize::from(step)).fold(0, |bits, number| bits | 1 << number),
        }
    }
}

/// One field, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// What the list holds. At least one.
    pub items: Vec<Item>,
    /// It begins with `*`, so it does not narrow down the days; see [`super::pattern::Pattern`].
    pub begins_with_star: bool,
}

impl Field {
    /// Reads the `position`th field.
    pub fn parse(text: &str, position: usize) -> Result<Self, WrongExpression> {
        let kind = &KINDS[position];
        let items = text.split(',').map(|item| kind.item(item)).collect::<Result<_, _>>()?;
        Ok(Self { items, begins_with_star: text.starts_with('*') })
    }

    /// The numbers in it as bits, the lowest for 0. `pick` settles the `H` of an item, by its place in the list and the
    /// count of its choices.
    pub fn bits(&self, mut pick: impl FnMut(usize, u8) -> u8) -> u64 {
        self.items.iter().enumerate().fold(0, |bits, (place, item)| bits | item.bits(|size| pick(place, size)))
    }
}

impl Kind {
    fn wrong(&self, what: impl std::fmt::Display) -> WrongExpression {
        WrongExpression::new(format!("{}: {what}", self.name), self.hint)
    }

    /// One item of the list: `*`, `5`, `1-5`, `*/2`, `1-5/2`, `H`, `H(1-5)`, `H/2`, `H(1-5)/2`.
    fn item(&self, text: &str) -> Result<Item, WrongExpression> {
        let (span, step) = match text.split_once('/') {
            Some((span, step)) => (span, Some(self.step(step)?)),
            None => (text, None),
        };
        if span == "*" {
            return Ok(Item { step: step.or(Some(1)), ..self.span(self.first, self.last_of_star) });
        }
        if let Some(rest) = span.strip_prefix(['H', 'h']) {
            return self.spread(text, rest, step);
        }
        match (span.split_once('-'), step) {
            (Some((first, last)), step) => {
                let (first, last) = self.range(first, last)?;
                Ok(Item { step: step.or(Some(1)), ..self.span(first, last) })
            }
            (None, None) => {
                let number = self.number(span)?;
                Ok(self.span(number, number))
            }
            // Other programs take this for `5` alone, or for `5-59/15`.
            (None, Some(step)) => {
                let number = self.number(span)?;
                let what = format!("{} does not say where it ends", quoted(text));
                Err(WrongExpression::new(
                    format!("{}: {what}", self.name),
                    format!("write {number}-{}/{step}", self.last_of_star.max(number)),
                ))
            }
        }
    }

    fn span(&self, first: u8, last: u8) -> Item {
        Item { first, last, step: None, is_spread: false }
    }

    /// What stands after the `H`.
    fn spread(&self, item: &str, rest: &str, step: Option<u8>) -> Result<Item, WrongExpression> {
        let (first, last) = match rest.strip_prefix('(').and_then(|rest| rest.strip_suffix(')')) {
            None if rest.is_empty() => (self.first, self.last_of_spread),
            Some(range) => match range.split_once('-') {
                Some((first, last)) => self.range(first, last)?,
                None => return Err(self.wrong_spread(item)),
            },
            None => return Err(self.wrong_spread(item)),
        };
        Ok(Item { step, is_spread: true, ..self.span(first, last) })
    }

    fn wrong_spread(&self, item: &str) -> WrongExpression {
        let (first, last) = (self.first, self.last_of_spread);
        WrongExpression::new(
            format!("{}: {} is none of the forms that H has", self.name, quoted(item)),
            format!("write H, H({first}-{last}), H/2 or H({first}-{last})/2"),
        )
    }

    fn range(&self, first_text: &str, last_text: &str) -> Result<(u8, u8), WrongExpression> {
        let (mut first, mut last) = (self.number(first_text)?, self.number(last_text)?);
        let is_week = self.last > self.last_of_star;
        if is_week && first == self.last && last < first {
            first = self.first;
        }
        if is_week && last == self.first && first > last {
            last = self.last;
        }
        if first > last {
            let end = self.names.last().map_or(self.last_of_star.to_string(), |name| (*name).to_owned());
            let start = self.names.first().map_or(self.first.to_string(), |name| (*name).to_owned());
            return Err(WrongExpression::new(
                format!("{}: {} runs backwards", self.name, quoted(&format!("{first_text}-{last_text}"))),
                format!("write {first_text}-{end},{start}-{last_text}"),
            ));
        }
        Ok((first, last))
    }

    fn step(&self, text: &str) -> Result<u8, WrongExpression> {
        let most = self.last_of_star - self.first + 1;
        let number = digits(text).filter(|step| (1..=u16::from(most)).contains(step));
        number.and_then(|step| u8::try_from(step).ok()).ok_or_else(|| {
            WrongExpression::new(
                format!("{}: {} is no step from 1 to {most}", self.name, quoted(text)),
                format!("write one, such as */2; steps begin anew with each {}", self.within),
            )
        })
    }

    fn number(&self, text: &str) -> Result<u8, WrongExpression> {
        if let Some(number) = digits(text) {
            let fitting = u8::try_from(number).ok().filter(|number| (self.first..=self.last).contains(number));
            return fitting
                .ok_or_else(|| self.wrong(format!("{} is not from {} to {}", quoted(text), self.first, self.last)));
        }
        if let Some(place) = self.names.iter().position(|name| text.eq_ignore_ascii_case(name)) {
            return u8::try_from(place).map(|place| place + self.first).map_err(|_| self.wrong("too many names"));
        }
        let is_days = self.within == "month" || self.within == "week";
        if is_days
            && (text.contains('#')
                || text.trim_start_matches(|c: char| c.is_ascii_digit()).len() <= 2 && text.ends_with(['L', 'W']))
        {
            return Err(WrongExpression::new(
                format!("{}: `L`, `W` and `#` are not known", self.name),
                "write the days by number or name, such as 1,15 or MON-FRI",
            ));
        }
        let short = text.get(..3).unwrap_or_default();
        if let Some(name) = self.names.iter().find(|name| short.eq_ignore_ascii_case(name)) {
            return Err(WrongExpression::new(
                format!("{}: {} is not known", self.name, quoted(text)),
                format!("write {name}"),
            ));
        }
        Err(match text {
            "" => WrongExpression::new(
                format!("{}: a number is missing", self.name),
                format!("put one on both sides of each comma and dash; {}", self.hint),
            ),
            "?" => WrongExpression::new(format!("{}: `?` is not known", self.name), "write *"),
            "*" => self.wrong("`*` stands alone, or before a step as in */2"),
            _ if text.contains('~') => WrongExpression::new(
                format!("{}: {} is not known", self.name, quoted(text)),
                format!("for a time that differs from host to host write H({}-{})", self.first, self.last_of_spread),
            ),
            _ => self.wrong(format!("{} is not known", quoted(text))),
        })
    }
}

/// A number of digits alone. What is too large for any field stays too large.
fn digits(text: &str) -> Option<u16> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().unwrap_or(u16::MAX))
}
