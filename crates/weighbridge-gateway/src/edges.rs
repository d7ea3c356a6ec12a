//! What stands before every address, whichever it is.

mod heads;

pub(crate) use self::heads::bound_heads;
