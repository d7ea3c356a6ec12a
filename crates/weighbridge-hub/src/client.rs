//! Speaks HTTP with a hub. Each request passes here: offline none leaves, the token goes to the hub's own address and
//! to no other, and redirects are followed by hand because of it.

use std::fmt;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue, LOCATION, RANGE, RETRY_AFTER};
use reqwest::{Response, StatusCode, Url, redirect};

use crate::error::HubError;

const REDIRECTS_MAX: usize = 5;
/// A longer `Retry-After` is not waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(60);
/// A wait between attempts is doubled up to this.
const LONGEST_BACKOFF: Duration = Duration::from_secs(15);

/// What says who asks. Prints as `***`.
#[derive(Clone)]
pub struct Token(String);

impl Token {
    /// A token as the hub gives it out.
    pub fn new(token: impl Into<String>) -> Self {
        Self(token.into())
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// How to reach a hub.
#[derive(Clone, Debug)]
pub struct HubOptions {
    /// Where it is, without a path where it has none: `https://huggingface.co`.
    pub endpoint: String,
    /// For repositories that are private or gated.
    pub token: Option<Token>,
    /// Who said that no request may leave this machine; none where they may.
    pub offline: Option<String>,
    /// Pieces of a file that are under way at once; at least 1.
    pub connections: usize,
    /// Bytes of a piece; none means between 8 and 64 MiB, by the file's size.
    pub piece_bytes: Option<u64>,
    /// Attempts in a row that may fail without having brought anything.
    pub retries: u32,
    /// The wait before the second of them; it doubles.
    pub backoff: Duration,
    /// Until a connection stands.
    pub connect_timeout: Duration,
    /// Without a byte.
    pub read_timeout: Duration,
}

impl HubOptions {
    /// The hub at `endpoint`, with four connections and patience for a slow line.
    pub fn new(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: endpoint.into(),
            token: None,
            offline: None,
            connections: 4,
            piece_bytes: None,
            retries: 5,
            backoff: Duration::from_millis(500),
            connect_timeout: Duration::from_secs(10),
            read_timeout: Duration::from_secs(60),
        }
    }
}

/// A connection to a hub. Nothing is sent before something is pulled.
#[derive(Debug)]
pub struct Hub {
    pub(crate) options: HubOptions,
    endpoint: Url,
    authorization: Option<HeaderValue>,
    http: reqwest::Client,
}

/// An answer of status 200 or 206, and what the hub said of the file on the way to it.
pub(crate) struct Answer {
    pub(crate) response: Response,
    /// `x-linked-etag`: for a large file its SHA-256.
    pub(crate) linked_etag: Option<String>,
    /// `x-linked-size`.
    pub(crate) linked_size: Option<u64>,
}

/// What became of one attempt.
pub(crate) enum Attempt {
    /// It will be the same the next time.
    Final(HubError),
    /// Another may succeed, after this long where the server said so.
    Again(HubError, Option<Duration>),
}

impl From<HubError> for Attempt {
    fn from(error: HubError) -> Self {
        Self::Final(error)
    }
}

impl Hub {
    /// Sets up a client. Proxies come from the environment, but a hub at a loopback address is spoken to directly;
    /// certificates are checked by the system's store.
    ///
    /// # Errors
    /// When the endpoint or the token cannot be used, or TLS cannot be set up.
    pub fn new(options: HubOptions) -> Result<Self, HubError> {
        let endpoint = endpoint(&options.endpoint)?;
        let authorization = options.token.as_ref().map(authorization).transpose()?;
        let http = http_client(&options, &endpoint).map_err(|error| HubError::SetUp(causes(error)))?;
        Ok(Self { options, endpoint, authorization, http })
    }

    /// Where it is.
    pub fn endpoint(&self) -> &str {
        self.endpoint.as_str().trim_end_matches('/')
    }

