//! The accounts of a snapshot, on their way into a server that has some of its own.

use std::collections::BTreeSet;

use super::sql::{Part, Reader, quoted_name};

/// Somebody who may log in, or a role: a user and a host, which MariaDB's roles lack.
pub type Account = (String, String);

/// What is to be done about accounts.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The statements that make those that are missing, and say what they may do.
    pub sql: String,
    /// Those that are there already, and stay as they are.
    pub left: BTreeSet<String>,
}

/// What of `users.sql` is to be run on a server that has the accounts `there`. Fails, with what is wrong, where it is not as
/// captures write it.
pub fn plan(users: &str, there: &BTreeSet<Account>) -> Result<Plan, String> {
    let mut plan = Plan::default();
    for statement in statements(users)? {
        let account = subject(statement).ok_or("it has a statement about nobody")?;
        if there.contains(&account) {
            plan.left.insert(shown(account));
        } else {
            plan.sql.push_str(statement);
            plan.sql.push('\n');
        }
    }
    Ok(plan)
}

/// The accounts that `users.sql` makes, for messages. Fails, with what is wrong, where it is not as captures write it.
pub fn made_by(users: &str) -> Result<Vec<String>, String> {
    let made = statements(users)?.into_iter().filter(|statement| statement.starts_with("CREATE "));
    Ok(made.filter_map(subject).map(shown).collect())
}

/// Whom the statement on this line of `sql` is about, the first being 1.
pub fn at_line(sql: &str, line: usize) -> Option<String> {
    sql.lines().nth(line.checked_sub(1)?).and_then(subject).map(shown)
}

/// Fails, with what is wrong, where `users.sql` is not as captures write it, so that no restore would understand it.
pub fn check(users: &str) -> Result<(), String> {
    plan(users, &BTreeSet::new()).map(drop)
}

fn shown((user, host): Account) -> String {
    if host.is_empty() { user } else { format!("{user}@{host}") }
}

fn statements(users: &str) -> Result<Vec<&str>, String> {
    let (mut reader, mut at, mut from) = (Reader::default(), 0, 0);
    let mut statements = Vec::new();
    while at < users.len() {
        let (length, part) = reader.take(&users.as_bytes()[at..])?;
        at += length;
        if matches!(part, Some(Part::Statement { .. })) {
            statements.push(users[from..at].trim());
            from = at;
        } else if length == 0 && reader.is_at_top() {
            break;
        }
    }
    if !users[from..].trim().is_empty() {
        return Err("its last statement has no end".to_owned());
    }
    Ok(statements)
}

/// Whom a statement is about: the account after `CREATE … IF NOT EXISTS`, or else the one after the last ` TO ` or ` FOR ` that
/// is no part of a name.
fn subject(statement: &str) -> Option<Account> {
    if statement.starts_with("CREATE ") {
        return account(statement.split_once(" IF NOT EXISTS ")?.1);
    }
    let (mut quote, mut found) = (None, None);
    for (at, letter) in statement.char_indices() {
        match (quote, letter) {
            (None, '`' | '\'' | '"') => quote = Some(letter),
            (Some(open), _) if open == letter => quote = None,
            (None, ' ') => {
                let rest = &statement[at..];
                let after = [" TO ", " FOR "].iter().find_map(|word| rest.strip_prefix(word));
                found = after.and_then(account).or(found);
            }
            _ => {}
        }
    }
    found
}

/// The account that a text begins with, such as `` `me`@`%` ``.
fn account(text: &str) -> Option<Account> {
    let (user, rest) = name(text)?;
    let host = rest.strip_prefix('@').and_then(name).map(|(host, _)| host);
    Some((user, host.unwrap_or_default()))
}

/// The name in quotes of any kind that a text begins with, and what follows it.
fn name(text: &str) -> Option<(String, &str)> {
    let quote = text.chars().next().filter(|quote| ['`', '\''].contains(quote))?;
    let mut end = 1;
    loop {
        end += text[end..].find(quote)? + 1;
        if !text[end..].starts_with(quote) {
            break;
        }
        end += 1;
    }
    let name = match quote {
        '`' => quoted_name(&text.as_bytes()[..end])?,
        _ => text[1..end - 1].replace("''", "'"),
    };
    Some((name, &text[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "CREATE ROLE IF NOT EXISTS `readers`;\n\
        CREATE USER IF NOT EXISTS `o'brien`@`%` IDENTIFIED BY PASSWORD '*12;34';\n\
        CREATE USER IF NOT EXISTS `root`@`localhost` IDENTIFIED BY PASSWORD '*AB';\n\
        GRANT SELECT ON `TO ``x`.* TO `readers`;\n\
        GRANT `readers` TO `o'brien`@`%`;\n\
        GRANT ALL PRIVILEGES ON *.* TO `root`@`localhost` IDENTIFIED BY PASSWORD '*AB' WITH GRANT OPTION;\n\
        SET DEFAULT ROLE `readers` FOR `o'brien`@`%`;\n";

    fn pair(user: &str, host: &str) -> Account {
        (user.to_owned(), host.to_owned())
    }

    #[test]
    fn those_that_are_there_stay_as_they_are() {
        let plan = plan(USERS, &BTreeSet::from([pair("root", "localhost"), pair("o'brien", "localhost")])).unwrap();
        assert_eq!(plan.left, BTreeSet::from(["root@localhost".to_owned()]));
        let expected: Vec<_> = USERS.lines().filter(|line| !line.contains("root")).collect();
        assert_eq!(plan.sql.lines().collect::<Vec<_>>(), expected);
        assert_eq!(super::plan("", &BTreeSet::new()), Ok(Plan::default()));
        assert_eq!(at_line(&plan.sql, 2).as_deref(), Some("o'brien@%"));
        assert_eq!((at_line(&plan.sql, 0), at_line(&plan.sql, 99)), (None, None));
        assert_eq!(made_by(USERS).unwrap(), ["readers", "o'brien@%", "root@localhost"]);
    }

    #[test]
    fn it_is_known_whom_a_statement_is_about() {
        assert_eq!(
            subject("GRANT PROXY ON ''@'%' TO 'root'@'localhost' WITH GRANT OPTION;"),
            Some(pair("root", "localhost"))
        );
        assert_eq!(subject("GRANT SELECT ON `a TO b`.* TO `x``y`@`::1`;"), Some(pair("x`y", "::1")));
        assert_eq!(subject("FLUSH PRIVILEGES;"), None);
        assert!(plan("GRANT SELECT ON *.* TO `a`", &BTreeSet::new()).is_err());
        assert!(plan("FLUSH PRIVILEGES;", &BTreeSet::new()).is_err());
        // As a server with ANSI_QUOTES would write it.
        assert!(check("GRANT USAGE ON *.* TO \"a\"@\"%\";\n").is_err() && check(USERS).is_ok());
    }
}
