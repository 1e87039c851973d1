//! How databases become files, and names and texts become SQL.

/// The file of a database in the snapshot. What would not be a plain name is written as `%` and its byte in hexadecimal digits.
pub fn file_name(database: &str) -> String {
    let mut name = String::new();
    for (at, letter) in database.char_indices() {
        if matches!(letter, '/' | '%') || letter.is_ascii_control() || (letter == '.' && at == 0) {
            name.push_str(&format!("%{:02x}", u32::from(letter)));
        } else {
            name.push(letter);
        }
    }
    name + ".sql"
}

/// A name as SQL has it, whatever is in it.
pub fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// A text as SQL has it.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A value as the client prints it in batch mode, where it writes some letters with a backslash.
pub fn unescaped(value: &str) -> String {
    let (mut plain, mut letters) = (String::new(), value.chars());
    while let Some(letter) = letters.next() {
        match (letter, letter == '\\') {
            (_, false) => plain.push(letter),
            (_, true) => match letters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some('0') => plain.push('\0'),
                Some(other) => plain.push(other),
                None => plain.push('\\'),
            },
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_name_of_a_database_is_a_name_of_a_file_and_no_two_are_the_same() {
        let names = ["shop", "a/b", "a%2fb", ".hidden", "..", "two words", "a\nb", "\u{e4}\u{4e2d}"];
        let files = names.map(file_name);
        assert_eq!(files[1..5], ["a%2fb.sql", "a%252fb.sql", "%2ehidden.sql", "%2e..sql"]);
        let unique: std::collections::BTreeSet<_> = files.iter().collect();
        assert_eq!(unique.len(), names.len());
    }

    #[test]
    fn names_and_texts_are_quoted_and_what_the_client_prints_is_read_back() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
        assert_eq!(unescaped("a\\tb\\\\n\\nc\\0"), "a\tb\\n\nc\0");
    }
}