    /// An address of the hub: its endpoint and these segments, each escaped.
    pub(crate) fn url<'s>(&self, segments: impl IntoIterator<Item = &'s str>) -> Url {
        let mut url = self.endpoint.clone();
        // `endpoint` has made sure that segments can be added.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Whether this address is the hub's own, to which alone the token goes.
    pub(crate) fn is_own(&self, url: &Url) -> bool {
        url.origin() == self.endpoint.origin()
    }

    /// An answer of the hub's own, of at most `most` bytes, and its headers. Asked again where that may help.
    pub(crate) async fn document(&self, url: Url, wanted: &str, most: usize) -> Result<(Vec<u8>, HeaderMap), HubError> {
        let mut failures = Failures::new(&self.options);
        loop {
            match self.try_document(url.clone(), wanted, most).await {
                Ok(document) => return Ok(document),
                Err(attempt) => failures.wait_after(attempt).await?,
            }
        }
    }

    async fn try_document(&self, url: Url, wanted: &str, most: usize) -> Result<(Vec<u8>, HeaderMap), Attempt> {
        let Answer { mut response, .. } = self.get(url, wanted, None, false).await?;
        let mut body = Vec::new();
        while let Some(bytes) = response.chunk().await.map_err(|error| broke_off(wanted, error))? {
            if body.len() + bytes.len() > most {
                return Err(contradiction(wanted, format!("it is longer than {most} bytes")).into());
            }
            body.extend_from_slice(&bytes);
        }
        Ok((body, response.headers().clone()))
    }

    /// One attempt at `url`. With `leave`, redirects to other addresses are followed, without the token.
    pub(crate) async fn get(
        &self,
        mut url: Url,
        wanted: &str,
        range: Option<Range<u64>>,
        leave: bool,
    ) -> Result<Answer, Attempt> {
        if let Some(reason) = &self.options.offline {
            return Err(HubError::Offline { reason: reason.clone(), wanted: wanted.to_owned() }.into());
        }
        let (mut linked_etag, mut linked_size) = (None, None);
        for _ in 0..=REDIRECTS_MAX {
            let own = self.is_own(&url);
            if !own && !leave {
                return Err(contradiction(wanted, "it leads to another address".to_owned()).into());
            }
            let mut request = self.http.get(url.clone());
            if let Some(range) = &range {
                request = request.header(RANGE, format!("bytes={}-{}", range.start, range.end.saturating_sub(1)));
            }
            if let Some(authorization) = self.authorization.as_ref().filter(|_| own) {
                request = request.header(AUTHORIZATION, authorization.clone());
            }
            let response = request.send().await.map_err(|error| broke_off(wanted, error))?;
            if own {
                let text = |name: &str| response.headers().get(name).and_then(|value| value.to_str().ok());
                linked_etag = text("x-linked-etag").map(|etag| etag.trim_matches('"').to_owned()).or(linked_etag);
                linked_size = text("x-linked-size").and_then(|size| size.parse().ok()).or(linked_size);
            }
            if response.status().is_redirection() {
                url = next(&url, &response, wanted)?;
                continue;
            }
            self.check_status(&response, wanted, own)?;
            return Ok(Answer { response, linked_etag, linked_size });
        }
        Err(contradiction(wanted, format!("it was redirected more than {REDIRECTS_MAX} times")).into())
    }

    fn check_status(&self, response: &Response, wanted: &str, own: bool) -> Result<(), Attempt> {
        let status = response.status();
        let failed = || HubError::Status { wanted: wanted.to_owned(), status: status.as_u16() };
        match status {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => Ok(()),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if own => Err(HubError::Denied {
                wanted: wanted.to_owned(),
                status: status.as_u16(),
                with_token: self.authorization.is_some(),
            }
            .into()),
            StatusCode::NOT_FOUND if own => Err(HubError::Missing(wanted.to_owned()).into()),
            StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT => {
                Err(Attempt::Again(failed(), retry_after(response)))
            }
            _ if status.is_server_error() => Err(Attempt::Again(failed(), retry_after(response))),
            // A signed address that has expired: the hub gives out another.
            _ if !own && status.is_client_error() => Err(Attempt::Again(failed(), None)),
            _ => Err(failed().into()),
        }
    }
}

/// Counts failures in a row and waits between them.
pub(crate) struct Failures {
    left: u32,
    retries: u32,
    backoff: Duration,
    first_backoff: Duration,
}

impl Failures {
    pub(crate) fn new(options: &HubOptions) -> Self {
        let (retries, backoff) = (options.retries, options.backoff);
        Self { left: retries, retries, backoff, first_backoff: backoff }
    }

