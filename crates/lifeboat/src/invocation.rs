//! How the user types this very program, for the commands that it proposes.

use std::path::{Path, PathBuf};

use operations::config::{Environment, FILE_NAME, SYSTEM_FILE, Settings};

const NAME: &str = "lifeboat";

/// The same for a configuration, which the environment may be, too.
pub fn of(environment: &Environment, settings: &Settings) -> String {
    match &settings.sentinel {
        Some(_) => program(environment),
        None => line(environment, &settings.file),
    }
}

/// `lifeboat` where that starts this program, else its path; with `--config` where `file` is not found by itself.
fn line(environment: &Environment, file: &Path) -> String {
    let program = program(environment);
    let is_found = |place: &str| std::path::absolute(place).is_ok_and(|place| place == file);
    if is_found(FILE_NAME) || (file == Path::new(SYSTEM_FILE) && !Path::new(FILE_NAME).exists()) {
        return program;
    }
    format!("{program} --config {}", operations::shell::quote(&file.display().to_string()))
}

/// The path of this program, as a schedule needs it.
pub fn path() -> PathBuf {
    std::env::current_exe().unwrap_or_else(|_| NAME.into())
}

fn program(environment: &Environment) -> String {
    let own = path();
    let named = environment.get("PATH").unwrap_or_default().split(':').map(|folder| Path::new(folder).join(NAME));
    // The first of that name is the one that a shell starts.
    match named.into_iter().find(|named| named.is_file()) {
        Some(named) if named.canonicalize().is_ok_and(|named| named == own) => NAME.to_owned(),
        _ => operations::shell::quote(&own.display().to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_in_the_path_is_named_by_its_own() {
        let own = path().display().to_string();
        let environment = Environment::of([("PATH", "/nowhere")]);
        assert_eq!(line(&environment, Path::new("/x/lifeboat.yaml")), format!("{own} --config /x/lifeboat.yaml"));
        let here = std::path::absolute(FILE_NAME).unwrap();
        assert_eq!(line(&environment, &here), own);
    }
}
