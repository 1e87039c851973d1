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

/// Whether a piece of SQL speaks of something in this database: its name, quoted or not, and a dot. Also where that stands in a
/// text or a comment.
pub fn says(sql: &str, database: &str) -> bool {
    // Some servers do not tell capitals in names apart.
    let (sql, plain, quoted) = (sql.to_lowercase(), database.to_lowercase(), quoted(&database.to_lowercase()));
    let is_followed_by_dot = |end: usize| sql[end..].trim_start().starts_with('.');
    let in_name = |letter: char| letter.is_alphanumeric() || matches!(letter, '_' | '$' | '`');
    let is_quoted = || sql.match_indices(&quoted).any(|(at, found)| is_followed_by_dot(at + found.len()));
    let is_plain = || {
        let whole = |(at, found): (usize, &str)| {
            is_followed_by_dot(at + found.len())
                && !sql[..at].ends_with(|before: char| in_name(before) || before == '.')
        };
        !plain.is_empty() && sql.match_indices(&plain).any(whole)
    };
    is_quoted() || is_plain()
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
    fn what_speaks_of_a_database_is_known_from_what_only_has_its_name_in_it() {
        for sql in ["INSERT INTO shop.log", "select `shop` . `t`", "SELECT 1 FROM SHOP.t", "a,shop.t"] {
            assert!(says(sql, "shop"), "{sql}");
        }
        for sql in ["SELECT shop FROM t", "myshop.t", "shop2.t", "a.shop.b", "`my`shop.t", "SELECT 'shop'"] {
            assert!(!says(sql, "shop"), "{sql}");
        }
        assert!(says("`a``b`.t", "a`b") && !says("", "") && says("Ä.t", "ä"));
    }

    #[test]
    fn names_and_texts_are_quoted_and_what_the_client_prints_is_read_back() {
        assert_eq!(quoted("a`b"), "`a``b`");
        assert_eq!(literal("it's \\"), "'it''s \\\\'");
        assert_eq!(unescaped("a\\tb\\\\n\\nc\\0"), "a\tb\\n\nc\0");
    }
}
