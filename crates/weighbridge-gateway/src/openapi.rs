//! `GET /openapi.json`: what is served, described for machines. The description is a file, `openapi.json` beside this
//! folder; tests hold its fields against those that are read, and its addresses against the running program.

use axum::response::{IntoResponse, Response};
use http::header;

const DESCRIPTION: &str = include_str!("../openapi.json");

/// The description, OpenAPI 3.1.
pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DESCRIPTION).into_response()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;
    use crate::wire::known;

    fn description() -> Value {
        serde_json::from_str(DESCRIPTION).expect("it is JSON")
    }

    #[test]
    fn every_field_that_is_read_is_described_and_no_other() {
        let schemas = &description()["components"]["schemas"];
        for (schema, read) in [
            ("ChatCompletionRequest", known::CHAT),
            ("CompletionRequest", known::COMPLETIONS),
            ("ResponseRequest", known::RESPONSES),
            ("CompactionRequest", known::COMPACTIONS),
            ("MessageRequest", known::MESSAGES),
            ("MessageCountRequest", known::MESSAGES),
            ("TemplateRequest", known::CONVERSATION),
        ] {
            let described = schemas[schema]["properties"].as_object().expect(schema).keys().map(String::as_str);
            assert_eq!(described.collect::<BTreeSet<_>>(), read.iter().copied().collect(), "{schema}");
        }
    }

    #[test]
    fn every_reference_leads_somewhere() {
        fn walk(value: &Value, document: &Value) {
            match value {
                Value::Object(fields) => {
                    if let Some(path) = fields.get("$ref").and_then(Value::as_str) {
                        let target = path.strip_prefix('#').expect("it stays in the file");
                        assert!(document.pointer(target).is_some(), "{path}");
                    }
                    fields.values().for_each(|value| walk(value, document));
                }
                Value::Array(values) => values.iter().for_each(|value| walk(value, document)),
                _ => {}
            }
        }
        let document = description();
        walk(&document, &document);
        assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    }
}
