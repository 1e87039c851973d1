//! Servers that take encrypted lines alone, and those that cannot encrypt.

use super::*;

fn at(server: &MariadbServer, host: &str, query: &str) -> DatabaseOptions {
    let url = format!("mysql://{}@{host}:{}{query}", MariadbServer::USER, server.port);
    DatabaseOptions { server: ServerAt::Url(url), ..by_port(server, "", MariadbServer::PASSWORD, &["encrypted"]) }
}

#[test]
fn a_server_that_takes_encrypted_lines_alone_is_captured_and_restored_and_must_be_who_it_should() {
    let (Some(files), Some(_)) = (servers::certificates(), servers::mariadb()) else { return };
    let words = [("ssl-cert", files.certificate()), ("ssl-key", files.key()), ("ssl-ca", files.authority())];
    let words = words.map(|(name, path)| format!("--{name}={}", path.display()));
    let arguments: Vec<&str> = words.iter().map(String::as_str).chain(["--require-secure-transport=ON"]).collect();
    let server = MariadbServer::start(&arguments).unwrap();
    server.sql("CREATE DATABASE encrypted; USE encrypted; CREATE TABLE t (a INT); INSERT INTO t VALUES (1), (2)");
    let ca = files.authority();
    let verified = format!("?ssl-mode=VERIFY_IDENTITY&ssl-ca={}", ca.display());
    for (host, query) in [("127.0.0.1", "?ssl=true"), ("127.0.0.1", "?ssl-mode=REQUIRED"), ("localhost", &verified)] {
        let captured = capture(at(&server, host, query)).unwrap();
        assert_eq!(
            (&captured.problems, &captured.facts["databases"]["encrypted"]["tables"]),
            (&vec![], &json!({"t": 2}))
        );
        let folder = tempfile::tempdir().unwrap();
        captured.restore(folder.path());
        let wanted = Wanted { rename: Some("encrypted_again".to_owned()), replace: true, ..Wanted::default() };
        let job = MysqlRestore { into: at(&server, host, query), wanted };
        job.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
        assert_eq!(server.sql("SELECT COUNT(*) FROM encrypted_again.t"), "2");
    }
    let told = |host: &str, query: &str| capture(at(&server, host, query)).unwrap_err().to_string();
    assert!(told("127.0.0.1", &verified).contains("certificate"), "{}", told("127.0.0.1", &verified));
    let unknown = told("localhost", "?ssl-mode=VERIFY_CA");
    assert!(unknown.contains("certificate"), "{unknown}");
    let plain = told("127.0.0.1", "?ssl-mode=DISABLED");
    assert!(plain.contains("takes encrypted lines alone") || plain.contains("take encrypted lines alone"), "{plain}");
    assert!(plain.contains("?ssl-mode=REQUIRED") && !plain.contains(MariadbServer::PASSWORD), "{plain}");
}

#[test]
fn a_server_that_cannot_encrypt_is_refused_where_that_is_asked_for() {
    let Some(server) = servers::mariadb() else { return };
    let error = capture(at(server, "127.0.0.1", "?ssl-mode=REQUIRED")).unwrap_err().to_string();
    assert!(error.contains("does not encrypt the line"), "{error}");
    let wrong = MysqlSource::new(at(server, "127.0.0.1", "?charset=utf8")).unwrap_err().to_string();
    assert!(wrong.starts_with("url: ") && wrong.contains("ssl-mode"), "{wrong}");
}
