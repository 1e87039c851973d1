//! The 3-2-1-1-0 rule for one stack: three copies, on two media, one off-site, one that nobody can change, and no copy
//! that a drill has not proven. Pure: from what is known to numbers, verdicts and, in words, what a single loss would
//! take. `docs/design/copies.md` says why each thing counts as it does.

use std::collections::BTreeSet;

use serde::Serialize;

/// The data that is backed up. It counts as one copy, on the medium `disk`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Live {
    /// The disks of this machine that hold it, as far as that is known.
    pub disks: BTreeSet<String>,
}

/// What is known about one copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CopyFacts {
    /// Its name.
    pub name: String,
    /// Whether it was looked into just now.
    pub in_reach: bool,
    /// What it holds of the stack.
    pub holds: Holds,
    /// What it is lost with.
    pub place: Place,
    /// The site it stands at, where the configuration says.
    pub site: Option<String>,
    /// What it lies on.
    pub media: String,
    /// It is at another site than the data.
    pub offsite: bool,
    /// Nobody can change or delete what is in it for a time.
    pub immutable: bool,
    /// It keeps archives, which are proven by reading them back.
    pub keeps_archives: bool,
    /// What drills say.
    pub proof: Proof,
    /// What opens it.
    pub password: Password,
}

/// What a copy holds of a stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Holds {
    /// No snapshot.
    Nothing,
    /// Snapshots, but not the newest.
    Older,
    /// The newest snapshot.
    Newest,
}

/// The smallest thing whose loss takes the whole copy. Two copies with the same one count as one copy.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// A disk that this machine sees.
    Disk(String),
    /// The memory of this machine. The next start empties it, so a copy there is none.
    Memory,
    /// Something that others run.
    Service {
        /// Who runs it, or the machine's name.
        provider: String,
        /// The account there. One that is not named may be any.
        account: Option<String>,
        /// The region. One that is not named may be any.
        region: Option<String>,
    },
}

/// What drills say of a copy; of one that keeps archives, what reading all of them back said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Proof {
    /// It was never drilled, or no drill ran to its end.
    Never,
    /// The newest telling drill failed.
    Failed,
    /// It is known to be damaged, whatever drills said before.
    Damaged,
    /// The newest telling drill passed, so many days ago, which is too long.
    Old(u64),
    /// The newest telling drill passed, of a partial snapshot: what was left out of that is not proven.
    InPart,
    /// The newest telling drill passed.
    Passed,
}

/// What opens a copy. Two with the same source are the same password.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Password {
    /// Where it comes from, in words.
    pub whence: String,
    /// It lies on this machine.
    pub is_here: bool,
}

/// How well the rule is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assessment {
    /// In numbers.
    pub score: Score,
    /// Rule by rule, always all five, in the order of the rule's name.
    pub rules: Vec<RuleVerdict>,
    /// What single losses would take, worst first.
    pub losses: Vec<Loss>,
}

/// The 3-2-1-1-0 score.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// Copies, the live data among them; those that one disk or account holds count as one.
    pub copies: usize,
    /// Different media among them.
    pub media: usize,
    /// Copies at another site.
    pub offsite: usize,
    /// Copies that cannot be changed or deleted for a time.
    pub immutable: usize,
    /// Copies that hold the newest snapshot and were proven, by a drill or by reading all archives back, not too long ago.
    pub verified: usize,
}

/// Whether one rule is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuleVerdict {
    /// The rule: `copies`, `media`, `offsite`, `immutable` or `verified`.
    pub rule: &'static str,
    /// Whether it is kept.
    pub kept: bool,
    /// Why, in words.
    pub text: String,
    /// What to do, where it is not kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

/// What one loss would take.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// What is lost, such as `this host`.
    pub of: String,
    /// Whether the live data goes with it.
    pub takes_data: bool,
    /// The copies that go with it, sorted.
    pub takes: Vec<String>,
    /// The copies that stay, sorted.
    pub leaves: Vec<String>,
    /// Nothing of the data, or no backup of it, is left.
    pub is_total: bool,
    /// In words.
    pub text: String,
}

/// The medium that live data lies on.
const LIVE_MEDIA: &str = "disk";
const COPIES_MIN: usize = 3;
const MEDIA_MIN: usize = 2;

/// Works out how well the rule is kept for `stack`.
pub fn assess(stack: &str, live: &Live, copies: &[CopyFacts]) -> Assessment {
    let mut sorted: Vec<&CopyFacts> = copies.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let view = View { stack, live, copies: sorted };
    let score = view.score();
    let rules = vec![
        view.copies_rule(score),
        view.media_rule(score),
        view.offsite_rule(score),
        view.immutable_rule(score),
        view.verified_rule(),
    ];
    Assessment { score, rules, losses: view.losses() }
}

