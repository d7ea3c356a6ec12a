//! `weighbridge keys`: what makes a caller's key into what the config holds of it.

use std::io::Read;

use weighbridge_gateway::KeyHash;

use crate::failure::Failure;
use crate::terminal::say;

/// The most bytes that are read as a key.
const MOST: u64 = 4096;

/// Prints the hash of the key on standard input. A line end after it is not part of it.
pub(crate) fn hash() -> Result<(), Failure> {
    let mut key = String::new();
    std::io::stdin()
        .take(MOST)
        .read_to_string(&mut key)
        .map_err(|error| Failure::failed(format!("cannot read the key from standard input: {error}")))?;
    let key = key.trim();
    if key.is_empty() {
        return Err(Failure::usage(
            "there is no key on standard input; try: openssl rand -hex 32 | tee key.txt | weighbridge keys hash",
        ));
    }
    if key.len() < 16 {
        anstream::eprintln!(
            "\x1b[1;33mnote:\x1b[0m the key is short enough to guess; openssl rand -hex 32 makes a better one"
        );
    }
    say!("{}", KeyHash::of(key).to_hex());
    Ok(())
}
