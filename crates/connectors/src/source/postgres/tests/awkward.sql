-- What is easily lost: every family of types, and what refers to what.
CREATE SCHEMA "odd ""schema""";
CREATE TYPE mood AS ENUM ('sad', 'it''s ok', 'happy');
CREATE TYPE pair AS (first integer, second text);
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE span AS RANGE (subtype = float8);

CREATE TABLE kinds (
    small smallint, plain integer, big bigint, exact numeric(1000, 500), single real, twice double precision, cash money,
    letters varchar(10), fixed char(5), long text, bytes bytea, at timestamp, at_zone timestamptz, day date, hour time,
    hour_zone timetz, took interval, yes boolean, felt mood, place point, way path, area polygon, round circle, box box,
    line line, segment lseg, net inet, network cidr, card macaddr, card8 macaddr8, flags bit(5), more_flags bit varying(9),
    words tsvector, search tsquery, id uuid, tree xml, doc json, docb jsonb, query jsonpath, list integer[], grid text[][],
    combined pair, many pair[], above positive, numbers int4range, spans span, several int4multirange, object oid,
    snapshot pg_snapshot, where_in_log pg_lsn
);
INSERT INTO kinds VALUES (
    -32768, 2147483647, -9223372036854775808, 1e499, 'NaN', '-Infinity', 12.34, E'tab\there', 'a', E'line\nand \\. and \u00e9\U0001f600',
    '\x00ff5c0a', 'infinity', '0044-03-15 12:00:00+00 BC', '5874897-12-31', '24:00:00', '12:00:00+15:59', '-1 year 2 months 3.5 seconds',
    true, 'it''s ok', '(1,2)', '[(0,0),(1,1)]', '((0,0),(1,1),(2,0))', '<(0,0),5>', '((0,0),(1,1))', '{1,2,3}', '((0,0),(1,1))',
    '::1', '10.0.0.0/8', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', B'10101', B'1', 'a fat cat', 'fat & cat',
    'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', '<a>b</a>', '{"a":  1,
 "a": 2}', '{"a": [null, 1e-7]}', '$.a[*]', '{1,NULL,3}', '{{a,"b,c"},{"\"",NULL}}', ROW(1, 'two'), ARRAY[ROW(1, 'x')]::pair[], 1,
    '[1,10)', '[0.5,1.5]', '{[1,2),[5,6)}', 1, '10:20:10,14,15', '16/B374D848'
);
INSERT INTO kinds (long) VALUES (''), (NULL), (repeat('x', 2000000));

CREATE EXTENSION citext;
CREATE EXTENSION ltree;
CREATE TYPE deep AS (inside pair, above positive[]);
CREATE DOMAIN deep_one AS deep;
CREATE TABLE more_kinds (
    letter "char", identifier name, relation regclass, type_of regtype, run regprocedure, place tid, transaction xid8, words citext,
    tree ltree, numbers int2vector, ids oidvector, half positive[], days daterange[], many_spans span_multirange, inside deep_one,
    felt mood[], took interval(0), exact numeric, at timestamp(0) with time zone, nothing text COLLATE "C" DEFAULT 'a\b', gone int
);
ALTER TABLE more_kinds DROP COLUMN gone;
INSERT INTO more_kinds VALUES (
    '\377', 'Odd name', 'kinds', 'timestamp with time zone', 'upper(text)', '(42,7)', '18446744073709551615', 'MiXed', 'top.under_1',
    '1 2 3', '4 5', '{1,2}', '{"[2026-01-01,2026-02-01)",empty}', '{[0.5,1.5],[2,3)}', ROW(ROW(1, 'it''s'), '{7}'),
    '{happy,sad}', '178000000 years', 'Infinity', '-infinity'
);

CREATE TABLE made (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    "Select" text NOT NULL,
    upper text GENERATED ALWAYS AS (upper("Select")) STORED,
    parent bigint REFERENCES made
);
INSERT INTO made ("Select", parent) SELECT 'n' || n, CASE WHEN n > 1 THEN 1 END FROM generate_series(1, 100) AS n;
CREATE INDEX ON made (lower("Select")) WHERE parent IS NOT NULL;

CREATE TABLE events (at date NOT NULL, what text) PARTITION BY RANGE (at);
CREATE TABLE events_2025 PARTITION OF events FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE events_rest PARTITION OF events DEFAULT PARTITION BY LIST (what);
CREATE TABLE events_rest_x PARTITION OF events_rest DEFAULT;
INSERT INTO events SELECT '2024-12-01'::date + n, 'w' || n FROM generate_series(1, 300) AS n;

