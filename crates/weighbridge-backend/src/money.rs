//! Money as an integer.

use std::fmt;
use std::iter::Sum;
use std::ops::Add;

/// Billionths of a US dollar.
///
/// A list price of 0.15 USD for a million tokens is 150 of these a token, so that every cost is exact: a
/// millionth would already round the price of one token away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NanoUsd(pub u64);

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// The amount that `usd` dollars are, rounded to the nearest; `None` when negative, not a number or
    /// above 18 billion dollars.
    pub fn from_usd(usd: f64) -> Option<Self> {
        let nano = (usd * 1e9).round();
        (nano >= 0.0 && nano < u64::MAX as f64).then_some(Self(nano as u64))
    }

    /// What `tokens` cost at this price for a million of them, rounded to the nearest.
    pub fn for_tokens(self, tokens: u64) -> Self {
        let nano = (u128::from(self.0) * u128::from(tokens) + 500_000) / 1_000_000;
        Self(u64::try_from(nano).unwrap_or(u64::MAX))
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
        amounts.fold(Self::ZERO, Add::add)
    }
}

/// Dollars, without trailing zeros: `0`, `0.00000625`, `12.5`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, fraction) = (self.0 / 1_000_000_000, self.0 % 1_000_000_000);
        if fraction == 0 {
            return f.pad(&whole.to_string());
        }
        f.pad(format!("{whole}.{fraction:09}").trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cost_is_exact_to_the_nano() {
        let (input, output) = (NanoUsd::from_usd(0.25).unwrap_or_default(), NanoUsd::from_usd(2.0).unwrap_or_default());
        assert_eq!((input.for_tokens(9) + output.for_tokens(2)).to_string(), "0.00000625");
    }

    #[test]
    fn it_prints_as_dollars() {
        for (nano, text) in [(0, "0"), (1, "0.000000001"), (12_500_000_000, "12.5"), (1_000_000_000, "1")] {
            assert_eq!(NanoUsd(nano).to_string(), text);
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for usd in [-0.1, f64::NAN, f64::INFINITY, 1e11] {
            assert_eq!(NanoUsd::from_usd(usd), None, "{usd}");
        }
    }
}
