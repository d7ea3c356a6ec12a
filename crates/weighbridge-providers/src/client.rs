//! One account at a provider: its address, its key, its connections.

use std::net::IpAddr;
use std::sync::Arc;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{RequestBuilder, Url, redirect};

use crate::peer::Peer;
use crate::{ProviderOptions, Secret};

/// Headers that the client sets by itself; an operator who sets them would break the request.
const OUR_HEADERS: [&str; 6] =
    ["accept-encoding", "connection", "content-length", "content-type", "host", "transfer-encoding"];

/// An account at a provider, shared by its models; clones share connections.
#[derive(Clone)]
pub struct Client(pub(crate) Arc<Account>);

/// What every attempt at this provider needs.
pub(crate) struct Account {
    pub(crate) options: ProviderOptions,
    pub(crate) peer: Peer,
    http: reqwest::Client,
    url: Url,
    headers: HeaderMap,
}

/// Why a provider's settings are of no use. Whoever shows it adds which provider it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The base URL cannot be used.
    #[error("its base_url is no use ({reason}); expected one such as https://api.openai.com/v1")]
    BaseUrl {
        /// What is wrong with it.
        reason: String,
    },
    /// The key cannot be sent.
    #[error("its key holds a line break or another character that no header may carry")]
    Key,
    /// A header's name or value is not allowed.
    #[error("its header {header:?} cannot be set ({reason})")]
    Header {
        /// The header's name.
        header: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// TLS or the resolver could not be set up.
    #[error("its client cannot be set up: {reason}; are the CA certificates of this system installed?")]
    SetUp {
        /// What went wrong.
        reason: String,
    },
}

impl Client {
    /// A client for an account. Opens no connection yet. TLS is rustls on ring, which is made this
    /// process's default where none is; certificates are checked by the system's store. Proxies come from
    /// the environment, but a loopback address is always spoken to directly. Redirects are not followed:
    /// they could carry a request to a place that nobody cleared.
    ///
    /// # Errors
    /// When the base URL, the key or a header cannot be used, or TLS cannot be set up.
    pub fn new(options: ProviderOptions) -> Result<Self, ClientError> {
        let url = chat_url(&options)?;
        let headers = headers(&options)?;
        let secrets = options.headers.iter().map(|(_, value)| value.clone());
        let key = options.key.as_ref().map(|key| key.expose().to_owned());
        let peer = Peer::new(options.name.clone(), key.into_iter().chain(secrets));
        let http = http_client(&options, &url).map_err(|error| ClientError::SetUp { reason: peer.causes(error) })?;
        Ok(Self(Arc::new(Account { options, peer, http, url, headers })))
    }
}

impl Account {
    /// A request for a chat completion, ready to send.
    pub(crate) fn post(&self, body: Vec<u8>) -> RequestBuilder {
        self.http.post(self.url.clone()).headers(self.headers.clone()).body(body)
    }
}

fn http_client(options: &ProviderOptions, url: &Url) -> reqwest::Result<reqwest::Client> {
    // An error means that a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let mut builder = reqwest::Client::builder()
        .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
        .redirect(redirect::Policy::none())
        .referer(false)
        .connect_timeout(options.timeouts.connect);
    if is_loopback(url) {
        builder = builder.no_proxy();
    }
    if url.scheme() == "http" {
        // Without TLS there is nothing to check, and a small container may have no certificates to load.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

fn chat_url(options: &ProviderOptions) -> Result<Url, ClientError> {
    let wrong = |reason: &str| ClientError::BaseUrl { reason: reason.to_owned() };
    let mut url = Url::parse(options.base_url.trim()).map_err(|error| wrong(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(wrong("it is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("it holds a user or a password, which belong in the key or a header"));
    }
    url.set_fragment(None);
    url.path_segments_mut()
        .map_err(|()| wrong("nothing can be added to it"))?
        .pop_if_empty()
        .extend(["chat", "completions"]);
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn headers(options: &ProviderOptions) -> Result<HeaderMap, ClientError> {
    let mut headers = HeaderMap::new();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(ACCEPT, HeaderValue::from_static("text/event-stream, application/json"));
    if let Some(key) = &options.key {
        headers.insert(AUTHORIZATION, bearer(key)?);
    }
    for (name, value) in &options.headers {
        let wrong = |reason| ClientError::Header { header: name.clone(), reason };
        let header = HeaderName::try_from(name.as_str()).map_err(|_| wrong("its name is no header name"))?;
        if OUR_HEADERS.contains(&header.as_str()) {
            return Err(wrong("the client sets it by itself"));
        }
        let mut value = HeaderValue::try_from(value.as_str())
            .map_err(|_| wrong("its value holds a character that no header may carry"))?;
        value.set_sensitive(true);
        headers.insert(header, value);
    }
    Ok(headers)
}

fn bearer(key: &Secret) -> Result<HeaderValue, ClientError> {
    let mut value = HeaderValue::try_from(format!("Bearer {}", key.expose().trim())).map_err(|_| ClientError::Key)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_chat_address_is_the_base_and_two_segments() {
        check("https://api.openai.com/v1", Some("https://api.openai.com/v1/chat/completions"));
        check("https://api.openai.com/v1/", Some("https://api.openai.com/v1/chat/completions"));
        check("http://[::1]:8000", Some("http://[::1]:8000/chat/completions"));
        check("https://x/openai?api-version=1", Some("https://x/openai/chat/completions?api-version=1"));
        for refused in ["", "api.openai.com/v1", "ftp://x/v1", "https://user:pass@x/v1", "data:text/plain,x"] {
            check(refused, None);
        }
    }

    #[test]
    fn only_this_machine_is_loopback() {
        for (url, expected) in [
            ("http://localhost:1/", true),
            ("http://127.0.0.2/", true),
            ("http://[::1]/", true),
            ("http://10.0.0.1/", false),
            ("http://localhost.example.com/", false),
        ] {
            assert_eq!(Url::parse(url).map(|url| is_loopback(&url)), Ok(expected), "{url}");
        }
    }

    #[test]
    fn a_header_that_breaks_the_request_is_refused() {
        for (name, value) in [("Host", "x"), ("bad name", "x"), ("x-good", "a\nb")] {
            let mut options = ProviderOptions::new("p", "http://localhost");
            options.headers = vec![(name.to_owned(), value.to_owned())];
            assert!(matches!(headers(&options), Err(ClientError::Header { .. })), "{name}");
        }
    }

    #[test]
    fn an_error_about_a_key_does_not_show_it() {
        let mut options = ProviderOptions::new("p", "http://localhost");
        options.key = Some(Secret::new("sk-\nsecret".to_owned()));
        let message = headers(&options).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("its key") && !message.contains("secret"), "{message}");
    }

    fn check(base: &str, expected: Option<&str>) {
        let url = chat_url(&ProviderOptions::new("p", base));
        assert_eq!(url.ok().as_ref().map(Url::as_str), expected, "{base}");
    }
}
