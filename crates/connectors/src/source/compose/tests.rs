use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use repository::Cancel;
use serde_json::json;

use super::{ComposeOptions, ComposeProject, ComposeSource, examine, read_compose_project};
use crate::containers::EngineAddress;
use crate::source::testing::{Captured, Setup};

fn write(dir: &Path, files: &[(&str, &str)]) {
    for (file, text) in files {
        let path = dir.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
}

fn options(dir: &Path, files: &[&str]) -> ComposeOptions {
    let variables = BTreeMap::from([("HOME".to_owned(), dir.join("home").display().to_string())]);
    let files = files.iter().map(|file| dir.join(file)).collect();
    ComposeOptions { files, variables, ..ComposeOptions::default() }
}

fn capture(options: ComposeOptions) -> Captured {
    Setup::default().capture(&ComposeSource::new(options).unwrap()).unwrap()
}

fn read(options: &ComposeOptions) -> ComposeProject {
    read_compose_project(options, &Cancel::new()).unwrap()
}

/// The files of a project below `dir`, without its folders.
fn files(captured: &Captured, dir: &Path) -> Vec<String> {
    captured.below(dir).into_iter().filter(|path| !path.ends_with('/')).collect()
}

#[test]
fn an_engine_that_does_not_answer_is_noted_once_and_a_problem_where_it_answered_before() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("compose.yaml", "name: shop\nservices: {web: {image: nginx}}")]);
    let engine = Some(EngineAddress::at(&dir.path().join("no-socket")));
    let source = ComposeSource::new(ComposeOptions { engine, ..options(dir.path(), &["compose.yaml"]) }).unwrap();
    let mut setup = Setup::default();
    let first = setup.capture(&source).unwrap();
    let lacks =
        "image digests and the definitions of the containers are not in the snapshot: no container engine answers";
    assert_eq!(first.problems, [""; 0]);
    assert!(first.notes.len() == 1 && first.notes[0].contains(lacks), "{:?}", first.notes);
    let mut previous = first.facts;
    setup.previous = Some(previous.clone());
    assert_eq!(setup.capture(&source).unwrap().notes, [""; 0], "it was said");
    previous.insert("containers".to_owned(), json!({ "shop-web-1": {} }));
    setup.previous = Some(previous);
    for _ in 0..2 {
        let captured = setup.capture(&source).unwrap();
        assert!(captured.problems.len() == 1 && captured.problems[0].contains(lacks), "{:?}", captured.problems);
        setup.previous = Some(captured.facts);
    }
}

#[test]
fn a_compose_file_that_vanishes_behind_a_wildcard_is_told_once_and_then_noted() {
    let dir = tempfile::tempdir().unwrap();
    let couchdb = "services: {couchdb: {image: cht-couchdb}}";
    write(dir.path(), &[("a.yml", "name: cht\nservices: {api: {image: cht-api}}"), ("b.yml", couchdb)]);
    let source = |names: &str| ComposeSource::new(options(dir.path(), &[names])).unwrap();
    let mut setup = Setup::default();
    let mut capture = |source: &ComposeSource| {
        let captured = setup.capture(source).unwrap();
        setup.previous = Some(captured.facts.clone());
        captured
    };
    assert_eq!(capture(&source("*.yml")).problems, [""; 0]);
    fs::remove_file(dir.path().join("b.yml")).unwrap();
    let problems = capture(&source("*.yml")).problems;
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains("b.yml: was a compose file of this project in the snapshot before"), "{problems:?}");
    assert!(problems[1].starts_with("cht: ") && problems[1].ends_with(" has: couchdb"), "{problems:?}");
    // Maybe it was on purpose.
    for _ in 0..2 {
        let captured = capture(&source("*.yml"));
        assert_eq!((captured.problems.len(), captured.notes.len()), (0, 2), "{:?}", captured.notes);
        assert!(captured.notes[1].ends_with("are gone: couchdb"), "{:?}", captured.notes);
    }
    // Under another name it is there again; in another folder the whole project is.
    write(dir.path(), &[("c.yml", couchdb)]);
    assert_eq!(capture(&source("*.yml")).notes.len(), 1);
    write(dir.path(), &[("b.yml", couchdb)]);
    fs::remove_file(dir.path().join("c.yml")).unwrap();
    assert_eq!(capture(&source("*.yml")).problems.len(), 1);
    write(dir.path(), &[("moved/a.yml", "name: cht\nservices: {api: {image: cht-api}}"), ("moved/b.yml", couchdb)]);
    let captured = capture(&source("moved/*.yml"));
    assert_eq!(captured.problems, [""; 0]);
}

