//! The tools in the server's container are used, as far as that can be shown without an image of PostgreSQL: a container that
//! has this machine's programs and the socket of the server beside it.

use super::*;
use crate::containers::ContainerName;
use crate::source::{IntoServer as _, PostgresRestore, Wanted};

#[test]
fn a_server_in_a_container_is_dumped_with_the_tools_of_the_container_and_what_it_knows() {
    let (Some(server), Some(docker)) = (servers::postgres(), servers::docker()) else { return };
    let _roles = roles_are_mine();
    let (database, name) = (database(server), docker.name());
    server.sql(&database, "CREATE TABLE t AS SELECT generate_series(1, 1000); SELECT lo_from_bytea(0, 'x')");
    let socket = format!("{}:/run/postgresql", server.folder.display());
    let path = format!("PATH={}:/bin", server.programs.display());
    let port = format!("PGPORT={}", server.port);
    docker.run(
        &name,
        &[
            "-v",
            "/usr:/usr:ro",
            "-v",
            "/lib:/lib:ro",
            "-v",
            "/lib64:/lib64:ro",
            "-v",
            &socket,
            "-e",
            &path,
            "-e",
            &port,
            "-e",
            "PGHOST=/run/postgresql",
            "-e",
            "POSTGRES_USER=postgres",
            "-e",
            "POSTGRES_PASSWORD=secret",
        ],
    );
    let options = || DatabaseOptions {
        server: ServerAt::Container(ContainerName::Container(name.clone())),
        user: None,
        password: None,
        engine: EngineAddress::at(&docker.socket),
        ..options(server, "", &[&database])
    };
    let captured = capture_with(options()).unwrap();
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.facts["databases"][&database]["tables"]["public.t"], 1000);
    assert_eq!(drilled(&captured).unwrap(), captured.facts);
    assert_eq!(captured.facts["files"], capture(server, &[&database]).facts["files"], "the same as from here");
    let again = format!("{database} again");
    let restore = PostgresRestore {
        into: options(),
        wanted: Wanted { databases: vec![database.clone()], rename: Some(again.clone()), ..Wanted::default() },
    };
    let dir = tempfile::tempdir().unwrap();
    captured.restore(dir.path());
    let done = restore.run(dir.path(), &captured.facts, &Cancel::new()).unwrap();
    let (recorded, found) = done.databases[0].counted.clone().unwrap();
    assert_eq!((found, server.sql(&again, "SELECT count(*) FROM t").as_str()), (recorded, "1000"));
    let one = PostgresRestore {
        into: options(),
        wanted: Wanted {
            databases: vec![database.clone()],
            tables: vec!["t".to_owned()],
            replace: true,
            ..Wanted::default()
        },
    };
    server.sql(&database, "DELETE FROM t; ALTER TABLE t ADD more int");
    one.run(dir.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(server.sql(&database, "SELECT count(*), max(t::text) FROM t"), "1000|(999)");
    docker.docker(&["stop", &name]);
    let error = capture_with(options()).unwrap_err().to_string();
    assert_eq!(error, format!("container {name} does not run: start it"));
}