impl CopyFacts {
    /// A copy that cannot be reached, that holds nothing, or that the next start empties, brings nothing back.
    fn counts(&self) -> bool {
        self.in_reach && self.holds != Holds::Nothing && self.place != Place::Memory
    }

    fn is_verified(&self) -> bool {
        self.counts() && self.holds == Holds::Newest && self.proof == Proof::Passed
    }
}

struct View<'a> {
    stack: &'a str,
    live: &'a Live,
    /// By name.
    copies: Vec<&'a CopyFacts>,
}

impl View<'_> {
    fn counted(&self) -> impl Iterator<Item = &CopyFacts> {
        self.copies.iter().copied().filter(|copy| copy.counts())
    }

    /// Those that no disk takes together with the data.
    fn apart(&self) -> impl Iterator<Item = &CopyFacts> {
        self.counted().filter(|copy| !self.is_with_data(copy))
    }

    fn media(&self) -> BTreeSet<&str> {
        self.apart().map(|copy| copy.media.as_str()).chain([LIVE_MEDIA]).collect()
    }

    fn is_with_data(&self, copy: &CopyFacts) -> bool {
        matches!(&copy.place, Place::Disk(disk) if self.live.disks.contains(disk))
    }

    fn score(&self) -> Score {
        Score {
            copies: 1 + most_apart(&self.apart().map(|copy| &copy.place).collect::<Vec<_>>()),
            media: self.media().len(),
            offsite: self.apart().filter(|copy| copy.offsite).count(),
            immutable: self.apart().filter(|copy| copy.immutable).count(),
            verified: self.counted().filter(|copy| copy.is_verified()).count(),
        }
    }

    fn copies_rule(&self, score: Score) -> RuleVerdict {
        let noun = if score.copies == 1 { "copy" } else { "copies" };
        let mut text = format!("{} {noun}, the data itself being one; {COPIES_MIN} are wanted", score.copies);
        let mut seen: Vec<(&Place, &str)> = Vec::new();
        let mut mendable = None;
        for copy in &self.copies {
            let name = &copy.name;
            let why_not = if !copy.in_reach {
                mendable.get_or_insert_with(|| format!("bring copy {name} back into reach"));
                Some("cannot be reached".to_owned())
            } else if copy.holds == Holds::Nothing {
                mendable.get_or_insert_with(|| format!("fill copy {name}: run `lifeboat sync`"));
                Some(format!("holds no snapshot of {}", self.stack))
            } else if copy.place == Place::Memory {
                mendable.get_or_insert_with(|| format!("put copy {name} on a disk"));
                Some(format!("is in {}, which its next start empties", copy.place.text()))
            } else if self.is_with_data(copy) {
                Some(format!("is on {}, as the data is", copy.place.text()))
            } else {
                let other = seen.iter().find(|(place, _)| place.may_be(&copy.place)).map(|(_, other)| *other);
                seen.push((&copy.place, name));
                other.map(|other| format!("is on {}, as copy {other} is", copy.place.text()))
            };
            if let Some(why) = why_not {
                text += &format!("; copy {name} does not count: it {why}");
            }
        }
        let add = || "add a copy on another disk, machine or service below `copies:` in lifeboat.yaml".to_owned();
        verdict("copies", score.copies >= COPIES_MIN, text, || mendable.unwrap_or_else(add))
    }

    fn media_rule(&self, score: Score) -> RuleVerdict {
        let listed = self.media().into_iter().collect::<Vec<_>>().join(", ");
        let text = format!("{} of {MEDIA_MIN} media that are wanted: {listed}", score.media.min(MEDIA_MIN));
        verdict("media", score.media >= MEDIA_MIN, text, || {
            "keep a copy on another medium, such as object storage, and name it with `media`".to_owned()
        })
    }

    fn offsite_rule(&self, score: Score) -> RuleVerdict {
        let names = names(self.apart().filter(|copy| copy.offsite));
        let text = if score.offsite > 0 {
            format!("off-site: {names}")
        } else {
            "no copy is off-site: fire, theft or flood takes the data and every copy".to_owned()
        };
        verdict("offsite", score.offsite > 0, text, || {
            "add a copy at another site, or say `offsite: true` of the one that is".to_owned()
        })
    }

    fn immutable_rule(&self, score: Score) -> RuleVerdict {
        let names = names(self.apart().filter(|copy| copy.immutable));
        let text = if score.immutable > 0 {
            format!("immutable: {names}")
        } else {
            "no copy is immutable: whoever takes over this host can delete every copy it can reach".to_owned()
        };
        verdict("immutable", score.immutable > 0, text, || {
            "put a copy under object lock, or behind a server that only adds, and say `immutable: true`".to_owned()
        })
    }

    /// The 0: no copy with errors. A copy that is not looked at may have any.
    fn verified_rule(&self) -> RuleVerdict {
        let stack = self.stack;
        let mut wrong = Vec::new();
        let mut fix = None;
        for copy in self.copies.iter().filter(|copy| !copy.is_verified()) {
            let name = &copy.name;
            let drill = format!("run `lifeboat drill {stack} --copy {name}`");
            let (why, what_to_do) = match copy {
                _ if !copy.in_reach => ("cannot be reached".to_owned(), format!("bring copy {name} back into reach")),
                _ if copy.holds == Holds::Nothing => ("holds no snapshot".to_owned(), "run `lifeboat sync`".to_owned()),
                _ if copy.place == Place::Memory => {
                    (format!("is in {}", copy.place.text()), format!("put copy {name} on a disk"))
                }
                _ if copy.holds == Holds::Older => {
                    ("lacks the newest snapshot".to_owned(), "run `lifeboat sync`".to_owned())
                }
                CopyFacts { keeps_archives: false, proof: Proof::Damaged, .. } => {
                    ("is damaged".to_owned(), format!("run `lifeboat heal --copy {name} --read-data`"))
                }
                CopyFacts { keeps_archives: true, proof, .. } => {
                    let check = format!("run `lifeboat check --copy {name} --read-data`");
                    match proof {
                        Proof::Damaged => {
                            let heal = format!("run `lifeboat heal --copy {name} --read-data`");
                            ("keeps archives of which some are damaged".to_owned(), heal)
                        }
                        Proof::Old(days) => (format!("keeps archives that were last read back {days} days ago"), check),
                        _ => ("keeps archives that were never read back".to_owned(), check),
                    }
                }
                CopyFacts { proof: Proof::Failed, .. } => ("failed its last drill".to_owned(), drill),
                CopyFacts { proof: Proof::Old(days), .. } => (format!("was last drilled {days} days ago"), drill),
                CopyFacts { proof: Proof::InPart, .. } => {
                    let mend = format!(
                        "mend what `lifeboat snapshots {stack} --problems` names, run `lifeboat backup {stack}`, then drill"
                    );
                    ("was last drilled with a partial snapshot".to_owned(), mend)
                }
                _ => ("is not proven by a drill".to_owned(), drill),
            };
            wrong.push(format!("copy {name} {why}"));
            fix.get_or_insert(what_to_do);
        }
        let kept = wrong.is_empty() && !self.copies.is_empty();
        let text = match (kept, wrong.is_empty()) {
            (true, _) => format!("proven: {}", names(self.copies.iter().copied())),
            (false, true) => "there is no copy".to_owned(),
            (false, false) => wrong.join("; "),
        };
        verdict("verified", kept, text, || fix.unwrap_or_else(|| "add a copy".to_owned()))
    }

    /// Every single loss that takes anything: those that leave nothing come first, the others by name.
    fn losses(&self) -> Vec<Loss> {
        let mut disks = self.live.disks.clone();
        let (mut sites, mut accounts, mut passwords) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for copy in self.counted() {
            match &copy.place {
                Place::Disk(disk) => drop(disks.insert(disk.clone())),
                Place::Memory => {}
                Place::Service { provider, account, .. } => drop(accounts.insert((provider, account))),
            }
            sites.extend(&copy.site);
            passwords.insert(&copy.password);
        }
        let mut losses = Vec::new();
        for disk in &disks {
            let place = Place::Disk(disk.clone());
            let holds_data = self.live.disks.contains(disk);
            losses.push(self.loss(place.text(), holds_data, |copy| copy.place == place));
        }
        // What is plugged into or mounted on this host goes with it, unless it is known to be elsewhere.
        losses.push(
            self.loss("this host".to_owned(), true, |copy| matches!(copy.place, Place::Disk(_)) && !copy.offsite),
        );
        for site in sites {
            let has_data = self.counted().any(|copy| copy.site.as_ref() == Some(site) && !copy.offsite);
            losses.push(self.loss(format!("the site {site}"), has_data, |copy| {
                copy.site.as_ref() == Some(site) || has_data && !copy.offsite
            }));
        }
        for (provider, account) in accounts {
            let of = match account {
                Some(account) => format!("the account {account} at {provider}"),
                None => format!("the account at {provider}"),
            };
            losses.push(self.loss(of, false, |copy| {
                matches!(&copy.place, Place::Service { provider: p, account: a, .. } if p == provider && a == account)
            }));
        }
        for password in passwords {
            losses.push(
                self.loss(format!("the password from {}", password.whence), false, |copy| copy.password == *password),
            );
        }
        losses.sort_by(|a, b| (!a.is_total, !a.takes_data, &a.of).cmp(&(!b.is_total, !b.takes_data, &b.of)));
        losses
    }

    fn loss(&self, of: String, takes_data: bool, is_taken: impl Fn(&CopyFacts) -> bool) -> Loss {
        let (taken, left): (Vec<&CopyFacts>, Vec<&CopyFacts>) = self.counted().partition(|copy| is_taken(copy));
        let listed = |copies: &[&CopyFacts]| -> Vec<String> { copies.iter().map(|copy| copy.name.clone()).collect() };
        let takes = match (takes_data, taken.is_empty()) {
            (true, true) => "the data".to_owned(),
            (true, false) => format!("the data and {}", words(&taken)),
            (false, _) => words(&taken),
        };
        let leaves = match (takes_data, left.is_empty()) {
            (true, true) => "nothing is left".to_owned(),
            (false, true) => "the data itself stays, without a backup".to_owned(),
            (_, false) => format!("{} {}", words(&left), if left.len() == 1 { "stays" } else { "stay" }),
        };
        let mut text = format!("without {of}: {takes} gone; {leaves}");
        let needs: BTreeSet<&str> =
            left.iter().filter(|copy| copy.password.is_here).map(|copy| copy.password.whence.as_str()).collect();
        if of == "this host" && !needs.is_empty() {
            let needs = needs.into_iter().collect::<Vec<_>>().join(", ");
            text += &format!(", if the password is kept elsewhere, too: it comes from {needs}");
        }
        Loss { is_total: left.is_empty(), of, takes_data, takes: listed(&taken), leaves: listed(&left), text }
    }
}

