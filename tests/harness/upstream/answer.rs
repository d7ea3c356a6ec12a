//! What each act puts on the wire.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::body::Body;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Act;
use super::body::{Step, body};

/// The answer to a request for `model`. `hung_up` is set where its reader goes away before its end.
pub(super) async fn answer(act: Act, model: &str, hung_up: Arc<AtomicBool>) -> Response {
    let words = Words { model };
    let steps = match act {
        Act::Says(pieces) => words.whole(&pieces, Duration::ZERO, true),
        Act::SaysSlowly(pieces, pause) => words.whole(&pieces, pause, true),
        Act::SaysWithoutUsage(pieces) => words.whole(&pieces, Duration::ZERO, false),
        Act::SaysChunks(chunks) => {
            let chunks = chunks.iter().map(|chunk| Step::Send(format!("data: {chunk}\n\n")));
            chunks.chain([Step::Send("data: [DONE]\n\n".to_owned())]).collect()
        }
        Act::SaysWhole(text) => return json_answer(200, &words.completion(text), None),
        Act::Refuses(status, body, retry_after) => return json_answer(status, &body, retry_after),
        Act::ShowsWebPage => return page(),
        Act::Hangs => {
            let _seen = super::body::HangUp::watch(hung_up);
            return std::future::pending().await;
        }
        Act::Closes => vec![Step::Break],
        Act::SaysNothing => Vec::new(),
        Act::StallsBeforeFirst => vec![words.role(), Step::Stall],
        Act::StallsAfter(pieces) => words.begin(&pieces, [Step::Stall]),
        // The pause lets what was said arrive: a broken connection takes what is unread with it.
        Act::CutsAfter(pieces) => words.begin(&pieces, [Step::Pause(Duration::from_millis(100)), Step::Break]),
        Act::EndsAfter(pieces) => words.begin(&pieces, []),
        Act::GarblesAfter(pieces) => words.begin(&pieces, [Step::Send("data: {\"choices\": [{\"del\n\n".to_owned())]),
        Act::FailsAfter(pieces) => {
            let error = json!({"error": {"message": "it broke", "type": "server_error", "code": "server_error"}});
            words.begin(&pieces, [Step::Send(format!("data: {error}\n\n"))])
        }
    };
    ([(header::CONTENT_TYPE, "text/event-stream")], body(steps, hung_up)).into_response()
}

fn json_answer(status: u16, body: &Value, retry_after: Option<&str>) -> Response {
    let status = StatusCode::from_u16(status).expect("a test names a real status");
    let mut response = (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response();
    if let Some(wait) = retry_after.and_then(|wait| wait.parse().ok()) {
        response.headers_mut().insert(header::RETRY_AFTER, wait);
    }
    response
}

fn page() -> Response {
    let body = Body::from("<!doctype html><title>Sign in</title>");
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], body).into_response()
}

/// Makes chunks.
struct Words<'m> {
    model: &'m str,
}

impl Words<'_> {
    fn whole(&self, pieces: &[&str], pause: Duration, usage: bool) -> Vec<Step> {
        let mut steps = vec![self.role()];
        for piece in pieces {
            if !pause.is_zero() {
                steps.push(Step::Pause(pause));
            }
            steps.push(self.piece(piece));
        }
        steps.push(self.chunk(&json!([{"index": 0, "delta": {}, "finish_reason": "stop"}]), &Value::Null));
        if usage {
            let used = json!({"prompt_tokens": 7, "completion_tokens": pieces.len(), "total_tokens": 7 + pieces.len()});
            steps.push(self.chunk(&json!([]), &used));
        }
        steps.push(Step::Send("data: [DONE]\n\n".to_owned()));
        steps
    }

    fn begin(&self, pieces: &[&str], then: impl IntoIterator<Item = Step>) -> Vec<Step> {
        let pieces = pieces.iter().map(|piece| self.piece(piece));
        std::iter::once(self.role()).chain(pieces).chain(then).collect()
    }

    fn role(&self) -> Step {
        let delta = json!({"role": "assistant", "content": ""});
        self.chunk(&json!([{"index": 0, "delta": delta, "finish_reason": null}]), &Value::Null)
    }

    fn piece(&self, text: &str) -> Step {
        self.chunk(&json!([{"index": 0, "delta": {"content": text}, "finish_reason": null}]), &Value::Null)
    }

    fn chunk(&self, choices: &Value, usage: &Value) -> Step {
        let chunk = json!({
            "id": "chatcmpl-upstream", "object": "chat.completion.chunk", "created": 1, "model": self.model,
            "choices": choices, "usage": usage,
        });
        Step::Send(format!("data: {chunk}\n\n"))
    }

    fn completion(&self, text: &str) -> Value {
        let message = json!({"role": "assistant", "content": text});
        json!({
            "id": "chatcmpl-upstream", "object": "chat.completion", "created": 1, "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 7, "completion_tokens": 1, "total_tokens": 8},
        })
    }
}
