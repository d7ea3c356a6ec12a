//! What stands before every address, whichever it is.

mod coding;
mod compress;
mod cors;
mod decoder;
mod encoder;
mod heads;
mod ids;
mod repeats;

pub(crate) use self::coding::Coding;
pub use self::compress::Compression;
pub(crate) use self::compress::{COMPRESSED_STREAMS, compress};
pub use self::cors::Cors;
pub(crate) use self::decoder::{Undecoded, decode};
pub(crate) use self::heads::bound_heads;
pub(crate) use self::ids::name_requests;
pub(crate) use self::repeats::{Repeats, answer_repeats};