#[test]
fn earlier_versions_of_the_files_of_cht_are_captured_as_soon_as_there_are_any() {
    let dir = tempfile::tempdir().unwrap();
    let kept = "data/backup/1700000000-x/cht-core.yml";
    write(dir.path(), &[("cht-core.yml", "services: {api: {image: 'public.ecr.aws/medic/cht-api:4.20.0'}}")]);
    let at = |dir: &Path| files(&capture(options(dir, &["*.yml"])), dir);
    assert_eq!(at(dir.path()), ["cht-core.yml"]);
    write(dir.path(), &[(kept, "services: {api: {image: 'cht-api:4.19.0'}}")]);
    assert_eq!(at(dir.path()), ["cht-core.yml", kept]);
    let other = tempfile::tempdir().unwrap();
    write(other.path(), &[("shop.yml", "services: {web: {image: nginx}}"), (kept, "x")]);
    assert_eq!(at(other.path()), ["shop.yml"]);
}

#[test]
fn every_file_that_is_named_is_captured() {
    let dir = tempfile::tempdir().unwrap();
    let compose = "
        services:
          web:
            image: nginx:${TAG:-1.27}
            env_file: web.env
            label_file: ./labels
          api:
            build: ./api
            env_file: [a.env, {path: '${ENV_DIR}/b.env'}, {path: not/there.env, required: false}]
            extends: {file: common/base.yml, service: base}
          db:
            image: postgres:16@sha256:0123
            env_file: ~/home.env
        configs:
          nginx: {file: ./nginx.conf}
          inline: {content: text}
        secrets:
          key: {file: ../secret.txt}
          other: {environment: KEY}
        include:
          - included/compose.yml
          - path: [far/one.yml, far/two.yml]
            env_file: far.env
    ";
    let base = "
        services:
          base: {env_file: base.env, extends: {service: root}}
          root: {image: alpine, env_file: root.env}
          unused: {env_file: missing.env}
    ";
    let texts = [
        ("app/compose.yaml", compose),
        ("app/common/base.yml", base),
        ("app/included/compose.yml", "services: {cache: {image: 'redis:${V}', env_file: in.env}}"),
        ("app/included/.env", "V=7"),
        ("app/far/one.yml", "services: {one: {image: 'one:${FAR}'}}"),
        ("app/far/two.yml", "services: {two: {image: two, env_file: ./two.env}}"),
        ("app/.env", "ENV_DIR=./envs\n"),
        ("app/far.env", "FAR=away"),
    ];
    write(dir.path(), &texts);
    let plain = ["web.env", "labels", "a.env", "envs/b.env", "common/base.env", "common/root.env", "nginx.conf"];
    for file in plain.iter().chain(&["included/in.env", "far/two.env", "../secret.txt", "../home/home.env"]) {
        write(&dir.path().join("app"), &[(file, "A=1")]);
    }
    let captured = capture(options(dir.path(), &["app"]));
    assert_eq!(captured.problems, [""; 0]);
    let expected = [
        "app/.env",
        "app/a.env",
        "app/common/base.env",
        "app/common/base.yml",
        "app/common/root.env",
        "app/compose.yaml",
        "app/envs/b.env",
        "app/far/one.yml",
        "app/far/two.env",
        "app/far/two.yml",
        "app/far.env",
        "app/included/.env",
        "app/included/compose.yml",
        "app/included/in.env",
        "app/labels",
        "app/nginx.conf",
        "app/web.env",
        "home/home.env",
        "secret.txt",
    ];
    assert_eq!(files(&captured, dir.path()), expected);
    let services = json!({
        "web": {"image": "nginx:1.27"}, "api": {"image": "alpine"}, "cache": {"image": "redis:7"},
        "db": {"image": "postgres:16@sha256:0123", "digest": "sha256:0123"}, "one": {"image": "one:away"},
        "two": {"image": "two"},
    });
    assert_eq!(captured.facts["services"], services);
    assert_eq!(captured.facts["project"], "app");
}

