//! What a database is besides what is in it: whose, who may use it, with which settings, how it sorts. No table tells of that, so
//! a restore could lose it unseen.

use std::collections::{BTreeMap, BTreeSet};

use repository::SourceError;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};

use super::inventory;
use super::names::literal;
use super::session::Session;

/// The fact that holds the properties of a database.
pub const PROPERTIES: &str = "properties";
/// By what text is sorted, among the properties. A server that lacks these rules says nothing of a backup.
const LOCALE: &str = "locale";
/// Settings of the database, by role, among the properties.
const SETTINGS: &str = "settings";
/// Digits by which the value of a setting is told from another that may not be shown.
const MARK_BYTES: usize = 4;

/// Also of servers that lack some of these columns. `database` is SQL.
fn question(database: &str) -> String {
    format!(
        "SELECT pg_get_userbyid(d.datdba) AS owner, d.datconnlimit AS connection_limit, d.datistemplate AS is_template, \
         shobj_description(d.oid, 'pg_database') AS comment, \
         CASE coalesce(to_jsonb(d)->>'datlocprovider', 'c') WHEN 'c' THEN 'libc' WHEN 'i' THEN 'icu' WHEN 'b' THEN 'builtin' \
           ELSE to_jsonb(d)->>'datlocprovider' END AS provider, \
         d.datcollate AS collate, d.datctype AS ctype, \
         coalesce(to_jsonb(d)->>'datlocale', to_jsonb(d)->>'daticulocale') AS locale, to_jsonb(d)->>'daticurules' AS rules, \
         (SELECT jsonb_object_agg(s.provider, s.label) FROM pg_shseclabel s \
           WHERE s.classoid = 'pg_database'::regclass AND s.objoid = d.oid) AS labels, \
         (SELECT json_agg(json_build_object('to', CASE a.grantee WHEN 0 THEN '{EVERYBODY}' ELSE pg_get_userbyid(a.grantee) END, \
             'right', a.privilege_type, 'may_give', a.is_grantable, \
             'by', CASE WHEN a.grantor <> d.datdba THEN pg_get_userbyid(a.grantor) END)) \
           FROM aclexplode(coalesce(d.datacl, acldefault('d', d.datdba))) a) AS rights, \
         (SELECT json_agg(json_build_object('of', CASE s.setrole WHEN 0 THEN '{EVERYBODY}' ELSE pg_get_userbyid(s.setrole) END, \
             'set', s.setconfig)) FROM pg_db_role_setting s WHERE s.setdatabase = d.oid) AS settings \
         FROM pg_database d WHERE d.datname = {database}"
    )
}

/// What SQL calls all roles; none can have this name.
const EVERYBODY: &str = "public";

#[derive(Deserialize)]
struct Row {
    owner: String,
    connection_limit: i64,
    is_template: bool,
    comment: Option<String>,
    provider: String,
    collate: String,
    ctype: String,
    locale: Option<String>,
    rules: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    rights: Option<Vec<Right>>,
    settings: Option<Vec<Settings>>,
}

#[derive(Deserialize)]
struct Right {
    to: String,
    right: String,
    may_give: bool,
    by: Option<String>,
}

#[derive(Deserialize)]
struct Settings {
    of: String,
    set: Vec<String>,
}

/// The properties of the session's own database. `None` where they cannot be read.
pub fn of_own(session: &mut Session) -> Result<Option<Value>, SourceError> {
    // Its name, as the session would write it, may be in another encoding than all databases share.
    read(session, "current_database()")
}

/// Those of any database, which need not let anybody in. `None` where they cannot be read.
pub fn of(session: &mut Session, database: &str) -> Result<Option<Value>, SourceError> {
    read(session, &literal(database))
}

fn read(session: &mut Session, database: &str) -> Result<Option<Value>, SourceError> {
    let rows: Option<Vec<Row>> = inventory::as_stored(session, &question(database))?;
    Ok(rows.and_then(|rows| rows.into_iter().next()).map(of_row))
}

fn of_row(row: Row) -> Value {
    let locale = json!({
        "provider": row.provider, "collate": row.collate, "ctype": row.ctype, "locale": row.locale, "rules": row.rules,
    });
    let mut properties = json!({
        "owner": row.owner, "connection_limit": row.connection_limit, "is_template": row.is_template,
        "rights": rights(row.rights.unwrap_or_default()), LOCALE: locale,
    });
    // What few databases have is not told of all others.
    let more = [
        ("comment", row.comment.map(Value::from)),
        ("labels", row.labels.map(|labels| json!(labels))),
        (SETTINGS, row.settings.map(|settings| json!(by_role(settings)))),
    ];
    for (name, value) in more {
        if let Some(value) = value {
            properties[name] = value;
        }
    }
    properties
}

