//! The headers that say where a request went.

use axum::response::Response;
use http::{HeaderName, HeaderValue};
use weighbridge_backend::{BackendId, DataClass, NanoUsd};

use crate::account::Account;

/// The most hints that are named.
const MOST_HINTS: usize = 24;

/// Headers of an answer.
pub(crate) struct Heading {
    fields: Vec<(HeaderName, String)>,
}

impl Heading {
    /// Of a request that was turned away before it had a caller.
    pub(crate) fn of_refused(id: &str) -> Self {
        Self::new(id, None, None, None, Some(NanoUsd::ZERO))
    }

    /// Of a request that has come so far, and has cost or will cost so much.
    pub(crate) fn of_account(account: &Account, cost: NanoUsd) -> Self {
        let (route, class, backend) = account.whereabouts();
        let (class, backend) = (class.map(|class| class.as_str()), backend.map(|id| id.as_str()));
        Self::new(account.request_id(), route, class, backend, Some(cost))
    }

    /// Of a stream that is opened before it is known who answers: backend and cost come at its end.
    pub(crate) fn of_waiting(id: &str, route: &str, class: &str) -> Self {
        Self::new(id, Some(route), Some(class), None, None)
    }

    /// Of a question about text, which costs nothing.
    pub(crate) fn of_told(id: &str, route: &str, class: DataClass, backend: &BackendId) -> Self {
        Self::new(id, Some(route), Some(class.as_str()), Some(backend.as_str()), Some(NanoUsd::ZERO))
    }

    fn new(id: &str, route: Option<&str>, class: Option<&str>, backend: Option<&str>, cost: Option<NanoUsd>) -> Self {
        let word = |word: Option<&str>| word.unwrap_or("none").to_owned();
        let mut fields = vec![
            ("x-request-id", id.to_owned()),
            ("x-weighbridge-decision", id.to_owned()),
            ("x-weighbridge-route", word(route)),
            ("x-weighbridge-class", word(class)),
        ];
        if let Some(cost) = cost {
            fields.push(("x-weighbridge-backend", word(backend)));
            fields.push(("x-weighbridge-cost-usd", cost.to_string()));
        }
        Self { fields: fields.into_iter().map(|(name, value)| (HeaderName::from_static(name), value)).collect() }
    }

    /// Names the hints that the backend could not use: a long conversation may have one in each of its messages, and
    /// clients bound the headers that they take.
    pub(crate) fn with_unused_hints(mut self, hints: &[String]) -> Self {
        if !hints.is_empty() {
            let others = (hints.len() > MOST_HINTS).then_some("and others");
            let named = hints.iter().take(MOST_HINTS).map(String::as_str).chain(others);
            let named = named.collect::<Vec<_>>().join(", ");
            self.fields.push((HeaderName::from_static("x-weighbridge-unused-hints"), named));
        }
        self
    }

    /// Says how many of the oldest messages were left out.
    pub(crate) fn with_left_out(mut self, messages: usize) -> Self {
        if messages > 0 {
            self.fields.push((HeaderName::from_static("x-weighbridge-left-out-messages"), messages.to_string()));
        }
        self
    }

    pub(crate) fn put_on(self, mut response: Response) -> Response {
        for (name, value) in self.fields {
            // Names in the config are not bound to what a header may hold; what does not fit is escaped.
            let value =
                HeaderValue::from_str(&value).or_else(|_| HeaderValue::from_str(&value.escape_default().to_string()));
            if let Ok(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;

    #[test]
    fn unused_hints_are_named_up_to_a_bound() {
        let header = |count: usize| {
            let hints: Vec<String> = (0..count).map(|i| format!("messages[{i}].name")).collect();
            let response = Heading::of_refused("r-1").with_unused_hints(&hints).put_on(Response::new(Body::empty()));
            let header = response.headers().get("x-weighbridge-unused-hints");
            header.map(|names| names.to_str().expect("it is text").to_owned())
        };
        assert_eq!(header(0), None);
        assert_eq!(header(2).as_deref(), Some("messages[0].name, messages[1].name"));
        let many = header(100_000).expect("there are hints");
        assert!(many.len() < 1024 && many.ends_with("messages[23].name, and others"), "{many}");
    }
}
