//! One file: in pieces, several at once, or in one where its server hands out no pieces.

use std::io::Write;
use std::ops::Range;

use futures_util::{TryStreamExt, stream};
use reqwest::header::CONTENT_RANGE;
use reqwest::{Response, StatusCode, Url};

use crate::client::{Answer, Attempt, Failures, Hub, broke_off, contradiction};
use crate::digest::Digest;
use crate::error::HubError;
use crate::part::Part;

/// Bytes that an attempt has to bring for the count of failures to begin anew.
const PROGRESS_BYTES: u64 = 64 << 10;

/// A file of the hub.
pub(crate) struct Remote<'a> {
    pub(crate) url: Url,
    /// Its path in the repository, for messages.
    pub(crate) path: &'a str,
    /// As the hub's list states it.
    pub(crate) size: u64,
    /// As the hub's list states it.
    pub(crate) sha256: Option<Digest>,
}

/// Why pieces are not fetched any more.
enum Stop {
    /// The server answers with the whole file, whatever was asked for.
    NoPieces,
    Failed(HubError),
}

impl From<HubError> for Stop {
    fn from(error: HubError) -> Self {
        Self::Failed(error)
    }
}

/// Fetches what is missing of `part`. `arrived` is told of bytes as they come; when a server that hands out no pieces
/// makes it begin anew, of as many less.
///
/// # Errors
/// What has arrived until then is saved in the part.
pub(crate) async fn fetch(
    hub: &Hub,
    remote: &Remote<'_>,
    part: &Part,
    arrived: &(dyn Fn(i64) + Sync),
) -> Result<(), HubError> {
    let done = match fetch_pieces(hub, remote, part, arrived).await {
        Err(Stop::NoPieces) => {
            arrived(-i64::try_from(part.done()).unwrap_or(i64::MAX));
            part.restart_whole()?;
            fetch_whole(hub, remote, part, arrived).await
        }
        Err(Stop::Failed(error)) => Err(error),
        Ok(()) => Ok(()),
    };
    // What went wrong before says more than a state that could not be saved.
    done.and(part.save())
}

async fn fetch_pieces(hub: &Hub, remote: &Remote<'_>, part: &Part, arrived: &(dyn Fn(i64) + Sync)) -> Result<(), Stop> {
    let missing = part.missing();
    let pieces = missing.into_iter().map(|(piece, range)| fetch_piece(hub, remote, part, piece, range, arrived));
    let fetched =
        stream::iter(pieces.map(Ok::<_, Stop>)).try_for_each_concurrent(hub.options.connections.max(1), |piece| piece);
    let result = fetched.await;
    part.save()?;
    result
}

async fn fetch_piece(
    hub: &Hub,
    remote: &Remote<'_>,
    part: &Part,
    piece: usize,
    mut range: Range<u64>,
    arrived: &(dyn Fn(i64) + Sync),
) -> Result<(), Stop> {
    let mut failures = Failures::new(&hub.options);
    while !range.is_empty() {
        let start = range.start;
        // A file that is one piece and has not begun needs no range.
        let asked = (range != (0..remote.size)).then(|| range.clone());
        let attempt = match hub.get(remote.url.clone(), remote.path, asked.clone(), true).await {
            Ok(answer) => {
                check_links(&answer, remote)?;
                if asked.is_some() && answer.response.status() == StatusCode::OK {
                    return Err(Stop::NoPieces);
                }
                check_length(&answer.response, remote, &range)?;
                receive(answer.response, remote, part, piece, &mut range, arrived).await
            }
            Err(attempt) => Err(attempt),
        };
        if range.start - start >= PROGRESS_BYTES.min(remote.size / 8 + 1) {
            failures.forget();
        }
        if let Err(attempt) = attempt {
            part.save()?;
            failures.wait_after(attempt).await?;
        }
    }
    Ok(())
}

/// The whole file in one answer. An attempt that breaks off begins at the first byte again.
async fn fetch_whole(
    hub: &Hub,
    remote: &Remote<'_>,
    part: &Part,
    arrived: &(dyn Fn(i64) + Sync),
) -> Result<(), HubError> {
    let mut failures = Failures::new(&hub.options);
    loop {
        let mut range = 0..remote.size;
        let attempt = match hub.get(remote.url.clone(), remote.path, None, true).await {
            Ok(answer) => {
                check_links(&answer, remote)?;
                check_length(&answer.response, remote, &range)?;
                receive(answer.response, remote, part, 0, &mut range, arrived).await
            }
            Err(attempt) => Err(attempt),
        };
        let Err(attempt) = attempt else { return Ok(()) };
        arrived(-i64::try_from(range.start).unwrap_or(i64::MAX));
        part.restart_whole()?;
        failures.wait_after(attempt).await?;
    }
}

/// Writes an answer into the part, and moves the start of `range` along with it.
async fn receive(
    mut response: Response,
    remote: &Remote<'_>,
    part: &Part,
    piece: usize,
    range: &mut Range<u64>,
    arrived: &(dyn Fn(i64) + Sync),
) -> Result<(), Attempt> {
    let mut file = part.writer(range.start)?;
    while let Some(bytes) = response.chunk().await.map_err(|error| broke_off(remote.path, error))? {
        let count = bytes.len() as u64;
        if count > range.end - range.start {
            let reason = format!("more bytes came than the {} of its list", remote.size);
            return Err(contradiction(remote.path, reason).into());
        }
        file.write_all(&bytes).map_err(crate::error::failed("write", part.path()))?;
        part.arrived(piece, count)?;
        range.start += count;
        arrived(i64::try_from(count).unwrap_or(i64::MAX));
    }
    if range.is_empty() {
        return Ok(());
    }
    let reason = format!("{} bytes were still to come", range.end - range.start);
    Err(Attempt::Again(HubError::Network { wanted: remote.path.to_owned(), reason }, None))
}

/// What the hub says of the file where it redirects must be what its list says.
fn check_links(answer: &Answer, remote: &Remote<'_>) -> Result<(), HubError> {
    if let Some(size) = answer.linked_size.filter(|size| *size != remote.size) {
        let reason = format!("its list says {} bytes, its redirect {size}", remote.size);
        return Err(contradiction(remote.path, reason));
    }
    let linked: Option<Digest> = answer.linked_etag.as_ref().and_then(|etag| etag.parse().ok());
    match (remote.sha256, linked) {
        (Some(listed), Some(linked)) if listed != linked => {
            Err(contradiction(remote.path, format!("its list says SHA-256 {listed}, its redirect {linked}")))
        }
        _ => Ok(()),
    }
}

/// What an answer says of its length must be what was asked for.
fn check_length(response: &Response, remote: &Remote<'_>, range: &Range<u64>) -> Result<(), HubError> {
    let wrong = |reason: String| Err(contradiction(remote.path, reason));
    let asked = range.end - range.start;
    if let Some(length) = response.content_length().filter(|length| *length != asked) {
        return wrong(format!("{asked} bytes were asked for, and it announces {length}"));
    }
    if response.status() != StatusCode::PARTIAL_CONTENT {
        return Ok(());
    }
    let stated = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let expected = format!("bytes {}-{}/", range.start, range.end - 1);
    let total = stated.strip_prefix(&expected);
    if total.is_none_or(|total| total != "*" && total.parse() != Ok(remote.size)) {
        return wrong(format!("{expected}{} was asked for, and it is \"{}\"", remote.size, stated.escape_default()));
    }
    Ok(())
}
