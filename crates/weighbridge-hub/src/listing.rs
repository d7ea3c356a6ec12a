//! What a repository holds at a commit, as the hub's API lists it.

use reqwest::Url;
use reqwest::header::{HeaderMap, LINK};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value as Json;

use crate::client::{Hub, contradiction};
use crate::digest::Digest;
use crate::error::HubError;
use crate::source::Repo;

/// Bytes of one answer of the API; a page of a thousand files takes some 300 KB.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// Pages of a list, a thousand files each.
const PAGES_MAX: usize = 100;
const LICENCE_CHARS_MAX: usize = 100;
const REVISION_BYTES_MAX: usize = 200;

/// A repository at a commit.
pub(crate) struct Listing {
    /// 40 hexadecimal digits.
    pub(crate) commit: String,
    /// As its card states it.
    pub(crate) licence: Option<String>,
    pub(crate) files: Vec<ListedFile>,
}

pub(crate) struct ListedFile {
    /// As the hub states it: not checked yet.
    pub(crate) path: String,
    pub(crate) size: u64,
    /// For what is stored as a large file; the hub states none for the others.
    pub(crate) sha256: Option<Digest>,
}

/// `/api/models/ORG/NAME/revision/REVISION`
#[derive(Deserialize)]
struct Info {
    sha: String,
    #[serde(default, rename = "cardData")]
    card: Json,
    #[serde(default)]
    tags: Vec<String>,
}

/// An entry of `/api/models/ORG/NAME/tree/COMMIT`
#[derive(Deserialize)]
struct Entry {
    #[serde(rename = "type")]
    kind: String,
    path: String,
    #[serde(default)]
    size: u64,
    lfs: Option<Lfs>,
}

#[derive(Deserialize)]
struct Lfs {
    oid: String,
    size: u64,
}

/// Looks up which commit `revision` is, and what is there.
pub(crate) async fn list(hub: &Hub, repo: &Repo, revision: &str) -> Result<Listing, HubError> {
    if revision.is_empty()
        || revision.len() > REVISION_BYTES_MAX
        || revision.split('/').any(|part| part.starts_with('.'))
    {
        return Err(HubError::Missing(format!("revision \"{}\" of {repo}", revision.escape_default())));
    }
    let of_repo = ["api", "models", repo.org(), repo.name()];
    let wanted = format!("{repo} at revision {}", revision.escape_default());
    let url = hub.url(of_repo.into_iter().chain(["revision", revision]));
    let (body, _) = hub.document(url, &wanted, ANSWER_BYTES_MAX).await?;
    let info: Info = parse(&body, &wanted)?;
    if info.sha.len() != 40 || !info.sha.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(contradiction(&wanted, "it names no commit".to_owned()));
    }
    let licence = licence(&info);
    let url = hub.url(of_repo.into_iter().chain(["tree", &info.sha]));
    let files = tree(hub, url, &format!("the files of {repo}")).await?;
    Ok(Listing { commit: info.sha, licence, files })
}

async fn tree(hub: &Hub, mut url: Url, wanted: &str) -> Result<Vec<ListedFile>, HubError> {
    url.set_query(Some("recursive=true"));
    let mut files = Vec::new();
    for _ in 0..PAGES_MAX {
        let (body, headers) = hub.document(url.clone(), wanted, ANSWER_BYTES_MAX).await?;
        let page: Vec<Entry> = parse(&body, wanted)?;
        for entry in page.into_iter().filter(|entry| entry.kind == "file") {
            files.push(listed(entry, wanted)?);
        }
        match next_page(&url, &headers) {
            None => return Ok(files),
            // `document` goes nowhere but to the hub itself.
            Some(next) => url = next,
        }
    }
    Err(contradiction(wanted, format!("the list has more than {PAGES_MAX} pages")))
}

fn listed(entry: Entry, wanted: &str) -> Result<ListedFile, HubError> {
    let Some(lfs) = entry.lfs else {
        return Ok(ListedFile { path: entry.path, size: entry.size, sha256: None });
    };
    let oid = lfs.oid.strip_prefix("sha256:").unwrap_or(&lfs.oid);
    let sha256 = oid
        .parse()
        .map_err(|error| contradiction(wanted, format!("the digest of {}: {error}", entry.path.escape_default())))?;
    Ok(ListedFile { path: entry.path, size: lfs.size, sha256: Some(sha256) })
}

/// `Link: <URL>; rel="next"`
fn next_page(from: &Url, headers: &HeaderMap) -> Option<Url> {
    let links = headers.get(LINK)?.to_str().ok()?;
    let next = links.split(',').find(|link| link.contains("rel=\"next\""))?;
    let (_, rest) = next.split_once('<')?;
    from.join(rest.split_once('>')?.0).ok()
}

fn licence(info: &Info) -> Option<String> {
    let card = |key: &str| info.card.get(key).and_then(Json::as_str);
    // "other" is a licence of its own, which has its name beside it.
    let named = card("license").filter(|licence| *licence != "other").or(card("license_name")).or(card("license"));
    let tagged = info.tags.iter().find_map(|tag| tag.strip_prefix("license:"));
    let text = named.or(tagged)?;
    Some(text.chars().filter(|c| !c.is_control()).take(LICENCE_CHARS_MAX).collect())
}

fn parse<T: DeserializeOwned>(body: &[u8], wanted: &str) -> Result<T, HubError> {
    // The reason names a place in the answer, not what stands there.
    serde_json::from_slice(body).map_err(|error| {
        contradiction(
            wanted,
            format!("it is not the JSON it should be (line {}, column {})", error.line(), error.column()),
        )
    })
}