CREATE TABLE spread (n int) PARTITION BY HASH (n);
CREATE TABLE spread_0 PARTITION OF spread FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE spread_1 PARTITION OF spread FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO spread SELECT generate_series(1, 100);
CREATE TABLE booked (at tsrange, EXCLUDE USING gist (at WITH &&));
INSERT INTO booked VALUES ('[2026-01-01,2026-01-02)'), ('[2026-01-02,)');
CREATE TABLE first (id int PRIMARY KEY, other int);
CREATE TABLE second (id int PRIMARY KEY REFERENCES first DEFERRABLE INITIALLY DEFERRED);
ALTER TABLE first ADD FOREIGN KEY (other) REFERENCES second;
INSERT INTO first VALUES (1);
INSERT INTO second VALUES (1);
UPDATE first SET other = 1;
CREATE STATISTICS related ON what, at FROM events;

CREATE TABLE animals (name text);
CREATE TABLE dogs (breed text) INHERITS (animals);
INSERT INTO animals VALUES ('cat');
INSERT INTO dogs VALUES ('rex', 'mix'), ('bello', 'pug');

CREATE TABLE "odd ""schema"""."t a.b%c'd" ("ü" text);
INSERT INTO "odd ""schema"""."t a.b%c'd" VALUES ('1'), ('2');
CREATE UNLOGGED TABLE quick AS SELECT n FROM generate_series(1, 10) AS n;
CREATE TABLE nothing ();

CREATE MATERIALIZED VIEW totals AS SELECT what, count(*) FROM events GROUP BY what;
CREATE MATERIALIZED VIEW of_totals AS SELECT sum(count) FROM totals;
CREATE INDEX ON of_totals (sum);
CREATE MATERIALIZED VIEW unfilled AS SELECT 1 WITH NO DATA;
CREATE VIEW later AS SELECT * FROM made WHERE id > 10;

CREATE SEQUENCE counter START -7 INCREMENT -3 MINVALUE -100;
SELECT nextval('counter'), nextval('counter');
CREATE SEQUENCE untouched;

CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN NEW."Select" = NEW."Select" || '!'; RETURN NEW; END $$;
CREATE TRIGGER noting BEFORE INSERT ON made FOR EACH ROW EXECUTE FUNCTION note();
CREATE FUNCTION watch() RETURNS event_trigger LANGUAGE plpgsql AS $$ BEGIN NULL; END $$;
CREATE PROCEDURE nothing_done() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total (integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
CREATE RULE quiet AS ON DELETE TO nothing DO INSTEAD NOTHING;
ALTER TABLE made ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON made USING (id > 0);
CREATE COLLATION odd_order FROM "C";
CREATE PUBLICATION everything FOR TABLE made;
CREATE EXTENSION hstore;
CREATE TABLE extended AS SELECT 'a=>1, b=>NULL'::hstore AS pairs;
CREATE EXTENSION postgres_fdw SCHEMA public;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER postgres_fdw OPTIONS (host 'db.invalid');
CREATE FOREIGN TABLE away (a int) SERVER elsewhere;
CREATE TEXT SEARCH CONFIGURATION own (COPY = simple);
CREATE OPERATOR === (FUNCTION = int4eq, LEFTARG = int, RIGHTARG = int);
CREATE EVENT TRIGGER watching ON ddl_command_end WHEN TAG IN ('DROP TABLE') EXECUTE FUNCTION watch();
COMMENT ON TABLE made IS 'it''s a comment; -- and no more';
SELECT lo_from_bytea(0, convert_to(repeat('large', 100000), 'UTF8')), lo_from_bytea(0, ''), lo_create(424242);
COMMENT ON LARGE OBJECT 424242 IS 'with a word about it';
GRANT SELECT ON LARGE OBJECT 424242 TO PUBLIC;
GRANT SELECT ON made TO "odd ""role"" ü";
ALTER TABLE animals OWNER TO "odd ""role"" ü";
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO "odd ""role"" ü";

-- What belongs to the database itself.
ALTER DATABASE :"DBNAME" OWNER TO "odd ""role"" ü";
REVOKE CONNECT, TEMPORARY ON DATABASE :"DBNAME" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"DBNAME" TO "odd reader" WITH GRANT OPTION;
ALTER DATABASE :"DBNAME" SET search_path = "$user", public, "odd ""schema""";
ALTER DATABASE :"DBNAME" SET app.secret = 'it''s hunter2; ON DATABASE x';
ALTER ROLE "odd reader" IN DATABASE :"DBNAME" SET work_mem = '8MB';
ALTER DATABASE :"DBNAME" CONNECTION LIMIT 7;
COMMENT ON DATABASE :"DBNAME" IS 'it''s ON DATABASE x; -- and no more';
