//! Which databases of a server are captured.

use globset::{Glob, GlobSet, GlobSetBuilder};
use repository::SourceError;

/// Names and patterns: `*` stands for any letters, `?` for one, `[…]` for one of several.
#[derive(Clone, Debug)]
pub struct Selection {
    wanted: Vec<String>,
    include: GlobSet,
    exclude: GlobSet,
}

impl Selection {
    /// Those that match `databases`, all where that is empty, but none that matches `exclude`. Fails with a message for the
    /// user where a pattern is malformed.
    pub fn new(databases: &[String], exclude: &[String]) -> Result<Self, SourceError> {
        Ok(Self {
            wanted: databases.to_vec(),
            include: compile("databases", databases)?,
            exclude: compile("exclude", exclude)?,
        })
    }

    /// Whether a database is captured.
    pub fn has(&self, database: &str) -> bool {
        (self.wanted.is_empty() || self.include.is_match(database)) && !self.exclude.is_match(database)
    }

    /// The names, where nothing else is wanted: no pattern, to which databases could belong that nobody tells of. `None` else.
    pub fn names(&self) -> Option<Vec<String>> {
        if self.wanted.is_empty() { None } else { self.wanted.iter().map(|wanted| literal(wanted)).collect() }
    }

    /// Names and patterns to which none of the databases that are there belongs.
    pub fn missing<'a>(&self, there: impl Iterator<Item = &'a str> + Clone) -> Vec<String> {
        let is_there = |wanted: &String| {
            Glob::new(wanted).is_ok_and(|glob| {
                let matcher = glob.compile_matcher();
                there.clone().any(|name| matcher.is_match(name))
            })
        };
        self.wanted.iter().filter(|wanted| !is_there(wanted)).cloned().collect()
    }
}

/// The one name that a pattern stands for: in it, what would be a wildcard stands in brackets.
fn literal(pattern: &str) -> Option<String> {
    let (mut name, mut letters) = (String::new(), pattern.chars());
    while let Some(letter) = letters.next() {
        match letter {
            '*' | '?' | '{' | '}' | '\\' | ']' => return None,
            '[' => {
                let one = letters.next().filter(|one| !matches!(one, '!' | '^' | ']'))?;
                letters.next().filter(|end| *end == ']')?;
                name.push(one);
            }
            _ => name.push(letter),
        }
    }
    Some(name)
}

fn compile(what: &str, patterns: &[String]) -> Result<GlobSet, SourceError> {
    let malformed =
        |error: globset::Error| SourceError::Unavailable { what: format!("{what}: {error}: write it another way") };
    let mut set = GlobSetBuilder::new();
    for pattern in patterns {
        set.add(Glob::new(pattern).map_err(malformed)?);
    }
    set.build().map_err(malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selection(databases: &[&str], exclude: &[&str]) -> Selection {
        let owned = |words: &[&str]| words.iter().map(|word| word.to_string()).collect::<Vec<_>>();
        Selection::new(&owned(databases), &owned(exclude)).unwrap()
    }

    #[test]
    fn all_are_captured_unless_some_are_named_and_none_that_is_excluded() {
        assert!(selection(&[], &[]).has("shop"));
        assert!(!selection(&[], &["test_*"]).has("test_1"));
        let some = selection(&["shop*", "crm"], &["shop_old"]);
        let has: Vec<_> =
            ["shop", "shop_old", "shops", "crm", "crm2"].into_iter().filter(|name| some.has(name)).collect();
        assert_eq!(has, ["shop", "shops", "crm"]);
        assert_eq!(some.missing(["shop", "other"].into_iter()), ["crm"]);
    }

    #[test]
    fn a_name_is_known_from_a_pattern() {
        assert_eq!(selection(&["shop", "a[*]b"], &["x*"]).names(), Some(vec!["shop".to_owned(), "a*b".to_owned()]));
        for patterns in [&["shop*"][..], &["shop", "[ab]"], &["a?"], &["{a,b}"], &["[!a]"], &["a\\b"], &[]] {
            assert_eq!(selection(patterns, &[]).names(), None, "{patterns:?}");
        }
    }

    #[test]
    fn a_malformed_pattern_is_named() {
        let error = Selection::new(&["[".to_owned()], &[]).unwrap_err().to_string();
        assert!(error.starts_with("databases: "), "{error}");
    }
}
