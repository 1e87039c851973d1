use super::*;

const HEAD: &str = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\n/*!40101 SET NAMES utf8mb4 */;\n\
    -- CHANGE MASTER TO MASTER_LOG_FILE='binlog.000001', MASTER_LOG_POS=826;\n\n";
const TAIL: &str =
    "\n-- SET GLOBAL gtid_slave_pos='0-1-29';\n/*!40111 SET SQL_NOTES=@OLD_SQL_NOTES */;\n\n-- Dump completed\n";
const A: &str = "--\n-- Current Database: `a`\n--\nUSE `a`;\nCREATE SEQUENCE `s` start with 1;\nCREATE TABLE `t` (\n  `id` int\n);\n\
    INSERT INTO `t` VALUES\n(1),\n(2);\nINSERT INTO `t` VALUES (3);\nCREATE TABLE `empty` (`id` int);\nDELIMITER ;;\n\
    /*!50003 CREATE*/ /*!50003 trigger x before insert on t for each row begin\n-- Current Database: `b`\nend */;;\n\
    /*!50106 CREATE*/ /*!50106 EVENT `e` DO select 1 */ ;;\nCREATE DEFINER=`root`@`%` PROCEDURE `p`()\nselect 1\n;;\nDELIMITER ;\n";
const B: &str = "--\n-- Current Database: `b``c`\n--\nUSE `b``c`;\n";
const VIEWS: &str = "--\n-- Current Database: `a`\n--\nUSE `a`;\n/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`ghost`@`%` */\n\
    /*!50001 VIEW `v` AS select 1 AS `x` */;\n--\n-- Current Database: `b``c`\n--\nUSE `b``c`;\n";

/// The files of a dump that comes in pieces of `size` bytes, and what they hold.
/// The files, what each database holds, and where the binary log was.
type Parted = (Vec<String>, BTreeMap<String, Held>, LogPosition);

fn split(dump: &str, size: usize) -> Result<Parted, String> {
    let mut splitter = Splitter::new(vec!["a".to_owned(), "b`c".to_owned()]);
    for piece in dump.as_bytes().chunks(size) {
        splitter.push(piece)?;
    }
    let (held, position) = splitter.finish()?;
    let mut files = vec![Vec::new(); 3];
    for (file, piece) in splitter.pieces().drain(..) {
        files[file].extend(piece);
    }
    Ok((files.into_iter().map(|file| String::from_utf8(file).unwrap()).collect(), held, position))
}

#[test]
fn each_database_gets_a_file_and_all_views_one() {
    let dump = [HEAD, A, B, VIEWS, TAIL].concat();
    let (files, held, position) = split(&dump, usize::MAX).unwrap();
    let preamble = "/*M!999999\\- enable the sandbox mode */ \n-- MariaDB dump\n/*!40101 SET NAMES utf8mb4 */;";
    for file in &files {
        assert!(file.starts_with(preamble), "{file}");
        assert!(!file.contains("CHANGE MASTER") && !file.contains("gtid"), "{file}");
    }
    assert!(files[0].contains("PROCEDURE `p`") && files[0].contains("\n-- Current Database: `b`\nend"), "{}", files[0]);
    assert!(files[1].contains("USE `b``c`;") && !files[1].contains("`a`"), "{}", files[1]);
    assert!(files[2].contains("VIEW `v`") && files[2].trim_end().ends_with("-- Dump completed"), "{}", files[2]);
    let tables = BTreeMap::from([("t".to_owned(), 3), ("empty".to_owned(), 0)]);
    let a = Held { tables, sequences: 1, views: 1, routines: 1, triggers: 1, events: 1 };
    assert_eq!(held, BTreeMap::from([("a".to_owned(), a), ("b`c".to_owned(), Held::default())]));
    let expected = LogPosition { file: Some(("binlog.000001".to_owned(), 826)), gtid: Some("0-1-29".to_owned()) };
    assert_eq!(position, expected);
    for size in [1, 2, 3, 7, 64, 1000] {
        assert_eq!(split(&dump, size).unwrap().0, files, "in pieces of {size} bytes");
    }
}

#[test]
fn a_dump_of_mariadb_itself_is_parted() {
    let mut splitter = Splitter::new(vec!["a".to_owned(), "b".to_owned()]);
    splitter.push(include_bytes!("fixtures/mariadb-10.11.sql")).unwrap();
    let (held, position) = splitter.finish().unwrap();
    let tables = BTreeMap::from([("t".to_owned(), 2)]);
    let a = Held { tables, sequences: 1, views: 1, routines: 1, triggers: 1, events: 0 };
    assert_eq!(held, BTreeMap::from([("a".to_owned(), a), ("b".to_owned(), Held { events: 1, ..Held::default() })]));
    assert!(position.file.is_some() && position.gtid.is_some());
}

#[test]
fn without_views_there_is_a_file_that_says_so() {
    let (files, ..) = split(&[HEAD, A, B, TAIL].concat(), 100).unwrap();
    assert!(files[2].ends_with("-- There are no views.\n"), "{}", files[2]);
}

#[test]
fn what_lacks_its_end_or_a_database_is_no_dump() {
    let refused = |parts: &[&str]| split(&parts.concat(), 50).unwrap_err();
    let early = "gave a dump that ends early: its last line is not `-- Dump completed`";
    assert_eq!(refused(&[]), early);
    assert_eq!(refused(&[HEAD, A, B, VIEWS]), early);
    assert_eq!(refused(&[HEAD, A, B, TAIL, "INSERT INTO `t` VALUES (1);\n"]), early);
    assert_eq!(refused(&[HEAD, A, TAIL]), "gave a dump without the database b`c");
    assert_eq!(refused(&[HEAD, B, A, TAIL]), "gave a dump with the database b`c at a place that is not its own");
    assert_eq!(
        refused(&[HEAD, &A.replace("`a`", "`other`"), B, TAIL]),
        "gave a dump with the database other at a place that is not its own"
    );
    let denied = "-- insufficient privileges to SHOW CREATE PROCEDURE `p`\n";
    let told = refused(&[HEAD, A, denied, B, TAIL]);
    assert!(told.starts_with("left something out: insufficient privileges to SHOW CREATE PROCEDURE `p`; "), "{told}");
    assert!(told.contains("GRANT SELECT ON mysql.proc TO the user"), "{told}");
    let all: String = [HEAD, A, B, VIEWS, TAIL].concat();
    let end = all.find("-- Dump completed").unwrap();
    for at in 0..end {
        assert!(split(&all[..at], usize::MAX).is_err(), "cut at {at}");
    }
}

#[test]
fn the_position_in_the_log_is_read_as_both_kinds_write_it() {
    let position = log_position("-- CHANGE REPLICATION SOURCE TO SOURCE_LOG_FILE='bin.000002', SOURCE_LOG_POS=157;");
    assert_eq!(position, Some(("bin.000002".to_owned(), 157)));
    assert_eq!(log_position("-- CHANGE MASTER TO nothing"), None);
}
