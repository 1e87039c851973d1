use proptest::prelude::*;

use super::*;

/// A part, owned.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Read {
    Comment(String),
    Statement(String, u64, bool),
}

/// Reads a dump that comes in pieces of `size` bytes.
fn read_in(dump: &[u8], size: usize) -> Result<Vec<Read>, String> {
    let (mut reader, mut waiting, mut parts) = (Reader::default(), Vec::new(), Vec::new());
    for piece in dump.chunks(size) {
        waiting.extend_from_slice(piece);
        loop {
            let (length, part) = reader.take(&waiting)?;
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let has_part = part.is_some();
            parts.extend(part.map(|part| match part {
                Part::Comment(line) => Read::Comment(text(line)),
                Part::Statement { head, rows, is_body } => Read::Statement(text(head), rows, is_body),
            }));
            waiting.drain(..length);
            if length == 0 && !has_part && (reader.is_at_top() || waiting.is_empty()) {
                break;
            }
        }
    }
    if reader.is_at_top() { Ok(parts) } else { Err("it ends within a statement".to_owned()) }
}

fn read(dump: &str) -> Vec<Read> {
    read_in(dump.as_bytes(), usize::MAX).unwrap()
}

fn statement(text: &str, rows: u64) -> Read {
    Read::Statement(text.to_owned(), rows, false)
}

fn comment(text: &str) -> Read {
    Read::Comment(text.to_owned())
}

#[test]
fn rows_are_counted_whatever_stands_in_texts() {
    for (insert, rows) in [
        ("INSERT INTO `t` VALUES\n(1,'a;b\\n\\'x\\\\',0x00FF,1.5),\n(2,NULL,-3,'),('),(3,'it''s');", 3),
        ("INSERT INTO `VALUES (` VALUES (1),(2);", 2),
        ("INSERT INTO `t` (`a`, `b`) VALUES (1,'(('),(2,_binary '\\\\');", 2),
        ("INSERT INTO `a``(b` VALUES (1);", 1),
        ("INSERT INTO `t` VALUES ();", 1),
        ("INSERT INTO `t` VALUES ('-- no comment;\n# none either /* '),('\u{1f600}');", 2),
    ] {
        assert_eq!(read(insert), [statement(insert, rows)], "{insert}");
    }
}

#[test]
fn lines_within_a_body_are_no_comments_of_the_dump() {
    let body = "CREATE PROCEDURE `p`()\nbegin\n-- Current Database: `x`; it's\n# don't;;\n/* ;; ' */ select ';;', 5--1;\nend\n;;";
    let dump = format!("-- first\n\nDELIMITER ;;\n{body}\nDELIMITER ;\n\n-- second\nSELECT 1;\n-- third");
    let expected = [
        comment("-- first"),
        Read::Statement(body.to_owned(), 0, true),
        comment("-- second"),
        statement("SELECT 1;", 0),
    ];
    assert_eq!(read(&dump), expected);
}

#[test]
fn what_stands_in_a_comment_for_certain_versions_is_sql() {
    let trigger = "/*!50003 CREATE*/ /*!50003 trigger tr before insert on t for each row begin set new.v = ';;'; /* it's */ end \n*/;;";
    let dump = format!(
        "/*M!999999\\- enable the sandbox mode */ \n-- next\nDELIMITER ;;\n{trigger}\nDELIMITER ;\n/*!40000 ALTER TABLE `t` ENABLE KEYS */;\n"
    );
    let expected = [
        comment("/*M!999999\\- enable the sandbox mode */"),
        comment("-- next"),
        Read::Statement(trigger.to_owned(), 0, true),
        statement("/*!40000 ALTER TABLE `t` ENABLE KEYS */;", 0),
    ];
    assert_eq!(read(&dump), expected);
}

#[test]
fn a_mode_may_make_plain_letters_of_backslashes() {
    let set = "/*!50003 SET sql_mode              = 'NO_BACKSLASH_ESCAPES' */ ;";
    let back = "/*!50003 SET sql_mode              = @saved_sql_mode */ ;";
    let body = "select '\\'\n;;";
    let dump = format!("{set}\nDELIMITER ;;\n{body}\nDELIMITER ;\n{back}\nselect '\\';';\n");
    let expected = [
        statement(set, 0),
        Read::Statement(body.to_owned(), 0, true),
        statement(back, 0),
        statement("select '\\';';", 0),
    ];
    assert_eq!(read(&dump), expected);
}

#[test]
fn a_dump_that_ends_within_a_statement_or_has_endless_lines_is_refused() {
    for cut in ["INSERT INTO `t` VALUES (1", "INSERT INTO `t` VALUES ('a;", "SELECT 1", "DELIMITER ;;\nSELECT 1;"] {
        assert!(read_in(cut.as_bytes(), 5).is_err(), "{cut}");
    }
    let endless = format!("-- {}", "x".repeat(100_000));
    assert_eq!(read_in(endless.as_bytes(), 1000), Err("has an endless line".to_owned()));
}

#[test]
fn of_a_long_statement_only_the_beginning_is_kept() {
    let long = format!("INSERT INTO `t` VALUES {}('{}');", "(1),".repeat(10_000), "x".repeat(100_000));
    let parts = read_in(long.as_bytes(), 1000).unwrap();
    let [Read::Statement(head, 10_001, false)] = &*parts else { panic!("{} parts", parts.len()) };
    assert_eq!(head.len(), HEAD_BYTES_MAX);
}

#[test]
fn names_are_read_out_of_their_quotes() {
    assert_eq!(quoted_name(b"`a``b` VALUES").as_deref(), Some("a`b"));
    assert_eq!(quoted_name(b"``").as_deref(), Some(""));
    for broken in [&b"a"[..], b"`a", b"`a``"] {
        assert_eq!(quoted_name(broken), None);
    }
}

proptest! {
    #[test]
    fn however_a_dump_is_parted_it_reads_the_same(
        texts in prop::collection::vec("[a(),;'\"`\\\\*/# -]{0,12}", 1..20),
        size in 1..40_usize,
    ) {
        let rows: Vec<_> = texts
            .iter()
            .map(|text| format!("(1,'{}')", text.replace('\\', "\\\\").replace('\'', "\\'")))
            .collect();
        let dump = format!("-- a dump\nINSERT INTO `t` VALUES {};\nSELECT 1;\n", rows.join(","));
        let whole = read_in(dump.as_bytes(), usize::MAX);
        prop_assert_eq!(&whole, &read_in(dump.as_bytes(), size));
        let counted = whole.unwrap().into_iter().find_map(|part| match part {
            Read::Statement(_, rows, _) => Some(rows),
            Read::Comment(_) => None,
        });
        prop_assert_eq!(counted, Some(texts.len() as u64));
    }

    #[test]
    fn any_bytes_are_parted_and_nothing_breaks(bytes in prop::collection::vec(any::<u8>(), 0..200), size in 1..50_usize) {
        let _ = read_in(&bytes, size);
    }
}
