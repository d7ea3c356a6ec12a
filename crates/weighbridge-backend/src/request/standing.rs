//! Whose a request is, and how it is to be treated.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use crate::DataClass;

/// Whose a request is and how it is to be treated, as the gateway found. A local model goes by it; nothing of it is sent
/// to a provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Who asks; `None` where the gateway is open.
    pub caller: Option<Arc<str>>,
    /// How far its content may travel.
    pub class: DataClass,
    /// Whether somebody sits before the answer.
    pub priority: Priority,
    /// When nobody wants the answer any more.
    pub deadline: Option<Instant>,
}

/// Nobody's, of the highest class, so that what nothing was said about shares nothing with others.
impl Default for Standing {
    fn default() -> Self {
        Self { caller: None, class: DataClass::Restricted, priority: Priority::Interactive, deadline: None }
    }
}

/// Whether somebody sits before the answer. The lower goes after the higher.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// It may take its time.
    Batch,
    /// Somebody does: it goes before batches.
    #[default]
    Interactive,
}

impl Priority {
    /// The words for them in configs and headers.
    pub const NAMES: [&'static str; 2] = ["interactive", "batch"];
}

/// A word that names no priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownPriority;

impl fmt::Display for UnknownPriority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", Priority::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownPriority {}

impl FromStr for Priority {
    type Err = UnknownPriority;

    fn from_str(word: &str) -> Result<Self, UnknownPriority> {
        match word {
            "interactive" => Ok(Self::Interactive),
            "batch" => Ok(Self::Batch),
            _ => Err(UnknownPriority),
        }
    }
}
