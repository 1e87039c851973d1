//! Which snapshots of one stack stay, and why. Pure: it decides and deletes nothing.
//!
//! The rules and their corner cases are those of restic's `forget` (`internal/data/snapshot_policy.go` of
//! restic/restic), with four on top that no setting turns off: the newest snapshot stays, and so do the newest one that
//! passed a drill, the newest from which nothing was left out, and those that hold the last good version of what is
//! damaged or missing now. All of a stack stay while several hosts back up under its name. An empty policy keeps everything.

mod calendar;
mod of_stack;
mod several_hosts;
mod within;

use std::fmt;

use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};
use repository::Id;
use serde::{Serialize, Serializer};

pub use calendar::{LEGEND, calendar};
pub use of_stack::{Beside, Group, groups, last_good, proven};
pub use several_hosts::{hosts_at_once, is_made_up, several_hosts};
pub use within::Within;

use crate::snapshots::{self, PARTIAL_TAG};

/// Decides for each of one stack's snapshots whether it stays. The answer is sorted from the newest to the oldest.
///
/// Hours, days, weeks and so on are those of `zone`; restic takes the offset that each snapshot was written with.
pub fn apply(snapshots: &[Candidate], policy: &Policy, now: Timestamp, zone: &TimeZone) -> Vec<Decision> {
    let mut sorted: Vec<(&Candidate, Zoned)> =
        snapshots.iter().map(|candidate| (candidate, candidate.time.to_zoned(zone.clone()))).collect();
    sorted.sort_by(|(a, _), (b, _)| b.time.cmp(&a.time).then(a.id.cmp(&b.id)));

    let mut decisions: Vec<Decision> = sorted
        .iter()
        .map(|(candidate, _)| Decision { id: candidate.id, time: candidate.time, reasons: Vec::new() })
        .collect();
    keep_always(&sorted, policy, now, &mut decisions);

    // restic measures `within` from the newest snapshot that does not lie in the future. If all do, all are within.
    let newest = sorted.iter().map(|(_, time)| time).find(|time| time.timestamp() < now);
    let start = |within: &Within| newest.map_or(Timestamp::MIN, |newest| within.before(newest));

    let mut counted = Period::ALL.map(|period| (period, policy.count(period), None));
    let mut bounded = Vec::new();
    for period in Period::ALL {
        bounded.extend(policy.within(period).map(|within| (period, within, start(&within), None)));
    }
    for (number, ((candidate, time), decision)) in sorted.iter().zip(&mut decisions).enumerate() {
        let is_oldest = number + 1 == snapshots.len();
        let reasons = &mut decision.reasons;
        for tags in &policy.tags {
            if tags.match_all(&candidate.tags) {
                reasons.push(Reason::Tags(tags.clone()));
            }
        }
        for (period, count, last_bucket) in &mut counted {
            if count.is_off() {
                continue;
            }
            let bucket = period.bucket(time, number);
            let is_new = *last_bucket != Some(bucket);
            // The oldest stays while a rule has counts left, so that the history is as long as it may be.
            if is_new || is_oldest {
                *last_bucket = Some(bucket);
                count.take_one();
                reasons.push(Reason::Counted { period: *period, oldest: !is_new });
            }
        }
        for (period, within, start, last_bucket) in &mut bounded {
            if candidate.time <= *start {
                continue;
            }
            let bucket = period.bucket(time, number);
            let is_new = *last_bucket != Some(bucket);
            if is_new || is_oldest {
                *last_bucket = Some(bucket);
                reasons.push(Reason::Within { period: *period, within: *within, oldest: !is_new });
            }
        }
    }
    decisions
}

/// The rules that no setting turns off.
fn keep_always(sorted: &[(&Candidate, Zoned)], policy: &Policy, now: Timestamp, decisions: &mut [Decision]) {
    if policy.is_empty() {
        decisions.iter_mut().for_each(|decision| decision.reasons.push(Reason::NoRules));
    }
    // A snapshot that a wrong clock dated into the future must not be the only one that stays.
    let newest_past = sorted.iter().position(|(candidate, _)| candidate.time <= now);
    for number in (0..sorted.len()).filter(|number| *number == 0 || Some(*number) == newest_past) {
        decisions[number].reasons.push(Reason::Newest);
    }
    if let Some(number) = sorted.iter().position(|(candidate, _)| candidate.drilled) {
        decisions[number].reasons.push(Reason::NewestDrilled);
    }
    if let Some(number) = sorted.iter().position(|(candidate, _)| candidate.drilled_elsewhere) {
        decisions[number].reasons.push(Reason::NewestDrilledElsewhere);
    }
    // While the data is damaged, each snapshot is partial; they must not push out the last good state.
    let newest_whole = sorted.iter().position(|(candidate, _)| candidate.is_whole());
    if let Some(number) = newest_whole.filter(|number| *number > 0) {
        decisions[number].reasons.push(Reason::NewestWhole);
    }
    for ((candidate, _), decision) in sorted.iter().zip(decisions) {
        decision.reasons.extend(candidate.is_last_good.then_some(Reason::LastGood));
    }
}