/// How many of these places are surely different ones: the most of which no two may be the same.
fn most_apart(places: &[&Place]) -> usize {
    let Some((first, rest)) = places.split_first() else { return 0 };
    let (same, others): (Vec<&Place>, Vec<&Place>) = rest.iter().partition(|other| first.may_be(other));
    let with_first = 1 + most_apart(&others);
    // Where nothing may be the same, the first one takes nothing from the others; nor where what may be is just that.
    if same.iter().all(|other| other == first) { with_first } else { with_first.max(most_apart(rest)) }
}

impl Place {
    /// Whether both may be one. What does not name its account or region may be in any.
    fn may_be(&self, other: &Self) -> bool {
        let differ = |one: &Option<String>, other: &Option<String>| one.is_some() && other.is_some() && one != other;
        match (self, other) {
            (
                Self::Service { provider, account, region },
                Self::Service { provider: other, account: other_account, region: other_region },
            ) => provider == other && !differ(account, other_account) && !differ(region, other_region),
            _ => self == other,
        }
    }

    /// In words.
    fn text(&self) -> String {
        match self {
            Self::Disk(disk) => format!("the disk {disk}"),
            Self::Memory => "the memory of this host".to_owned(),
            Self::Service { provider, account, region } => {
                let details: Vec<&str> = account.iter().chain(region).map(String::as_str).collect();
                let details = if details.is_empty() { String::new() } else { format!(" ({})", details.join(", ")) };
                format!("{provider}{details}")
            }
        }
    }
}

fn verdict(rule: &'static str, kept: bool, text: String, fix: impl FnOnce() -> String) -> RuleVerdict {
    RuleVerdict { rule, kept, text, fix: (!kept).then(fix) }
}

/// The names of copies; those that lag behind are marked.
fn names<'a>(copies: impl Iterator<Item = &'a CopyFacts>) -> String {
    let name = |copy: &CopyFacts| {
        let lag = if copy.holds == Holds::Older { " (behind)" } else { "" };
        format!("{}{lag}", copy.name)
    };
    copies.map(name).collect::<Vec<_>>().join(", ")
}

/// Copies in a sentence.
fn words(copies: &[&CopyFacts]) -> String {
    let noun = if copies.len() == 1 { "copy" } else { "copies" };
    format!("{noun} {}", names(copies.iter().copied()))
}

#[cfg(test)]
mod tests;
