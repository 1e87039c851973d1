CREATE DATABASE awkward CHARACTER SET utf8mb4;
CREATE DATABASE `odd ``na;me/..x` CHARACTER SET latin1;
CREATE TABLE `odd ``na;me/..x`.x (a INT);
INSERT INTO `odd ``na;me/..x`.x VALUES (1);
USE awkward;
CREATE TABLE types (
    id INT PRIMARY KEY AUTO_INCREMENT,
    a VARCHAR(200) COMMENT 'it''s; -- no comment',
    b BLOB,
    c DOUBLE,
    d DECIMAL(30, 10),
    e TIMESTAMP(6) NULL,
    f DATE,
    g ENUM('x', 'y;z'),
    h BIT(12),
    i JSON,
    j GEOMETRY,
    FULLTEXT (a)
);
INSERT INTO types VALUES
    (1, 'a;b\n''x\\', x'00ff0d0a1a2722', 1.5e-300, 12345678901234567890.0123456789, '2026-01-02 03:04:05.678901', '2026-02-28',
     'y;z', b'101010101010', '{"a": [1, "two"]}', ST_GeomFromText('POINT(1 2)')),
    (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (3, '😀),(''-- Current Database: `x`', '', 2, -1, '2026-10-25 00:30:00', '0001-01-01', 'x', b'0', '[]', NULL);
CREATE TABLE generated (a INT, b INT AS (a + 1) STORED, c INT AS (a * 2) VIRTUAL);
INSERT INTO generated (a) VALUES (1), (2);
CREATE TABLE parts (a INT PRIMARY KEY) PARTITION BY RANGE (a) (
    PARTITION low VALUES LESS THAN (100), PARTITION high VALUES LESS THAN MAXVALUE
);
INSERT INTO parts SELECT seq FROM seq_1_to_1000;
CREATE TABLE plain (a INT) ENGINE = MyISAM;
INSERT INTO plain VALUES (1), (2);
CREATE TABLE empty (a INT);
CREATE TABLE parent (id INT PRIMARY KEY);
CREATE TABLE child (id INT PRIMARY KEY, up INT, FOREIGN KEY (up) REFERENCES parent (id));
INSERT INTO parent VALUES (1), (2);
INSERT INTO child VALUES (1, 1), (2, 2);
CREATE TABLE `it's (odd` (`a ``b` INT);
INSERT INTO `it's (odd` VALUES (1);
CREATE SEQUENCE numbers START WITH 7;
CREATE VIEW v2 AS SELECT x.a FROM `odd ``na;me/..x`.x;
CREATE VIEW v1 AS SELECT t.id, v2.a FROM types AS t JOIN v2;
CREATE DEFINER = `ghost`@`%` VIEW of_a_ghost AS SELECT 1 AS one;
DELIMITER //
CREATE TRIGGER before_types BEFORE INSERT ON types FOR EACH ROW
BEGIN
    -- it's a comment; with a quote
    /* and another one ' */
    SET NEW.a = CONCAT(NEW.a, ';;');
END//
CREATE DEFINER = `ghost`@`%` PROCEDURE of_a_ghost()
BEGIN
    SELECT '-- Current Database: `nowhere`';
-- Current Database: `nowhere`
    SELECT ';;';
END//
CREATE FUNCTION one() RETURNS INT DETERMINISTIC RETURN 1//
SET sql_mode = 'NO_BACKSLASH_ESCAPES'//
CREATE PROCEDURE plain_backslash() SELECT '\'//
SET sql_mode = DEFAULT//
CREATE EVENT nightly ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO
BEGIN
    DELETE FROM empty;
END//
DELIMITER ;
CREATE USER `o'brien`@`%` IDENTIFIED BY 'hunter2';
CREATE ROLE readers;
GRANT SELECT ON awkward.* TO `o'brien`@`%`;
GRANT SELECT ON awkward.types TO readers;
GRANT readers TO `o'brien`@`%`;