#[test]
fn restored_files_have_the_recorded_hashes_until_one_changes() {
    let (dir, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    write(dir.path(), &[("compose.yml", "services: {a: {image: a, env_file: x.env}}"), ("x.env", "A=1")]);
    let captured = capture(options(dir.path(), &["compose.yml"]));
    let key = dir.path().join("x.env").display().to_string();
    assert_eq!(captured.facts["files"][&key], repository::Id::of(b"A=1").to_hex());
    captured.restore(to.path());
    let examined = || examine(to.path(), &captured.facts, &Cancel::new()).unwrap();
    assert_eq!(examined(), captured.facts);
    let restored = to.path().join(dir.path().join("x.env").strip_prefix("/").unwrap());
    fs::write(&restored, "A=2").unwrap();
    assert_ne!(examined(), captured.facts);
    fs::remove_file(&restored).unwrap();
    assert_ne!(examined(), captured.facts);
}

#[test]
fn volumes_are_told_from_folders_of_the_host() {
    let dir = tempfile::tempdir().unwrap();
    let compose = "
        name: Shop
        services:
          a:
            volumes:
              - data:/var/lib
              - ./conf:/etc/app:ro
              - /srv/files:/files
              - ~/pics:/pics
              - /unnamed
              - ${VOL:-other}:/other
              - {type: bind, source: ./long, target: /long}
              - {type: volume, source: data, target: /twice}
              - {type: tmpfs, target: /tmp}
        volumes:
          data:
          shared: {external: true, name: 'of-${WHO:-all}'}
          old: {external: {name: older}}
    ";
    write(dir.path(), &[("compose.yml", compose)]);
    let project = read(&options(dir.path(), &["compose.yml"]));
    let service = &project.services["a"];
    assert_eq!(
        (service.volumes.as_slice(), service.unnamed_volumes.as_slice()),
        (&["data".to_owned(), "other".to_owned()][..], &["/unnamed".to_owned()][..])
    );
    let binds: Vec<_> = service.binds.iter().map(|bind| (bind.host.clone(), bind.target.as_str())).collect();
    let at = |path: &str| dir.path().join(path);
    let expected = [
        (at("conf"), "/etc/app"),
        (PathBuf::from("/srv/files"), "/files"),
        (at("home/pics"), "/pics"),
        (at("long"), "/long"),
    ];
    assert_eq!(binds, expected);
    let volumes: Vec<_> =
        project.volumes.iter().map(|(key, volume)| (key.as_str(), volume.name.as_str(), volume.is_external)).collect();
    let expected = [
        ("data", "shop_data", false),
        ("old", "older", true),
        ("other", "shop_other", false),
        ("shared", "of-all", true),
    ];
    assert_eq!(volumes, expected);
}

#[test]
fn a_required_env_file_that_is_missing_is_named_once() {
    let dir = tempfile::tempdir().unwrap();
    let compose = "services: {a: {env_file: gone.env}, b: {env_file: [gone.env, '${DIR:?must be set}/x.env']}}";
    write(dir.path(), &[("compose.yml", compose)]);
    let mut options = options(dir.path(), &["compose.yml", "gone.yml"]);
    options.env = vec![dir.path().join("also-gone.env")];
    let captured = capture(options);
    let at = |path: &str| dir.path().join(path).display().to_string();
    let expected = [
        format!("{}: the env file does not exist", at("also-gone.env")),
        format!("{}: does not exist", at("gone.yml")),
        format!("{}: the env file does not exist", at("gone.env")),
        format!("{}: names a file by the variable DIR, which is not set", at("compose.yml")),
    ];
    assert_eq!(captured.problems, expected);
    assert_eq!(files(&captured, dir.path()), ["compose.yml"]);
    let error = ComposeSource::new(self::options(dir.path(), &["none*.yml"])).unwrap();
    let error = Setup::default().capture(&error).unwrap_err().to_string();
    assert_eq!(error, format!("no compose file found at {}", at("none*.yml")));
}

#[test]
fn malformed_yaml_is_named_by_line_and_captured_without_showing_its_text() {
    let dir = tempfile::tempdir().unwrap();
    let malformed = "services:\n  a:\n    environment:\n      PASSWORD: \"hunter2\n";
    write(
        dir.path(),
        &[("compose.yml", malformed), ("more.yml", "services: {b: {image: b}}"), ("twice.yml", "a: 1\na: hunter2")],
    );
    let captured = capture(options(dir.path(), &["compose.yml", "more.yml", "twice.yml"]));
    assert_eq!(files(&captured, dir.path()), ["compose.yml", "more.yml", "twice.yml"]);
    assert_eq!(captured.problems.len(), 2);
    assert!(captured.problems[0].contains("compose.yml: is not valid YAML at line "), "{:?}", captured.problems);
    assert!(
        captured.problems[1].ends_with("twice.yml: is not valid YAML at line 2, column 1"),
        "{:?}",
        captured.problems
    );
    assert_eq!(captured.facts["services"], json!({"b": {"image": "b"}}));
    assert!(!format!("{:?}", captured.problems).contains("hunter2"));
}

#[test]
fn anchors_merge_keys_tags_and_several_documents_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let compose = "
x-common: &common
  image: shared:1
  env_file: [common.env]
services:
  a:
    <<: *common
    ports: !reset []
  b:
    <<: [*common]
    image: own:2
---
services:
  c: {image: c, env_file: common.env}
";
    write(dir.path(), &[("compose.yml", compose), ("common.env", "A=1")]);
    let captured = capture(options(dir.path(), &["compose.yml"]));
    assert_eq!(captured.problems, [""; 0]);
    let expected = json!({"a": {"image": "shared:1"}, "b": {"image": "own:2"}, "c": {"image": "c"}});
    assert_eq!(captured.facts["services"], expected);
    assert_eq!(files(&captured, dir.path()), ["common.env", "compose.yml"]);
}

