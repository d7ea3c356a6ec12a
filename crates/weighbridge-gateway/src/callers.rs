//! Who asks: keys, sent as a bearer or in `x-api-key`, kept as SHA-256, compared in constant time.

use std::sync::Arc;

use http::{HeaderMap, header};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};
use weighbridge_policy::CallerFacts;

use crate::respond::Refusal;

/// Where Anthropic's clients put a key.
const API_KEY_HEADER: &str = "x-api-key";

/// A key's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyHash([u8; 32]);

impl KeyHash {
    /// The hash of a key.
    ///
    /// A plain hash and no slow one: keys are long random strings made by machines, not passwords.
    pub fn of(key: &str) -> Self {
        Self(Sha256::digest(key.as_bytes()).into())
    }

    /// Reads 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return None;
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).ok()?;
            *byte = u8::from_str_radix(pair, 16).ok().filter(|_| !pair.starts_with('+'))?;
        }
        Some(Self(hash))
    }

    /// As 64 hexadecimal digits.
    pub fn to_hex(self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// A caller and its key.
#[derive(Clone)]
pub struct CallerKey {
    /// The hash of its key.
    pub key: KeyHash,
    /// Who it is and what it may do.
    pub facts: Arc<CallerFacts>,
    /// Whether it may load and unload models.
    pub admin: bool,
}

/// Who may ask.
#[derive(Clone)]
pub enum Callers {
    /// Anyone: on loopback, or where the config says so.
    Open,
    /// Whoever has one of these keys.
    Keys(Vec<CallerKey>),
}

impl Callers {
    /// Finds who sent these headers; `None` where the gateway is open.
    pub(crate) fn identify(&self, headers: &HeaderMap) -> Result<Option<Arc<CallerFacts>>, Refusal> {
        Ok(self.find(headers)?.map(|caller| Arc::clone(&caller.facts)))
    }

    /// Whether who sent these headers may load and unload models; where the gateway is open, whether anyone may.
    pub(crate) fn admit_admin(&self, headers: &HeaderMap, open: bool) -> Result<(), Refusal> {
        match self.find(headers)? {
            Some(caller) if caller.admin => Ok(()),
            Some(_) => Err(Refusal::not_an_admin(
                "This key may not load and unload models. That takes a caller with admin = true.",
            )),
            None if open => Ok(()),
            None => Err(Refusal::not_an_admin(
                "The gateway is open to other machines, so that nobody may load and unload models over it. Add [[callers]], one of them with admin = true.",
            )),
        }
    }

    /// The caller who sent these headers; `None` where the gateway is open.
    fn find(&self, headers: &HeaderMap) -> Result<Option<&CallerKey>, Refusal> {
        let Self::Keys(keys) = self else { return Ok(None) };
        let key = match (headers.get(header::AUTHORIZATION), headers.get(API_KEY_HEADER)) {
            (Some(sent), _) => sent.to_str().ok().and_then(bearer),
            (None, Some(sent)) => sent.to_str().ok().map(str::trim),
            (None, None) => return Err(Refusal::unauthorised(true)),
        };
        let key = key.ok_or(Refusal::unauthorised(false))?;
        let hash = KeyHash::of(key);
        // Every key is compared, and none of the comparisons ends early: time tells nothing.
        let mut found = u32::MAX;
        for (index, caller) in (0..).zip(keys) {
            let equal: Choice = hash.0.ct_eq(&caller.key.0);
            found.conditional_assign(&index, equal);
        }
        keys.get(found as usize).ok_or(Refusal::unauthorised(false)).map(Some)
    }
}

fn bearer(header: &str) -> Option<&str> {
    let (scheme, key) = header.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(key.trim())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use weighbridge_backend::{DataClass, Priority};

    use super::*;

    fn callers() -> Callers {
        let caller = |name: &str, key| {
            let facts = CallerFacts {
                name: name.into(),
                highest_class: DataClass::Internal,
                class: None,
                routes: None,
                priority: Priority::Interactive,
            };
            CallerKey { key: KeyHash::of(key), facts: facts.into(), admin: name == "b" }
        };
        Callers::Keys(vec![caller("a", "key-a"), caller("b", "key-b")])
    }

    fn check(authorization: Option<&'static str>, expected: Result<&str, &str>) {
        let mut headers = HeaderMap::new();
        if let Some(value) = authorization {
            headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
        }
        let found = callers().identify(&headers);
        let found =
            found.as_ref().map(|caller| caller.as_ref().map_or("open", |caller| &*caller.name)).map_err(Refusal::code);
        assert_eq!(found, expected, "{authorization:?}");
    }

    #[test]
    fn a_key_names_its_caller_and_nothing_else_does() {
        check(Some("Bearer key-b"), Ok("b"));
        check(Some("bearer key-a"), Ok("a"));
        check(Some("Bearer key-c"), Err("invalid_api_key"));
        check(Some("Basic key-a"), Err("invalid_api_key"));
        check(Some("Bearer"), Err("invalid_api_key"));
        check(None, Err("none"));
    }

    #[test]
    fn a_key_may_come_as_anthropics_clients_send_it() {
        for (authorization, key, expected) in [
            (None, "key-b", Ok("b")),
            (None, "Bearer key-b", Err("invalid_api_key")),
            // A client that is configured with both means its bearer.
            (Some("Bearer key-a"), "key-b", Ok("a")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(API_KEY_HEADER, HeaderValue::from_static(key));
            if let Some(value) = authorization {
                headers.insert(header::AUTHORIZATION, HeaderValue::from_static(value));
            }
            let found = callers().identify(&headers);
            let name = found.as_ref().map(|caller| caller.as_ref().map_or("open", |caller| &*caller.name));
            assert_eq!(name.map_err(Refusal::code), expected, "{key}");
        }
    }

    #[test]
    fn an_admin_is_who_is_named_one() {
        let check = |callers: &Callers, key: Option<&'static str>, open, expected: Result<(), (u16, &str)>| {
            let headers: HeaderMap =
                key.map(|key| (header::AUTHORIZATION, HeaderValue::from_static(key))).into_iter().collect();
            let admitted = callers.admit_admin(&headers, open);
            let found = admitted.as_ref().copied().map_err(|refusal| (refusal.status(), refusal.code()));
            assert_eq!(found, expected, "{key:?}, open: {open}");
        };
        for open in [true, false] {
            check(&callers(), Some("Bearer key-b"), open, Ok(()));
            check(&callers(), Some("Bearer key-a"), open, Err((403, "admin_required")));
            check(&callers(), Some("Bearer key-c"), open, Err((401, "invalid_api_key")));
            check(&callers(), None, open, Err((401, "none")));
        }
        check(&Callers::Open, None, true, Ok(()));
        check(&Callers::Open, None, false, Err((403, "admin_required")));
    }

    #[test]
    fn a_hash_reads_back_from_its_digits() {
        let hash = KeyHash::of("a key");
        assert!(KeyHash::from_hex(&hash.to_hex()) == Some(hash));
        for bad in ["", "zz", &"+f".repeat(32), &"é".repeat(32)] {
            assert!(KeyHash::from_hex(bad).is_none(), "{bad}");
        }
    }
}
