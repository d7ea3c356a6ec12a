//! Texts as what an answer must be: made into a grammar, and followed by an answer that the bytes choose.

use std::sync::OnceLock;

use weighbridge_backend::{Constraint, Json};
use weighbridge_dialogue::{Form, Grammars, Matcher, VocabularyToken};

/// Tokens that an answer has at the most.
const STEPS: usize = 48;

/// The first byte says what the rest is: a schema, a regular expression, a Lark grammar, or choices by lines. It may be
/// refused. An answer that follows the masks is allowed at every step, and where one of a schema may end, it is JSON.
///
/// # Panics
/// Where one of these does not hold, which is a finding.
pub fn schema(bytes: &[u8]) {
    let Some((kind, rest)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(rest) else { return };
    let constraint = match kind {
        b'r' => Constraint::Regex(text.to_owned()),
        b'l' => Constraint::Lark(text.to_owned()),
        b'c' => Constraint::Choice(text.lines().map(str::to_owned).collect()),
        _ => Constraint::JsonSchema(Json(text.into())),
    };
    let form = Form { constraint: Some(&constraint), ..Form::default() };
    match grammars().matcher(&form) {
        Ok(matcher) => follow(matcher, bytes, matches!(constraint, Constraint::JsonSchema(_))),
        Err(error) => assert!(error.to_string().len() < 2000, "an error is fit to be read"),
    }
}

fn follow(mut matcher: Matcher, bytes: &[u8], is_json: bool) {
    let mut answer = Vec::new();
    for step in 0..STEPS {
        // Beyond its bound of work, an answer ends with an error.
        let Ok(mask) = matcher.mask() else { return };
        let allowed: Vec<u32> = (0..=255).filter(|&token| mask.allows(token)).collect();
        if allowed.is_empty() {
            break;
        }
        let token = allowed[usize::from(bytes[step % bytes.len()]) % allowed.len()];
        matcher.take(token).expect("the mask allowed it");
        answer.push(token as u8);
        if matcher.is_complete() {
            break;
        }
    }
    if is_json && matcher.may_end() {
        let parsed = serde_json::from_slice::<serde_json::Value>(&answer);
        let fits = parsed.as_ref().err().is_none_or(|error| error.to_string().contains("out of range"));
        assert!(fits, "{} is no JSON: {parsed:?}", String::from_utf8_lossy(&answer));
    }
}

/// A byte a token.
fn grammars() -> &'static Grammars {
    static GRAMMARS: OnceLock<Grammars> = OnceLock::new();
    GRAMMARS.get_or_init(|| {
        let mut tokens: Vec<_> = (0..=255u8).map(|byte| VocabularyToken::Text(vec![byte])).collect();
        tokens.push(VocabularyToken::Marker("<end>".into()));
        Grammars::new(tokens, &[256]).expect("it has an end")
    })
}
