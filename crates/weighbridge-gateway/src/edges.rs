//! What stands before every address, whichever it is.

mod cors;
mod heads;
mod ids;

pub use self::cors::Cors;
pub(crate) use self::heads::bound_heads;
pub(crate) use self::ids::name_requests;
