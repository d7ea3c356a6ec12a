//! Pages of other origins: which may ask, and what they may read. Without a word of the config, none.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};
use tower_http::cors::{AllowHeaders, AllowMethods, AllowOrigin, CorsLayer};

/// What a page may read of an answer's headers beside those that every page may.
const EXPOSED: [HeaderName; 12] = [
    HeaderName::from_static("x-request-id"),
    HeaderName::from_static("request-id"),
    HeaderName::from_static("retry-after"),
    HeaderName::from_static("x-should-retry"),
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("x-weighbridge-decision"),
    HeaderName::from_static("x-weighbridge-route"),
    HeaderName::from_static("x-weighbridge-backend"),
    HeaderName::from_static("x-weighbridge-class"),
    HeaderName::from_static("x-weighbridge-cost-usd"),
    HeaderName::from_static("x-weighbridge-unused-hints"),
    HeaderName::from_static("x-weighbridge-left-out-messages"),
];

/// The addresses that pages may ask.
const OPEN_TO_PAGES: &str = "/v1/";

/// Which pages of other origins may ask, at the addresses below `/v1`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// Their origins; all there are where it is `None`.
    pub origins: Option<Vec<HeaderValue>>,
    /// The methods that they may ask by.
    pub methods: Vec<Method>,
    /// The headers that they may send; whatever they want to where it is `None`.
    pub headers: Option<Vec<HeaderName>>,
    /// How long a browser may remember this.
    pub max_age: Duration,
}

impl Cors {
    /// Whether pages of this origin may ask.
    pub(crate) fn lets_in(&self, origin: &HeaderValue) -> bool {
        self.origins.as_ref().is_none_or(|origins| origins.contains(origin))
    }

    /// No credentials of the browser's are let in: a key is sent by the page itself.
    pub(crate) fn layer(&self) -> CorsLayer {
        let Self { origins, methods, headers, max_age } = self.clone();
        let may_ask = move |origin: &HeaderValue, request: &http::request::Parts| {
            let known = origins.as_ref().is_none_or(|origins| origins.contains(origin));
            known && request.uri.path().starts_with(OPEN_TO_PAGES)
        };
        CorsLayer::new()
            .allow_origin(AllowOrigin::predicate(may_ask))
            .allow_methods(AllowMethods::list(methods))
            .allow_headers(headers.map_or_else(AllowHeaders::mirror_request, AllowHeaders::list))
            .expose_headers(EXPOSED)
            .max_age(max_age)
    }
}