    /// Something has arrived since: the count begins anew.
    pub(crate) fn forget(&mut self) {
        (self.left, self.backoff) = (self.retries, self.first_backoff);
    }

    /// Waits before another attempt.
    ///
    /// # Errors
    /// The attempt's own, where there is no use in another or there were too many.
    pub(crate) async fn wait_after(&mut self, attempt: Attempt) -> Result<(), HubError> {
        let (error, wait) = match attempt {
            Attempt::Final(error) => return Err(error),
            Attempt::Again(error, wait) => (error, wait),
        };
        if self.left == 0 || wait.is_some_and(|wait| wait > LONGEST_WAIT) {
            return Err(error);
        }
        self.left -= 1;
        tokio::time::sleep(wait.unwrap_or(self.backoff)).await;
        self.backoff = (self.backoff * 2).min(LONGEST_BACKOFF);
        Ok(())
    }
}

fn endpoint(text: &str) -> Result<Url, HubError> {
    let wrong = |reason: &str| HubError::SetUp(format!("its address {reason}; write https://huggingface.co"));
    let mut url = Url::parse(text.trim()).map_err(|error| wrong(&format!("is no URL ({error})")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(wrong("is neither http nor https"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong("holds a user or a password, which a token stands for"));
    }
    url.set_fragment(None);
    url.set_query(None);
    Ok(url)
}

fn authorization(token: &Token) -> Result<HeaderValue, HubError> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.0.trim()))
        .map_err(|_| HubError::SetUp("the token holds what no header may hold".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn http_client(options: &HubOptions, endpoint: &Url) -> reqwest::Result<reqwest::Client> {
    // An error means that a provider is installed already, which serves as well.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("weighbridge/", env!("CARGO_PKG_VERSION")))
            .redirect(redirect::Policy::none())
            .referer(false)
            .connect_timeout(options.connect_timeout)
            .read_timeout(options.read_timeout);
        if is_loopback(endpoint) { builder.no_proxy() } else { builder }
    };
    match builder().build() {
        // A small container may have no certificates, and a mirror without TLS needs none.
        Err(_) if endpoint.scheme() == "http" => builder().tls_certs_only([]).build(),
        built => built,
    }
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Where a redirect leads.
fn next(from: &Url, response: &Response, wanted: &str) -> Result<Url, Attempt> {
    let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
    let url = location.and_then(|location| from.join(location).ok());
    let Some(url) = url.filter(|url| matches!(url.scheme(), "http" | "https")) else {
        return Err(contradiction(wanted, "it is redirected to no address".to_owned()).into());
    };
    if from.scheme() == "https" && url.scheme() == "http" {
        return Err(contradiction(wanted, "it is redirected to an address without TLS".to_owned()).into());
    }
    Ok(url)
}

/// `Retry-After`, in seconds or as a date; one that has passed is no wait.
fn retry_after(response: &Response) -> Option<Duration> {
    wait_until(response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim(), SystemTime::now())
}

fn wait_until(text: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Some(SystemTime::try_from(date).ok()?.duration_since(now).unwrap_or_default())
}

pub(crate) fn contradiction(wanted: &str, reason: String) -> HubError {
    HubError::Contradiction { wanted: wanted.to_owned(), reason }
}

pub(crate) fn broke_off(wanted: &str, error: reqwest::Error) -> Attempt {
    Attempt::Again(HubError::Network { wanted: wanted.to_owned(), reason: causes(error) }, None)
}

/// An error with its causes, without the address: a signed one is a secret for a while.
fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn a_wait_is_read_in_seconds_and_as_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(10);
        let check =
            |text: &str, seconds: Option<u64>| assert_eq!(wait_until(text, now), seconds.map(Duration::from_secs));
        check("7", Some(7));
        check("Thu, 01 Jan 1970 00:01:00 GMT", Some(50));
        check("Thu, 01 Jan 1970 00:00:01 GMT", Some(0));
        check("soon", None);
        check("-1", None);
    }
}
