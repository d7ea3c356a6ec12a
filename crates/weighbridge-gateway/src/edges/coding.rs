//! Content codings: which one a client takes, and which one a body came in.

use http::{HeaderMap, header};

/// A way to compress a body. In the order in which they are taken where a client likes several equally.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    Zstd,
    Brotli,
    Gzip,
}

impl Coding {
    const ALL: [Self; 3] = [Self::Zstd, Self::Brotli, Self::Gzip];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Zstd => "zstd",
            Self::Brotli => "br",
            Self::Gzip => "gzip",
        }
    }

    pub(crate) fn parse(word: &str) -> Option<Self> {
        if word.eq_ignore_ascii_case("x-gzip") {
            return Some(Self::Gzip);
        }
        Self::ALL.into_iter().find(|coding| word.eq_ignore_ascii_case(coding.as_str()))
    }

    /// The one that these headers like best; `None` where they name none, or like it no better than no coding.
    pub(crate) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let mut best: Option<(Self, u16)> = None;
        let values = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
        let wanted: Vec<(Self, u16)> = values.flat_map(|value| value.split(',')).filter_map(wish).collect();
        for coding in Self::ALL {
            // What stands twice counts as it stands last.
            let weight = wanted.iter().rev().find(|(wanted, _)| *wanted == coding).map_or(0, |(_, weight)| *weight);
            if weight > best.map_or(0, |(_, weight)| weight) {
                best = Some((coding, weight));
            }
        }
        best.map(|(coding, _)| coding)
    }
}

/// A coding and how much it is liked, in thousandths: `br;q=0.5`.
fn wish(item: &str) -> Option<(Coding, u16)> {
    let mut parts = item.split(';').map(str::trim);
    let coding = Coding::parse(parts.next()?)?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = match weight {
        None => 1000.0,
        // A weight that is none is not guessed at.
        Some(text) => text.trim().parse::<f32>().ok().filter(|weight| (0.0..=1.0).contains(weight))? * 1000.0,
    };
    Some((coding, weight as u16))
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn accepted(values: &[&str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::ACCEPT_ENCODING, HeaderValue::from_str(value).expect("it is a value"));
        }
        Coding::accepted(&headers).map(Coding::as_str)
    }

    #[test]
    fn the_coding_that_a_client_likes_best_is_taken() {
        for (values, expected) in [
            (&[][..], None),
            (&["gzip, deflate"], Some("gzip")),
            (&["gzip, deflate, br, zstd"], Some("zstd")),
            (&["gzip, br"], Some("br")),
            (&["gzip;q=1.0, br;q=0.5"], Some("gzip")),
            (&["GZIP"], Some("gzip")),
            (&["x-gzip"], Some("gzip")),
            (&["br;q=0, gzip;q=0"], None),
            (&["identity", "zstd"], Some("zstd")),
            (&["zstd;q=2, br;q=x, gzip;q=NaN"], None),
            (&["*", "deflate", ""], None),
        ] {
            assert_eq!(accepted(values), expected, "{values:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_a_header_says_is_read(value in "[ -~]{0,80}") {
            let _ = accepted(&[&value]);
        }
    }
}
