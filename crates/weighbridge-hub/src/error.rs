//! How a pull fails, each time with what to do.

use std::io;
use std::path::{Path, PathBuf};

use crate::digest::Digest;

/// Why something was not fetched, found, held or removed. Safe to log: it holds no token and no signed address.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HubError {
    /// Nothing was sent.
    #[error("offline ({reason}): no request leaves this machine, so {wanted} cannot be fetched")]
    Offline {
        /// Who said so.
        reason: String,
        /// What would have been asked for.
        wanted: String,
    },
    /// The address of the hub, or the token, cannot be used, or TLS cannot be set up.
    #[error("cannot set up the connection to the hub: {0}")]
    SetUp(String),
    /// The hub wants to know who asks, or does not let them.
    #[error(
        "the hub refused {wanted} (status {status}): it is not there, private, or gated; {}",
        if *.with_token {
            "accept its conditions on its page with the token's account, and check that the token may read it"
        } else {
            "accept its conditions on its page and name a variable that holds a token with --token-env, or with token_env in [hub] of the config"
        }
    )]
    Denied {
        /// What was asked for.
        wanted: String,
        /// 401 or 403.
        status: u16,
        /// Whether a token was sent along.
        with_token: bool,
    },
    /// There is no such repository, revision or file.
    #[error("the hub has no {0}; check its name")]
    Missing(String),
    /// An answer that is none.
    #[error("the request for {wanted} failed with status {status}; try again later")]
    Status {
        /// What was asked for.
        wanted: String,
        /// Of the last attempt.
        status: u16,
    },
    /// No answer, or one that broke off; what has arrived is kept.
    #[error(
        "the connection broke off while fetching {wanted}: {reason}; run the same command again to go on from there"
    )]
    Network {
        /// What was asked for.
        wanted: String,
        /// What the connection said.
        reason: String,
    },
    /// An answer that contradicts itself or the list of files.
    #[error("the hub's answer for {wanted} cannot be right: {reason}; nothing of it is used")]
    Contradiction {
        /// What was asked for.
        wanted: String,
        /// Both sides of it.
        reason: String,
    },
    /// Bytes that are not the ones that were promised; they are deleted.
    #[error("{file} has SHA-256 {found}, but {expected} was promised ({by}); it is deleted, nothing of it is used")]
    WrongDigest {
        /// Its path in the repository.
        file: String,
        /// Who promised.
        by: &'static str,
        /// What was promised.
        expected: Digest,
        /// What came.
        found: Digest,
    },
    /// Nothing, or too much, matches what was asked for.
    #[error("{0}")]
    Choice(String),
    /// Pulled already, at another commit.
    #[error("{repo} is here at revision {here}, and {asked} was asked for; say --update to move it there")]
    OtherRevision {
        /// Which repository.
        repo: String,
        /// The commit of the record.
        here: String,
        /// The commit that was asked for.
        asked: String,
    },
    /// The disk is too small.
    #[error("{needed} bytes are to come and the disk of {} has {free} free; make room or set WEIGHBRIDGE_DATA_DIR", .folder.display())]
    Space {
        /// What is still to come, and a reserve.
        needed: u64,
        /// What there is.
        free: u64,
        /// Where.
        folder: PathBuf,
    },
    /// The disk became full on the way.
    #[error(
        "the disk of {} is full; make room and run the same command again: what has arrived is kept, as far as it \
         could be written", .0.display()
    )]
    Full(PathBuf),
    /// Another pull of the same repository is under way.
    #[error("another pull of {0} is under way")]
    Busy(String),
    /// Not pulled.
    #[error("{0} has not been pulled; weighbridge models pull {0} does that")]
    NotPulled(String),
    /// A record, or what should be a folder of ours, is not what it should be.
    #[error("{} {reason}", .path.display())]
    Damaged {
        /// What was looked at.
        path: PathBuf,
        /// What is wrong, and what to do.
        reason: String,
    },
    /// A file could not be read or written.
    #[error("cannot {doing} {}: {source}", .path.display())]
    File {
        /// What was attempted.
        doing: &'static str,
        /// With which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// For `map_err`: what was attempted with which path.
pub(crate) fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> HubError {
    let path = path.to_owned();
    move |source| match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => HubError::Full(path),
        _ => HubError::File { doing, path, source },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_says_what_to_do() {
        let message = |kind: io::ErrorKind| failed("write", Path::new("models/x"))(kind.into()).to_string();
        assert!(message(io::ErrorKind::StorageFull).contains("make room and run the same command again"));
        assert!(message(io::ErrorKind::QuotaExceeded).contains("models/x is full"));
        assert!(message(io::ErrorKind::PermissionDenied).starts_with("cannot write models/x: "));
    }
}
