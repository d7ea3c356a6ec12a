//! Compressors that give all they have after every piece: a flush costs a few bytes, and a token is not kept back.

use std::io::{self, Write};

use brotli::CompressorWriter;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::coding::Coding;

/// Repeats are looked for this far back, 128 KiB: an answer is hardly longer, and a window takes memory for as long
/// as a stream lasts.
const WINDOW_BITS: u32 = 17;

/// The fastest of brotli's levels that look for repeats by context, and zstd's own default.
const BROTLI_LEVEL: u32 = 4;
const ZSTD_LEVEL: i32 = 3;

/// What brotli gathers before it hands on; a flush hands on whatever there is.
const BROTLI_BUFFER: usize = 4 << 10;

/// One body under way.
pub(super) enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Brotli(Box<CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Encoder {
    /// # Errors
    /// When zstd has no memory for one.
    pub(super) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => Self::Gzip(GzEncoder::new(Vec::new(), Compression::default())),
            Coding::Brotli => {
                let writer = CompressorWriter::new(Vec::new(), BROTLI_BUFFER, BROTLI_LEVEL, WINDOW_BITS);
                Self::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(WINDOW_BITS)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Compresses `piece`. What it gives, after what it gave before, decompresses to everything up to its end.
    pub(super) fn piece(&mut self, piece: &[u8]) -> io::Result<Vec<u8>> {
        let writer: &mut dyn Write = match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => encoder,
            Self::Zstd(encoder) => encoder,
        };
        writer.write_all(piece)?;
        writer.flush()?;
        Ok(std::mem::take(match self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        }))
    }

    /// The last bytes.
    pub(super) fn finish(self) -> io::Result<Vec<u8>> {
        match self {
            Self::Gzip(encoder) => encoder.finish(),
            Self::Brotli(encoder) => Ok(encoder.into_inner()),
            Self::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// A whole body.
pub(super) fn whole(coding: Coding, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = Encoder::new(coding)?;
    let writer: &mut dyn Write = match &mut encoder {
        Encoder::Gzip(encoder) => encoder,
        Encoder::Brotli(encoder) => encoder,
        Encoder::Zstd(encoder) => encoder,
    };
    writer.write_all(body)?;
    encoder.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn decoded(coding: Coding, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::new();
        // Of a body that is not at its end, what there is of it is read before the end that is missed.
        let _ = match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut text),
            Coding::Brotli => brotli::Decompressor::new(bytes, 4096).read_to_end(&mut text),
            Coding::Zstd => zstd::stream::read::Decoder::new(bytes).and_then(|mut it| it.read_to_end(&mut text)),
        };
        text
    }

    fn pieces() -> impl Strategy<Value = Vec<String>> {
        proptest::collection::vec("[a-e \n]{1,200}|data: \\{\"choices\":\\[\\]\\}\n\n", 1..8)
    }

    proptest! {
        #[test]
        fn every_piece_can_be_read_before_the_next_is_made(pieces in pieces()) {
            for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
                let (mut encoder, mut sent, mut text) = (Encoder::new(coding).expect("one"), Vec::new(), String::new());
                for piece in &pieces {
                    text.push_str(piece);
                    sent.extend(encoder.piece(piece.as_bytes()).expect("it can be compressed"));
                    prop_assert_eq!(decoded(coding, &sent), text.as_bytes(), "{:?}", coding);
                }
                sent.extend(encoder.finish().expect("it can be ended"));
                prop_assert_eq!(decoded(coding, &sent), text.as_bytes(), "{:?}", coding);
                prop_assert_eq!(decoded(coding, &whole(coding, text.as_bytes()).expect("it")), text.as_bytes());
            }
        }
    }
}
