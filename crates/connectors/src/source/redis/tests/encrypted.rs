//! Servers whose port encrypts.

use super::*;

/// A server with such a port besides its plain one, which wants a certificate of its clients where `asks` says so.
fn encrypting(asks: &str) -> Option<(RedisServer, u16)> {
    let files = servers::certificates()?;
    let port = servers::free_port();
    let paths = [files.certificate(), files.key(), files.authority()].map(|path| path.display().to_string());
    let [certificate, key, authority] = &paths;
    let number = port.to_string();
    let server = servers::redis(&[
        "--tls-port",
        &number,
        "--tls-cert-file",
        certificate,
        "--tls-key-file",
        key,
        "--tls-ca-cert-file",
        authority,
        "--tls-auth-clients",
        asks,
    ])?;
    Some((server, port))
}

fn at(server: &RedisServer, url: String) -> RedisOptions {
    RedisOptions { server: ServerAt::Url(url), ..options(server) }
}

#[test]
fn a_redis_is_captured_and_restored_over_an_encrypted_line() {
    let Some((server, port)) = encrypting("no") else { return };
    // Larger than what is encrypted at once, and than what fits into the line.
    server.run("EVAL \"for i = 1, 3000 do redis.call('SET', 'key' .. i, string.rep('x', 3000) .. i) end\" 0");
    let ca = servers::certificates().unwrap().authority();
    let verified = format!("rediss://localhost:{port}?ssl-ca={}", ca.display());
    for url in [verified, format!("rediss://127.0.0.1:{port}?ssl-mode=REQUIRED")] {
        let captured = capture(at(&server, url.clone())).unwrap();
        assert_eq!(captured.facts["databases"], json!({"0": {"keys": 3000, "expiring": 0}}));
        let folder = tempfile::tempdir().unwrap();
        captured.restore(folder.path());
        server.run("FLUSHALL");
        let restore = RedisRestore { into: at(&server, url), wanted: Wanted::default() };
        restore.run(folder.path(), &captured.facts, &Cancel::new()).unwrap();
        assert_eq!(server.run("DBSIZE"), "3000");
        assert!(server.run("GET key2999").ends_with("x2999"));
    }
}

#[test]
fn a_line_that_cannot_be_trusted_or_is_not_what_it_should_be_is_told_and_nothing_is_said_over_it() {
    let Some((server, port)) = encrypting("no") else { return };
    let ca = servers::certificates().unwrap().authority();
    let told = |url: String| capture(at(&server, url)).unwrap_err().to_string();
    let untrusted = told(format!("rediss://localhost:{port}"));
    assert!(untrusted.contains("certificate") && untrusted.contains("?ssl-ca=FILE"), "{untrusted}");
    let of_another = told(format!("rediss://127.0.0.1:{port}?ssl-ca={}", ca.display()));
    assert!(of_another.contains("certificate"), "{of_another}");
    let plain = told(format!("rediss://127.0.0.1:{}", server.port));
    assert!(plain.contains("is the line encrypted at this port?"), "{plain}");
    let encrypted = told(format!("redis://127.0.0.1:{port}"));
    assert!(encrypted.contains("let the url begin with rediss://"), "{encrypted}");
    let missing = told(format!("rediss://localhost:{port}?ssl-ca=/no/such/ca.pem"));
    assert!(missing.contains("/no/such/ca.pem: "), "{missing}");
}

#[test]
fn a_redis_that_asks_for_a_certificate_is_shown_one() {
    let Some((server, port)) = encrypting("yes") else { return };
    server.run("SET a 1");
    let files = servers::certificates().unwrap();
    let url = format!("rediss://localhost:{port}?ssl-ca={}", files.authority().display());
    let shown = format!("{url}&ssl-cert={}&ssl-key={}", files.certificate().display(), files.key().display());
    assert_eq!(capture(at(&server, shown)).unwrap().facts["databases"]["0"]["keys"], 1);
    let refused = capture(at(&server, url)).unwrap_err().to_string();
    assert!(refused.contains("ertificate"), "{refused}");
}
