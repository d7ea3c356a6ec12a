//! Bodies that come compressed, held to the bound of those that do not.

use std::io::{self, Read};

use bytes::Bytes;

use super::coding::Coding;

/// The most of a zstd body that has to be kept to look back at, 8 MiB: what its standard asks a reader to take.
const ZSTD_WINDOW_BITS: u32 = 23;

/// What brotli reads at a time.
const BROTLI_BUFFER: usize = 16 << 10;

/// Why a body cannot be had.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Undecoded {
    /// It is larger than the bound.
    TooLarge,
    /// It is not what it says, or not whole.
    Garbled,
}

/// Decompresses a body to at most `most` bytes. Memory follows what comes out, so that a small body which claims to
/// be a huge one costs no more than the bound.
pub(crate) fn decode(coding: Coding, body: &[u8], most: usize) -> Result<Bytes, Undecoded> {
    let mut decoded = Vec::new();
    let bound = (most as u64).saturating_add(1);
    let read = match coding {
        Coding::Gzip => flate2::read::MultiGzDecoder::new(body).take(bound).read_to_end(&mut decoded),
        Coding::Brotli => brotli::Decompressor::new(body, BROTLI_BUFFER).take(bound).read_to_end(&mut decoded),
        Coding::Zstd => zstd(body).and_then(|decoder| decoder.take(bound).read_to_end(&mut decoded)),
    };
    match read {
        Ok(_) if decoded.len() > most => Err(Undecoded::TooLarge),
        Ok(_) => Ok(decoded.into()),
        Err(_) => Err(Undecoded::Garbled),
    }
}

fn zstd(body: &[u8]) -> io::Result<impl Read + '_> {
    let mut decoder = zstd::stream::read::Decoder::with_buffer(body)?;
    decoder.window_log_max(ZSTD_WINDOW_BITS)?;
    Ok(decoder)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::encoder::whole;
    use super::*;

    const CODINGS: [Coding; 3] = [Coding::Gzip, Coding::Brotli, Coding::Zstd];

    #[test]
    fn a_body_is_read_up_to_its_bound_and_no_further() {
        let text = vec![b'a'; 100_000];
        for coding in CODINGS {
            let body = whole(coding, &text).expect("it can be compressed");
            assert!(body.len() < 1000, "{coding:?}");
            assert_eq!(decode(coding, &body, 100_000).as_deref(), Ok(text.as_slice()), "{coding:?}");
            assert_eq!(decode(coding, &body, 99_999), Err(Undecoded::TooLarge), "{coding:?}");
            assert_eq!(decode(coding, &body[..body.len() / 2], 100_000), Err(Undecoded::Garbled), "{coding:?}");
        }
    }

    proptest! {
        #[test]
        fn what_a_stranger_sends_is_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for coding in CODINGS {
                prop_assert!(decode(coding, &bytes, 1 << 20).map_or(0, |body| body.len()) <= 1 << 20);
            }
        }

        #[test]
        fn what_was_compressed_comes_back(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
            for coding in CODINGS {
                let body = whole(coding, &bytes).expect("it can be compressed");
                let back = decode(coding, &body, 2000);
                prop_assert_eq!(back.as_deref(), Ok(bytes.as_slice()));
            }
        }
    }
}
