//! Thousands of made-up requests: no answer that the OpenAPI document does not describe, and none that says that the server failed.

use std::process::Command;

use serde_json::json;

use super::guest::Server;
use super::simple;
use crate::support::{can, run};

const PROGRAM: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../target/tools/schemathesis/bin/schemathesis");
/// A stream of events goes on, so it has no end that could be judged.
const WITHOUT_END: &str = "events$";
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance,\
                      response_headers_conformance,unsupported_method,ignored_auth";

fn schemathesis() -> Result<(), String> {
    if std::path::Path::new(PROGRAM).exists() {
        Ok(())
    } else {
        Err("schemathesis is not installed (./dev setup)".to_owned())
    }
}

#[test]
fn whatever_is_asked_the_answer_is_as_described() {
    if !can(schemathesis()) {
        return;
    }
    let site = simple();
    let server = Server::start(&site);
    let ada = server.first_user();
    let taken = ada.start("/v1/admin/snapshots/create", &json!({}));
    assert_eq!(ada.end_of(&taken)["status"], "ok");
    let (_, secret) = server.token(&ada, "admin", None);
    let mut command = Command::new(PROGRAM);
    command.args(["run", "--no-color", "--seed", "1", "--max-examples", "20", "--request-timeout", "20"]);
    command.args(["--exclude-path-regex", WITHOUT_END, "--checks", CHECKS, "--header"]);
    command.arg(format!("Authorization: Bearer {secret}")).arg(format!("http://{}/openapi.json", server.address));
    site.enclose(&mut command);
    run(&mut command).ok().says(["generated"]);
    assert_eq!(server.stranger().get("/.live").status, 200);
    assert!(!server.log().contains("panicked"), "{}", server.log());
}
