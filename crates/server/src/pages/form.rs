//! What was typed into a form, field by field: a name may come several times, as that of a row of check boxes does.

use serde::Deserialize;

use crate::problem::Problem;

/// The fields in the order in which they were sent.
#[derive(Deserialize)]
#[serde(transparent)]
pub struct Typed(Vec<(String, String)>);

impl Typed {
    /// What was typed into a field; nothing where it was left empty.
    pub fn one(&self, name: &str) -> Option<String> {
        self.all(name).into_iter().next()
    }

    /// Everything that was chosen of one name.
    pub fn all(&self, name: &str) -> Vec<String> {
        let fields = self.0.iter().filter(|(field, value)| field == name && !value.trim().is_empty());
        fields.map(|(_, value)| value.trim().to_owned()).collect()
    }

    /// A secret, just as it was typed.
    pub fn secret(&self, name: &str) -> String {
        self.0.iter().find(|(field, _)| field == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    /// What must be typed.
    pub fn needed(&self, name: &str) -> Result<String, Problem> {
        self.one(name).ok_or_else(|| Problem::bad(format!("the field `{name}` is empty: go back and fill it in")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_may_come_several_times_and_what_is_empty_is_not_there() {
        let fields = [("copy", "a"), ("copy", " b "), ("to", " "), ("password", " x ")];
        let typed = Typed(fields.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec());
        assert_eq!(typed.all("copy"), ["a", "b"]);
        assert_eq!((typed.one("to"), typed.one("other")), (None, None));
        assert!(typed.needed("to").is_err());
        assert_eq!(typed.secret("password"), " x ", "blanks are part of a password");
    }
}
