//! Plain requests and what comes back.

use std::sync::OnceLock;

use reqwest::header::HeaderMap;
use serde_json::Value;

/// A client that speaks to this machine directly, whatever proxies the environment names.
pub fn client() -> reqwest::Client {
    static PROVIDER: OnceLock<()> = OnceLock::new();
    PROVIDER.get_or_init(|| {
        // An error means that it is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    let client = reqwest::Client::builder().no_proxy().timeout(crate::PATIENCE).build();
    client.expect("a client without settings can be built")
}

/// An answer, read whole.
#[derive(Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: String,
}

impl Reply {
    pub(crate) async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.text().await.expect("the answer arrives whole");
        Self { status, headers, body }
    }

    /// The body as JSON; null where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    /// A header; empty where it is missing.
    pub fn header(&self, name: &str) -> &str {
        header(&self.headers, name)
    }

    /// The text of the first answer; empty where there is none.
    pub fn text(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// Status and error code, for an assertion in one line: `(400, "invalid_json")`. The code is empty where
    /// there is none.
    pub fn error(&self) -> (u16, String) {
        (self.status, self.json()["error"]["code"].as_str().unwrap_or_default().to_owned())
    }

    /// The error's message.
    pub fn message(&self) -> String {
        self.json()["error"]["message"].as_str().unwrap_or_default().to_owned()
    }

    /// Holds the answer against an error: status, code, and a piece of the message. Every error also has
    /// the four keys of OpenAI's.
    #[track_caller]
    pub fn assert_error(&self, status: u16, code: &str, piece: &str) {
        assert_eq!(self.error(), (status, code.to_owned()), "{}", self.body);
        assert!(self.message().contains(piece), "{:?} does not say {piece:?}", self.message());
        let error = &self.json()["error"];
        for key in ["message", "type", "param", "code"] {
            assert!(error.get(key).is_some(), "the error has no {key}: {error}");
        }
    }

    /// Holds the answer against a text, from a backend.
    #[track_caller]
    pub fn assert_says(&self, text: &str, backend: &str) {
        assert_eq!((self.status, self.text().as_str()), (200, text), "{}", self.body);
        assert_eq!(self.header("x-weighbridge-backend"), backend);
    }
}

pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> &'h str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}
