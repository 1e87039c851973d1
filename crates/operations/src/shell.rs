//! Text that users paste into a shell.

/// Quotes for a POSIX shell, where needed.
pub fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:@%+=".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        return text.to_owned();
    }
    format!("'{}'", text.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shell_text_is_quoted() {
        assert_eq!(quote("/srv/backup"), "/srv/backup");
        assert_eq!(quote("/srv/my backup's"), r"'/srv/my backup'\''s'");
    }
}
