//! Routes: which requests they take, and the policy among their backends.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use weighbridge_backend::{BackendId, Capability, DataClass};

use crate::{Pattern, Prefer};

/// Rules that match requests, with the backends allowed and the policy among them.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Its name in headers, metrics and records.
    pub name: Arc<str>,
    /// The requests that it takes.
    pub matches: Match,
    /// The lowest class that its requests have.
    pub class: DataClass,
    /// The backends that may answer. Their order decides ties, and everything under [`Prefer::Order`]; one
    /// that is listed again counts where it stands first.
    pub backends: Vec<BackendId>,
    /// What counts among those that satisfy every requirement.
    pub prefer: Prefer,
    /// What it requires of a backend, beyond the class of the request.
    pub require: Require,
    /// What becomes of a request that names one of its backends as the model.
    pub named: Named,
}

/// The requests that a route takes: all lists must match, and an empty list matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Match {
    /// The model's name as the caller wrote it: one of these.
    pub models: Vec<Pattern>,
    /// Headers, by name in lower case: each of these is there and has a value that matches.
    pub headers: Vec<(String, Pattern)>,
    /// The caller's name: one of these. Who came without a key has no name, and is taken by none of them.
    pub callers: Vec<Pattern>,
    /// The path of the endpoint: one of these.
    pub paths: Vec<Pattern>,
    /// What the request asks for, hints among it: all of these.
    pub capabilities: Vec<Capability>,
}

/// What a route requires of a backend.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Require {
    /// The regions allowed; empty allows any, and also those that are not known.
    pub regions: Vec<String>,
    /// The lowest quality, 0 to 1; a backend whose quality is not known does not have it.
    pub min_quality: Option<f64>,
}

/// What becomes of a request that names a backend of its route as the model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Named {
    /// That backend is asked, and no other.
    #[default]
    Only,
    /// That backend is asked first, then the others may take over.
    First,
}

impl Named {
    /// The words for them.
    pub const NAMES: [&'static str; 2] = ["only", "first"];

    /// The word for it in configs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Only => "only",
            Self::First => "first",
        }
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that is no way to treat a model named outright.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownNaming;

impl fmt::Display for UnknownNaming {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", Named::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownNaming {}

impl FromStr for Named {
    type Err = UnknownNaming;

    fn from_str(word: &str) -> Result<Self, UnknownNaming> {
        [Self::Only, Self::First].into_iter().find(|named| named.as_str() == word).ok_or(UnknownNaming)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn namings_are_read_back_from_their_words() {
        for named in [Named::Only, Named::First] {
            assert_eq!(named.to_string().parse(), Ok(named));
        }
        assert_eq!("last".parse::<Named>(), Err(UnknownNaming));
        assert_eq!(UnknownNaming.to_string(), "expected one of only, first");
    }
}