/// What retention needs to know of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The snapshot.
    pub id: Id,
    /// When it was taken.
    pub time: Timestamp,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it passed a drill.
    pub drilled: bool,
    /// Whether it passed one in another copy, which may be lost with its proof.
    pub drilled_elsewhere: bool,
    /// Whether it holds whole what is damaged or missing in the newest snapshots; see [`last_good`].
    pub is_last_good: bool,
}

impl Candidate {
    /// Whether nothing was left out of it, as far as its tags tell.
    fn is_whole(&self) -> bool {
        !snapshots::has_tag(&self.tags, PARTIAL_TAG)
    }
}

/// What is decided about a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Decision {
    /// The snapshot.
    pub id: Id,
    /// When it was taken.
    pub time: Timestamp,
    /// All reasons to keep it. It is removed if there are none.
    pub reasons: Vec<Reason>,
}

impl Decision {
    /// Whether the snapshot stays.
    pub fn is_kept(&self) -> bool {
        !self.reasons.is_empty()
    }
}

/// What is said of a snapshot that is kept for what was lost since.
pub const LAST_GOOD: &str = "holds the last good version of what is damaged or missing now";

/// Why a snapshot stays. Shown in restic's words where the rule is restic's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// The policy has no rules, so everything stays.
    NoRules,
    /// It is the newest.
    Newest,
    /// It is the newest that passed a drill.
    NewestDrilled,
    /// It is the newest that passed a drill in another copy.
    NewestDrilledElsewhere,
    /// It is the newest from which nothing was left out, and newer ones are partial.
    NewestWhole,
    /// It holds the last good version of what is damaged or missing in the newest.
    LastGood,
    /// Several hosts back up under the name of its stack; see [`several_hosts`].
    SeveralHosts,
    /// It has the tags of a rule.
    Tags(TagList),
    /// A rule such as `daily: 7`.
    Counted {
        /// The rule.
        period: Period,
        /// It is in the same period as a newer one, but the oldest of all.
        oldest: bool,
    },
    /// A rule such as `within_daily: 1m`.
    Within {
        /// The rule.
        period: Period,
        /// How far back the rule reaches.
        within: Within,
        /// It is in the same period as a newer one, but the oldest of all.
        oldest: bool,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRules => f.write_str("no retention rules"),
            Self::Newest => f.write_str("newest snapshot"),
            Self::NewestDrilled => f.write_str("newest snapshot that passed a drill"),
            Self::NewestDrilledElsewhere => f.write_str("newest snapshot that passed a drill in another copy"),
            Self::NewestWhole => f.write_str("newest snapshot that is not partial"),
            Self::LastGood => f.write_str(LAST_GOOD),
            Self::SeveralHosts => f.write_str("several hosts back up under the name of this stack"),
            Self::Tags(tags) => write!(f, "has tags {tags}"),
            Self::Counted { period, oldest } => {
                write!(f, "{}{} snapshot", if *oldest { "oldest " } else { "" }, period.word())
            }
            Self::Within { period: Period::Last, within, .. } => write!(f, "within {within}"),
            Self::Within { period, within, oldest } => {
                write!(f, "{}{} within {within}", if *oldest { "oldest " } else { "" }, period.word())
            }
        }
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The rules of one stack. All that are set count: a snapshot stays if one of them keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Policy {
    /// The newest so many.
    #[serde(skip_serializing_if = "Count::is_off")]
    pub last: Count,
    /// The newest of each of so many hours that have any.
    #[serde(skip_serializing_if = "Count::is_off")]
    pub hourly: Count,
    /// The newest of each of so many days that have any.
    #[serde(skip_serializing_if = "Count::is_off")]
    pub daily: Count,
    /// The newest of each of so many ISO weeks that have any.
    #[serde(skip_serializing_if = "Count::is_off")]
    pub weekly: Count,
    /// The newest of each of so many months that have any.
    #[serde(skip_serializing_if = "Count::is_off")]
    pub monthly: Count,
    /// The newest of each of so many years that have any.
    #[serde(skip_serializing_if = "Count::is_off")]
    pub yearly: Count,
    /// All within this time before the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within: Option<Within>,
    /// The newest of each hour within this time before the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_hourly: Option<Within>,
    /// The newest of each day within this time before the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_daily: Option<Within>,
    /// The newest of each ISO week within this time before the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_weekly: Option<Within>,
    /// The newest of each month within this time before the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_monthly: Option<Within>,
    /// The newest of each year within this time before the newest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub within_yearly: Option<Within>,
    /// All that have every tag of one of these lists.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<TagList>,
}

