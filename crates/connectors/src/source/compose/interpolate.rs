//! Variables in compose files, and `.env` files that set them, by the rules of the Compose specification ("Interpolation")
//! and Docker's page on `.env` files ("Env-file syntax").

use std::collections::BTreeMap;

/// Defaults may hold variables with defaults, and so on, this deep.
const DEPTH_MAX: u32 = 32;
/// Longer text is no path and no image, before and after its variables are replaced: it stays as it is, so that no text
/// takes long, nor do variables that double each other.
const TEXT_BYTES_MAX: usize = 8 << 10;

/// Replaces the variables in `text`. Fails with the name of one that must be set and is not; one that may be unset is
/// replaced by nothing. What is not the form of a variable stays as it is.
pub fn interpolate(text: &str, value: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    if text.len() > TEXT_BYTES_MAX {
        return Ok(text.to_owned());
    }
    let replaced = replace(text, value, 0)?;
    Ok(if replaced.len() > TEXT_BYTES_MAX { text.to_owned() } else { replaced })
}

/// Replaces until the end, or until the result is too long to be of use.
fn replace(text: &str, value: &dyn Fn(&str) -> Option<String>, depth: u32) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    let mut rest = text;
    while replaced.len() <= TEXT_BYTES_MAX
        && let Some(at) = rest.find('$')
    {
        replaced.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix('$') {
            replaced.push('$');
            rest = after;
        } else if let Some((inner, after)) = braced(rest)
            && depth < DEPTH_MAX
            && name_length(inner) > 0
        {
            replaced.push_str(&expand(inner, value, depth)?);
            rest = after;
        } else if name_length(rest) > 0 {
            let (name, after) = rest.split_at(name_length(rest));
            replaced.push_str(&value(name).unwrap_or_default());
            rest = after;
        } else {
            replaced.push('$');
        }
    }
    replaced.push_str(rest);
    Ok(replaced)
}

/// The inside of the braces that `text` begins with, and what follows them.
fn braced(text: &str) -> Option<(&str, &str)> {
    let mut open = 0;
    for (at, c) in text.char_indices() {
        match c {
            '{' => open += 1,
            '}' if open == 1 => return Some((&text[1..at], &text[at + 1..])),
            '}' => open -= 1,
            _ if open == 0 => return None,
            _ => {}
        }
    }
    None
}

fn name_length(text: &str) -> usize {
    let is_start = text.starts_with(|c: char| c == '_' || c.is_ascii_alphabetic());
    let end = text.find(|c: char| c != '_' && !c.is_ascii_alphanumeric()).unwrap_or(text.len());
    if is_start { end } else { 0 }
}

/// What stands between braces: a name, and what to do where it is unset (or, with a colon, empty).
fn expand(inner: &str, value: &dyn Fn(&str) -> Option<String>, depth: u32) -> Result<String, String> {
    let (name, form) = inner.split_at(name_length(inner));
    let found = value(name);
    let (form, found) = match form.strip_prefix(':') {
        Some(form) => (form, found.filter(|found| !found.is_empty())),
        None => (form, found),
    };
    let argument = form.get(1..).unwrap_or_default();
    match (form.chars().next(), found) {
        (Some('-'), None) | (Some('+'), Some(_)) => replace(argument, value, depth + 1),
        (Some('?'), None) => Err(name.to_owned()),
        (Some('+'), None) => Ok(String::new()),
        (_, found) => Ok(found.unwrap_or_default()),
    }
}

/// The variables that the text of a `.env` file sets. Later ones may use earlier ones and those of `outer`, which win.
/// Lines that set nothing are passed over.
pub fn parse_env_file(text: &str, outer: &dyn Fn(&str) -> Option<String>) -> BTreeMap<String, String> {
    parse_with(text, &|value, variables| look_up(value, variables, outer))
}

/// The same for a file that is not written for Compose: every `$` means itself, as in a password.
pub fn parse_plain_env_file(text: &str) -> BTreeMap<String, String> {
    parse_with(text, &|value, _| value.to_owned())
}

/// Reads a `.env` file, where `replaced` gives what a value means that is not in single quotes.
fn parse_with(text: &str, replaced: &dyn Fn(&str, &BTreeMap<String, String>) -> String) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::new();
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    while !rest.is_empty() {
        let line_length = rest.find('\n').map_or(rest.len(), |at| at + 1);
        let line = rest[..line_length].trim();
        let line = line.strip_prefix("export ").map_or(line, str::trim_start);
        let name_length = name_length_in_env_file(line);
        let after_name = line[name_length..].trim_start();
        let (name, is_set) = (&line[..name_length], after_name.starts_with(['=', ':']));
        if name.is_empty() || !is_set {
            rest = &rest[line_length..];
            continue;
        }
        let value = after_name[1..].trim_start();
        let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
        // Quoted values may span lines, so they are looked for in all of the rest.
        let quoted = quote.and_then(|quote| {
            let start = line_length_to(rest, value);
            Some((quote, unquoted(&rest[start..], quote)?, start))
        });
        let value = match quoted {
            Some((quote, (value, length), start)) => {
                let after = &rest[start + length..];
                rest = after.find('\n').map_or("", |at| &after[at + 1..]);
                if quote == '\'' { value } else { replaced(&value, &variables) }
            }
            None => {
                rest = &rest[line_length..];
                let end = value.find(" #").or_else(|| value.find("\t#")).unwrap_or(value.len());
                let value = if value.starts_with('#') { "" } else { value[..end].trim_end() };
                replaced(value, &variables)
            }
        };
        variables.insert(name.to_owned(), value);
    }
    variables
}

