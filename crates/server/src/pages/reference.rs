//! The OpenAPI document for people: every call with what it takes and what it answers.

use std::collections::BTreeMap;

use askama::Template;
use axum::Router;
use axum::response::Response;
use axum::routing::get;
use serde_json::Value;
use utoipa::openapi::OpenApi;

use super::layout::{Frame, page};

#[derive(Clone, Template)]
#[template(path = "reference.html")]
struct ReferencePage {
    frame: Frame,
    subjects: Vec<Subject>,
    shapes: Vec<(String, String)>,
}

/// Calls about one thing.
#[derive(Clone)]
struct Subject {
    name: String,
    calls: Vec<Call>,
}

/// A method of a path.
#[derive(Clone)]
struct Call {
    method: String,
    path: String,
    summary: String,
    details: String,
    parameters: Vec<Parameter>,
    body: Option<String>,
    answers: Vec<Answer>,
}

/// Something that is given in the path, behind the question mark, or in a header.
#[derive(Clone)]
struct Parameter {
    name: String,
    place: String,
    is_required: bool,
    description: String,
}

/// What may come back.
#[derive(Clone)]
struct Answer {
    status: String,
    description: String,
    shape: Option<String>,
}

/// The page, at `/docs`, which anybody may read: nothing in it is of this host.
pub fn router<S: Clone + Send + Sync + 'static>(document: &OpenApi) -> Router<S> {
    let document = serde_json::to_value(document).unwrap_or_default();
    let shown =
        ReferencePage { frame: Frame::open("REST API"), subjects: subjects(&document), shapes: shapes(&document) };
    Router::new().route("/docs", get(async move || -> Response { page(&shown) }))
}

fn subjects(document: &Value) -> Vec<Subject> {
    let mut subjects: BTreeMap<String, Vec<Call>> = BTreeMap::new();
    for (path, methods) in document["paths"].as_object().into_iter().flatten() {
        for (method, call) in methods.as_object().into_iter().flatten() {
            subjects.entry(text(&call["tags"][0])).or_default().push(read(method, path, call));
        }
    }
    subjects.into_iter().map(|(name, calls)| Subject { name, calls }).collect()
}

fn read(method: &str, path: &str, call: &Value) -> Call {
    let parameters = call["parameters"].as_array().into_iter().flatten().map(|parameter| Parameter {
        name: text(&parameter["name"]),
        place: text(&parameter["in"]),
        is_required: parameter["required"] == true,
        description: text(&parameter["description"]),
    });
    let answers = call["responses"].as_object().into_iter().flatten().map(|(status, answer)| Answer {
        status: status.clone(),
        description: text(&answer["description"]),
        shape: shape(&answer["content"]),
    });
    Call {
        method: method.to_uppercase(),
        path: path.to_owned(),
        summary: text(&call["summary"]),
        details: text(&call["description"]),
        parameters: parameters.collect(),
        body: shape(&call["requestBody"]["content"]),
        answers: answers.collect(),
    }
}

/// The name of the shape of a body.
fn shape(content: &Value) -> Option<String> {
    let (_, body) = content.as_object()?.iter().next()?;
    Some(body["schema"]["$ref"].as_str()?.rsplit('/').next()?.to_owned())
}

fn shapes(document: &Value) -> Vec<(String, String)> {
    let all = document["components"]["schemas"].as_object().into_iter().flatten();
    all.map(|(name, shape)| (name.clone(), serde_json::to_string_pretty(shape).unwrap_or_default())).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_on_the_page_with_its_shapes() {
        let document: Value = serde_json::from_str(&crate::api::openapi()).unwrap();
        let (subjects, shapes) = (subjects(&document), shapes(&document));
        let calls: Vec<&Call> = subjects.iter().flat_map(|subject| &subject.calls).collect();
        let described: usize =
            document["paths"].as_object().unwrap().values().map(|path| path.as_object().unwrap().len()).sum();
        assert_eq!(calls.len(), described);
        for call in calls {
            assert!(!call.summary.is_empty() && !call.answers.is_empty(), "{} {}", call.method, call.path);
            for name in call.body.iter().chain(call.answers.iter().filter_map(|answer| answer.shape.as_ref())) {
                assert!(shapes.iter().any(|(shape, _)| shape == name), "{name}");
            }
        }
    }
}
