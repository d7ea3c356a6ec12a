//! How far the content of a request may travel.

use std::fmt;
use std::str::FromStr;

/// A data class, in ascending order: the class of a request says how far its content may travel, the
/// clearance of a backend the highest class it may receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DataClass {
    /// May be known to anyone.
    Public,
    /// May leave the house to parties under contract.
    Internal,
    /// May leave the house only to parties cleared for it by name.
    Confidential,
    /// Stays on machines of our own.
    Restricted,
}

impl DataClass {
    /// Every class, lowest first.
    pub const ALL: [Self; 4] = [Self::Public, Self::Internal, Self::Confidential, Self::Restricted];

    /// The word for it in configs, headers and records.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Confidential => "confidential",
            Self::Restricted => "restricted",
        }
    }
}

impl fmt::Display for DataClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no data class.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownClass;

impl fmt::Display for UnknownClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected one of public, internal, confidential, restricted")
    }
}

impl std::error::Error for UnknownClass {}

impl FromStr for DataClass {
    type Err = UnknownClass;

    fn from_str(word: &str) -> Result<Self, UnknownClass> {
        Self::ALL.into_iter().find(|class| class.as_str() == word).ok_or(UnknownClass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_ordered_and_read_back_from_their_words() {
        assert!(DataClass::ALL.is_sorted());
        for class in DataClass::ALL {
            assert_eq!(class.to_string().parse(), Ok(class));
        }
        assert_eq!("secret".parse::<DataClass>(), Err(UnknownClass));
    }
}
