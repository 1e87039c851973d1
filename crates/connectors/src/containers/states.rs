//! States of containers that Podman tells of and Docker's interface does not have, such as `stopped`, in which a container is for
//! a moment before it counts as exited. One of them must not hide all containers.

use bollard::errors::Error as EngineError;
use bollard::models::{ContainerSummary, ContainerSummaryStateEnum};
use serde::Deserialize as _;
use serde_json::Value;

/// What stands for a state that is not known: in none of these a container runs.
const NOT_RUNNING: &str = "exited";

/// The containers of an answer, also where one is in such a state.
pub fn all(answer: Result<Vec<ContainerSummary>, EngineError>) -> Result<Vec<ContainerSummary>, EngineError> {
    or_as_told(answer, |told| {
        let Value::Array(mut containers) = told else { return None };
        for state in containers.iter_mut().filter_map(|container| container.get_mut("State")) {
            if ContainerSummaryStateEnum::deserialize(&*state).is_err() {
                *state = Value::from(NOT_RUNNING);
            }
        }
        serde_json::from_value(Value::Array(containers)).ok()
    })
}

/// An answer, or what `read` makes of it as it was told.
pub fn or_as_told<T>(answer: Result<T, EngineError>, read: impl FnOnce(Value) -> Option<T>) -> Result<T, EngineError> {
    match answer {
        Err(EngineError::JsonDataError { message, contents, column }) => {
            let as_told = serde_json::from_str(&contents).ok().and_then(read);
            as_told.ok_or(EngineError::JsonDataError { message, contents, column })
        }
        answer => answer,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_in_a_state_that_only_podman_has_is_one_that_does_not_run() {
        let contents = r#"[{"Id": "a", "State": "running"}, {"Id": "b", "State": "stopped"}, {"Id": "c"}]"#.to_owned();
        let refused =
            |contents: String| Err(EngineError::JsonDataError { message: "odd".to_owned(), contents, column: 9 });
        let states: Vec<_> = all(refused(contents)).unwrap().into_iter().map(|container| container.state).collect();
        let known = [ContainerSummaryStateEnum::RUNNING, ContainerSummaryStateEnum::EXITED].map(Some);
        assert_eq!(states, [&known[..], &[None]].concat());
        for contents in ["{}", "[", r#"[{"Id": 7}]"#] {
            assert_eq!(all(refused(contents.to_owned())).unwrap_err().to_string(), "Failed to deserialize JSON: odd");
        }
    }
}
