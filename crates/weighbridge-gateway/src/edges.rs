//! What stands before every address, whichever it is.

mod heads;
mod ids;

pub(crate) use self::heads::bound_heads;
pub(crate) use self::ids::name_requests;