#[test]
fn rings_of_includes_and_extends_end() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [
        ("a.yml", "include: [b.yml]\nservices: {a: {image: a, extends: a}}"),
        ("b.yml", "include: [a.yml, b.yml]\nservices: {b: {extends: {file: a.yml, service: a}}}"),
    ];
    write(dir.path(), &texts);
    let captured = capture(options(dir.path(), &["a.yml"]));
    assert_eq!(files(&captured, dir.path()), ["a.yml", "b.yml"]);
    assert!(captured.problems[0].contains("too deeply"), "{:?}", captured.problems);
}

#[test]
fn in_a_folder_the_files_that_compose_would_take_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("compose.yml", ""), ("docker-compose.yml", ""), ("compose.override.yml", "")]);
    assert_eq!(files(&capture(options(dir.path(), &["."])), dir.path()), ["compose.override.yml", "compose.yml"]);
    write(
        dir.path(),
        &[(".env", "COMPOSE_FILE=a.yml:b.yml\nCOMPOSE_PROJECT_NAME=mine"), ("a.yml", "name: other"), ("b.yml", "")],
    );
    let captured = capture(options(dir.path(), &["."]));
    assert_eq!(
        (files(&captured, dir.path()).join(" "), &captured.facts["project"]),
        (".env a.yml b.yml".to_owned(), &json!("mine"))
    );
    let project = Some("given".to_owned());
    let captured = capture(ComposeOptions { project, ..options(dir.path(), &["*.yml"]) });
    assert_eq!(captured.facts["project"], "given");
    assert_eq!(files(&captured, dir.path()).len(), 6);
}

#[test]
fn variables_come_from_the_environment_then_given_files_then_dot_env() {
    let dir = tempfile::tempdir().unwrap();
    let texts = [
        ("p/compose.yml", "services: {s: {image: '$A-$B-$C-$D'}}"),
        ("p/.env", "A=dot\nB=dot\nC=dot\nD=dot$A"),
        ("given.env", "A=given\nB=given"),
    ];
    write(dir.path(), &texts);
    let mut options = options(dir.path(), &["p/compose.yml"]);
    options.env = vec![dir.path().join("given.env")];
    options.variables.insert("A".to_owned(), "outer".to_owned());
    assert!(!format!("{options:?}").contains("outer"));
    assert_eq!(read(&options).services["s"].image.as_deref(), Some("outer-given-dot-dotouter"));
}

#[test]
fn a_file_named_by_a_link_is_captured_with_its_content() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &[("compose.yml", "services: {a: {env_file: link.env}}"), ("real/x.env", "A=1")]);
    std::os::unix::fs::symlink("real/x.env", dir.path().join("link.env")).unwrap();
    let captured = capture(options(dir.path(), &["compose.yml"]));
    assert_eq!(captured.get(&dir.path().join("link.env")).bytes, b"A=1");
}

#[test]
fn two_projects_given_as_one_find_their_own_files() {
    let dir = tempfile::tempdir().unwrap();
    for project in ["a", "b"] {
        let text = format!("services: {{{project}: {{image: '{project}:${{TAG}}', env_file: {project}.env}}}}");
        write(
            &dir.path().join(project),
            &[("compose.yml", &text), (".env", &format!("TAG={project}")), (&format!("{project}.env"), "")],
        );
    }
    let captured = capture(options(dir.path(), &["*/compose.yml"]));
    assert_eq!(captured.problems, [""; 0]);
    assert_eq!(captured.facts["services"], json!({"a": {"image": "a:a"}, "b": {"image": "b:b"}}));
    assert_eq!(files(&captured, dir.path()).len(), 6);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_bytes_are_captured_as_a_compose_file(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("compose.yml"), &bytes).unwrap();
        let captured = capture(options(dir.path(), &["compose.yml"]));
        prop_assert_eq!(&captured.get(&dir.path().join("compose.yml")).bytes, &bytes);
    }

    #[test]
    fn any_shape_of_a_known_key_is_taken(
        key in "services|include|volumes|configs|secrets|name",
        value in "(1|text|null|\\[\\]|\\{\\}|\\[1, \\{a: null\\}\\]|\\{a: 1\\}|\\{a: \\{env_file: \\{\\}\\}\\}|\\{a: \\{volumes: \\[1, '', ':', \\{\\}\\], extends: \\[\\]\\}\\})",
    ) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("compose.yml"), format!("{key}: {value}")).unwrap();
        read(&options(dir.path(), &["compose.yml"]));
    }
}