impl Policy {
    /// What a stack gets that says nothing about retention.
    pub fn preset() -> Self {
        Self {
            last: Count::AtMost(3),
            hourly: Count::AtMost(24),
            daily: Count::AtMost(7),
            weekly: Count::AtMost(4),
            monthly: Count::AtMost(12),
            yearly: Count::AtMost(3),
            ..Self::default()
        }
    }

    /// The rules as one line of `lifeboat.yaml`.
    pub fn to_flow(&self) -> String {
        let set = serde_json::to_value(self).unwrap_or_default();
        let order = ["last", "hourly", "daily", "weekly", "monthly", "yearly"];
        let within = order.map(|rule| if rule == "last" { "within".to_owned() } else { format!("within_{rule}") });
        let order = order.map(str::to_owned).into_iter().chain(within).chain(["tags".to_owned()]);
        let rules: Vec<String> = order.filter_map(|rule| Some(format!("{rule}: {}", set.get(&rule)?))).collect();
        format!("{{ {} }}", rules.join(", "))
    }

    /// Whether no rule is set. Such a policy keeps everything.
    pub fn is_empty(&self) -> bool {
        let has_period = |period| !self.count(period).is_off() || self.within(period).is_some();
        self.tags.is_empty() && !Period::ALL.into_iter().any(has_period)
    }

    fn count(&self, period: Period) -> Count {
        match period {
            Period::Last => self.last,
            Period::Hourly => self.hourly,
            Period::Daily => self.daily,
            Period::Weekly => self.weekly,
            Period::Monthly => self.monthly,
            Period::Yearly => self.yearly,
        }
    }

    fn within(&self, period: Period) -> Option<Within> {
        let within = match period {
            Period::Last => self.within,
            Period::Hourly => self.within_hourly,
            Period::Daily => self.within_daily,
            Period::Weekly => self.within_weekly,
            Period::Monthly => self.within_monthly,
            Period::Yearly => self.within_yearly,
        };
        within.filter(|within| !within.is_zero())
    }
}

/// How many a rule keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// So many; 0 switches the rule off.
    AtMost(u32),
    /// Without limit: `all` in the configuration, -1 in restic.
    All,
}

impl Default for Count {
    fn default() -> Self {
        Self::AtMost(0)
    }
}

impl Count {
    fn is_off(&self) -> bool {
        *self == Self::AtMost(0)
    }

    fn take_one(&mut self) {
        if let Self::AtMost(left) = self {
            *left = left.saturating_sub(1);
        }
    }
}

impl Serialize for Count {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::AtMost(count) => serializer.serialize_u32(*count),
            Self::All => serializer.serialize_str("all"),
        }
    }
}

/// Tags that a snapshot must all have. The empty tag stands for having no tags at all.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct TagList(pub Vec<String>);

impl TagList {
    fn match_all(&self, tags: &[String]) -> bool {
        for tag in &self.0 {
            if tag.is_empty() && tags.is_empty() {
                return true;
            }
            if !tags.contains(tag) {
                return false;
            }
        }
        true
    }
}

impl Serialize for TagList {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0.join(","))
    }
}

impl fmt::Display for TagList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}]", self.0.join(", "))
    }
}

/// What a rule looks at: every snapshot by itself, or the newest of each span of the calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Period {
    Last,
    Hourly,
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

impl Period {
    const ALL: [Self; 6] = [Self::Last, Self::Hourly, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly];

    fn word(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::Hourly => "hourly",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// A number that two snapshots share if they lie in the same span. As in restic, the hour that happens twice when
    /// daylight saving time ends is one span.
    fn bucket(self, time: &Zoned, number: usize) -> i64 {
        let (year, month, day) = (i64::from(time.year()), i64::from(time.month()), i64::from(time.day()));
        match self {
            Self::Last => i64::try_from(number).unwrap_or(i64::MAX),
            Self::Hourly => ((year * 100 + month) * 100 + day) * 100 + i64::from(time.hour()),
            Self::Daily => (year * 100 + month) * 100 + day,
            Self::Weekly => {
                let week = time.date().iso_week_date();
                i64::from(week.year()) * 100 + i64::from(week.week())
            }
            Self::Monthly => year * 100 + month,
            Self::Yearly => year,
        }
    }
}

#[cfg(test)]
mod tests;
