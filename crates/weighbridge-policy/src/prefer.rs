//! What a route prefers among the backends that may answer.

use std::fmt;
use std::str::FromStr;

/// What counts among the backends that satisfy every hard requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Prefer {
    /// The cheapest first, by the estimated cost of this request.
    Cost,
    /// The best first, by the quality that the operator gave it.
    Quality,
    /// The fastest first, by the time to the first token: what a backend foretells for this request, else the mean of
    /// what was measured.
    Latency,
    /// As the route lists them.
    Order,
}

impl Prefer {
    /// Every preference.
    pub const ALL: [Self; 4] = [Self::Cost, Self::Quality, Self::Latency, Self::Order];

    /// The words for them, in the order of [`Prefer::ALL`].
    pub const NAMES: [&'static str; 4] = ["cost", "quality", "latency", "order"];

    /// The word for it in configs and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Quality => "quality",
            Self::Latency => "latency",
            Self::Order => "order",
        }
    }
}

impl fmt::Display for Prefer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no preference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownPreference;

impl fmt::Display for UnknownPreference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "expected one of {}", Prefer::NAMES.join(", "))
    }
}

impl std::error::Error for UnknownPreference {}

impl FromStr for Prefer {
    type Err = UnknownPreference;

    fn from_str(word: &str) -> Result<Self, UnknownPreference> {
        Self::ALL.into_iter().find(|prefer| prefer.as_str() == word).ok_or(UnknownPreference)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn preferences_are_read_back_from_their_words() {
        assert_eq!(Prefer::ALL.map(Prefer::as_str), Prefer::NAMES);
        for prefer in Prefer::ALL {
            assert_eq!(prefer.to_string().parse(), Ok(prefer));
        }
        assert_eq!("Cost".parse::<Prefer>(), Err(UnknownPreference));
        assert_eq!(UnknownPreference.to_string(), "expected one of cost, quality, latency, order");
    }
}