/// The names of those that differ.
pub fn differing<'a>(recorded: &'a Value, found: &'a Value) -> Vec<&'a str> {
    let names = [recorded, found].into_iter().filter_map(Value::as_object).flat_map(Map::keys);
    let names: BTreeSet<&str> = names.map(String::as_str).collect();
    names.into_iter().filter(|name| recorded.get(*name) != found.get(*name)).collect()
}

/// Takes over what a drill's server cannot have, which says nothing of the backup: rules of sorting, where it `lacks_locale`, and
/// settings that it `refused`. What else was refused stays to be told.
pub fn forgive(recorded: &Value, found: &mut Value, lacks_locale: bool, refused: &mut Vec<String>) {
    if lacks_locale {
        found[LOCALE] = recorded[LOCALE].clone();
    }
    let settings = recorded[SETTINGS].as_object().into_iter().flatten();
    for (role, name, value) in settings.flat_map(|(role, set)| named(role, set)) {
        let parameter = format!("parameter \"{name}\"");
        let before = refused.len();
        refused.retain(|what| !what.contains(&parameter));
        if refused.len() < before {
            found[SETTINGS][role][name] = value.clone();
        }
    }
}

/// The settings of a role, by name.
fn named<'a>(role: &'a str, set: &'a Value) -> impl Iterator<Item = (&'a str, &'a str, &'a Value)> {
    set.as_object().into_iter().flatten().map(move |(name, value)| (role, name.as_str(), value))
}

/// By role, what it may do.
fn rights(rights: Vec<Right>) -> BTreeMap<String, Vec<String>> {
    let mut by_role = BTreeMap::<String, Vec<String>>::new();
    for Right { to, right, may_give, by } in rights {
        let may_give = if may_give { " and may grant it" } else { "" };
        let by = by.map_or(String::new(), |by| format!(", by {by}"));
        by_role.entry(to).or_default().push(format!("{right}{may_give}{by}"));
    }
    by_role.values_mut().for_each(|rights| rights.sort());
    by_role
}

/// By role, and of all, the settings by name.
fn by_role(settings: Vec<Settings>) -> BTreeMap<String, Map<String, Value>> {
    let pairs = |set: Vec<String>| set.into_iter().map(|one| shown(&one)).collect();
    settings.into_iter().map(|Settings { of, set }| (of, pairs(set))).collect()
}

/// Of `NAME=VALUE`, both; but of a name that is the application's own, where a secret may lie, what tells it from others.
fn shown(setting: &str) -> (String, Value) {
    let (name, value) = setting.split_once('=').unwrap_or((setting, ""));
    if !name.contains('.') {
        return (name.to_owned(), value.into());
    }
    let mark: String = Sha256::digest(value)[..MARK_BYTES].iter().map(|byte| format!("{byte:02x}")).collect();
    (name.to_owned(), format!("a value with the mark {mark}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_of_a_drill_cannot_have_is_no_difference_and_all_else_is() {
        let recorded =
            json!({ "owner": "a", LOCALE: { "locale": "de" }, SETTINGS: { "public": { "lc_time": "de", "a": "1" } } });
        let mut found = json!({ "owner": "b", LOCALE: { "locale": null }, "comment": "c" });
        let mut refused = vec!["invalid value for parameter \"lc_time\": \"de\"".to_owned(), "role lacks".to_owned()];
        forgive(&recorded, &mut found, true, &mut refused);
        assert_eq!(refused, ["role lacks"]);
        assert_eq!(found[SETTINGS], json!({ "public": { "lc_time": "de" } }));
        assert_eq!(differing(&recorded, &found), ["comment", "owner", SETTINGS]);
    }

    #[test]
    fn what_may_be_a_secret_is_told_by_a_mark_alone() {
        assert_eq!(shown("work_mem=8MB"), ("work_mem".to_owned(), "8MB".into()));
        let (name, one) = shown("app.jwt_secret=hunter2=");
        assert_eq!(name, "app.jwt_secret");
        assert!(one != shown("app.jwt_secret=hunter3").1 && !one.to_string().contains("hunter"), "{one}");
    }
}