/// Names in `.env` files may also have dots and dashes.
fn name_length_in_env_file(line: &str) -> usize {
    line.find(|c: char| !matches!(c, '_' | '.' | '-') && !c.is_ascii_alphanumeric()).unwrap_or(line.len())
}

/// Where `part`, a part of `whole`, begins in it.
fn line_length_to(whole: &str, part: &str) -> usize {
    part.as_ptr() as usize - whole.as_ptr() as usize
}

fn look_up(text: &str, variables: &BTreeMap<String, String>, outer: &dyn Fn(&str) -> Option<String>) -> String {
    interpolate(text, &|name| outer(name).or_else(|| variables.get(name).cloned())).unwrap_or_default()
}

/// The value between the quotes that `text` begins with, and the bytes it takes with them.
fn unquoted(text: &str, quote: char) -> Option<(String, usize)> {
    let mut value = String::new();
    let mut chars = text.char_indices().skip(1);
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, at + 1)),
            '\\' => match chars.next()?.1 {
                escaped if escaped == quote => value.push(escaped),
                'n' if quote == '"' => value.push('\n'),
                'r' if quote == '"' => value.push('\r'),
                't' if quote == '"' => value.push('\t'),
                '\\' if quote == '"' => value.push('\\'),
                other => value.extend(['\\', other]),
            },
            c => value.push(c),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn value(name: &str) -> Option<String> {
        match name {
            "SET" => Some("value".to_owned()),
            "EMPTY" => Some(String::new()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced_as_compose_does() {
        let cases = [
            ("a-${SET}-$SET.b", "a-value-value.b"),
            ("${NONE}|$NONE|${EMPTY}", "||"),
            ("${NONE:-x}${EMPTY:-y}${SET:-z}", "xyvalue"),
            ("${NONE-x}${EMPTY-y}${SET-z}", "xvalue"),
            ("${SET:+a}${EMPTY:+b}${EMPTY+c}${NONE+d}", "ac"),
            ("${SET:?must}${EMPTY?must}", "value"),
            ("${NONE:-${EMPTY:-in ${SET}}}!", "in value!"),
            ("$$SET $${SET} $5 ${ ${} $", "$SET ${SET} $5 ${ ${} $"),
        ];
        for (text, expected) in cases {
            assert_eq!(interpolate(text, &value).as_deref(), Ok(expected), "{text}");
        }
        for text in ["${NONE:?say why}", "${NONE?}", "${EMPTY:?}", "${EMPTY:-${NONE?}}"] {
            assert!(interpolate(text, &value).is_err(), "{text}");
        }
    }

    #[test]
    fn env_files_are_read_as_compose_does() {
        let text = "\u{feff}# comment\r\nA=1\r\n export B = two words # comment\nC='it''s' # x\nD=\"a\\n$A ${SET}\"\n\
            E='$A'\nF=\"line 1\nline 2\"\nG\nH=\nI=#none\nJ=a#b\nK: yaml\nSET=inner\nL=$SET\nM='open\nN.x-y=1";
        let expected = [
            ("A", "1"),
            ("B", "two words"),
            ("C", "it"),
            ("D", "a\n1 value"),
            ("E", "$A"),
            ("F", "line 1\nline 2"),
            ("H", ""),
            ("I", ""),
            ("J", "a#b"),
            ("K", "yaml"),
            ("L", "value"),
            ("M", "'open"),
            ("N.x-y", "1"),
            ("SET", "inner"),
        ];
        let variables = parse_env_file(text, &value);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(variables, expected);
    }

    #[test]
    fn in_plain_env_files_a_dollar_means_itself() {
        let text = "A=pa$sword\nB=\"${iso_date()}\\n$$\" # x\nC='$A'\nD=$A # x";
        let expected = [("A", "pa$sword"), ("B", "${iso_date()}\n$$"), ("C", "$A"), ("D", "$A")];
        let variables = parse_plain_env_file(text);
        let variables: Vec<_> = variables.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(variables, expected);
    }

    #[test]
    fn nesting_without_end_ends() {
        let deep = "${A:-".repeat(1_000) + &"}".repeat(1_000);
        assert!(interpolate(&deep, &value).is_ok());
        let long = "${".repeat(1 << 20);
        assert_eq!(interpolate(&long, &value), Ok(long));
    }

    #[test]
    fn variables_that_double_each_other_stay_short() {
        let doubling: String = (1..60).map(|n| format!("A{n}=$A{}$A{}\n", n - 1, n - 1)).collect();
        let variables = parse_env_file(&format!("A0=x\n{doubling}"), &value);
        assert_eq!(variables["A10"], "x".repeat(1 << 10));
        assert!(variables.values().all(|value| value.len() <= TEXT_BYTES_MAX));
    }

    proptest! {
        #[test]
        fn any_text_is_taken(text in "[\\PC\n\r\t${}:?+'\"=# -]{0,60}|\\PC*") {
            let _ = interpolate(&text, &value);
            let _ = parse_env_file(&text, &value);
        }

        #[test]
        fn text_without_variables_stays(text in "[^$]*") {
            prop_assert_eq!(interpolate(&text, &value), Ok(text));
        }
    }
}
