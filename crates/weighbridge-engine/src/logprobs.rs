//! Log-probabilities of the tokens of an answer, held until the text that they make is let go.
//!
//! Each token has one entry of the OpenAI `logprobs` object. Text is held back by half a character and by what may
//! become a stop text, and the entries with it: they ride with the piece of text that completes theirs, in order, none
//! lost and none twice. What a stop text cuts off takes its entries along.

use std::collections::VecDeque;

use serde_json::{Map, Value, json};
use weighbridge_backend::Json;
use weighbridge_models::Tokenizer;

use crate::sampler::Scores;

/// What OpenAI writes for what has no probability to speak of; JSON has no −∞.
const LEAST: f64 = -9999.0;

/// The entries of one answer that are not published yet. Without any it costs nothing.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    entries: VecDeque<Entry>,
    /// Bytes of text that the tokens so far have made.
    made: usize,
    /// And bytes of it that were let go.
    released: usize,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    /// Where its text begins.
    begin: usize,
    /// Where it ends; `None` while a character of it is incomplete.
    end: Option<usize>,
}

impl Ledger {
    /// Takes note of the entry of a token, where there is one, and of the bytes of text that the token completes.
    pub(crate) fn note(&mut self, entry: Option<Value>, bytes: usize) {
        let begin = self.made;
        self.entries.extend(entry.map(|value| Entry { value, begin, end: None }));
        self.made += bytes;
        if bytes > 0 {
            self.entries
                .iter_mut()
                .rev()
                .take_while(|entry| entry.end.is_none())
                .for_each(|it| it.end = Some(self.made));
        }
    }

    /// All text was let go but for so many bytes at its end.
    pub(crate) fn let_go(&mut self, held: usize) {
        self.released = self.released.max(self.made.saturating_sub(held));
    }

    /// The entries whose text was let go to its end.
    pub(crate) fn take(&mut self) -> Option<Json> {
        let released = self.released;
        let whole = self.entries.iter().take_while(|entry| entry.end.is_some_and(|end| end <= released)).count();
        object(self.entries.drain(..whole).map(|entry| entry.value).collect())
    }

    /// What is left at the end of the answer; where a stop text `cut` it, the entries of which some text was let go.
    pub(crate) fn finish(&mut self, cut: bool) -> Option<Json> {
        let released = self.released;
        let kept = self.entries.drain(..).filter(|entry| !cut || entry.begin < released);
        object(kept.map(|entry| entry.value).collect())
    }
}

/// The OpenAI `logprobs` object of these entries, where there are any.
pub(crate) fn object(content: Vec<Value>) -> Option<Json> {
    (!content.is_empty()).then(|| Json(json!({"content": content, "refusal": null}).to_string().into()))
}

/// The entry of a token that was drawn.
pub(crate) fn entry(tokenizer: &Tokenizer, token: u32, scores: &Scores) -> Value {
    let mut entry = scored(tokenizer, token, Some(scores.logprob));
    let best = scores.best.iter().map(|&(token, logprob)| Value::Object(scored(tokenizer, token, Some(logprob))));
    entry.insert("top_logprobs".into(), best.collect());
    Value::Object(entry)
}

/// The entry of a token that nothing comes before: the model has no opinion of it.
pub(crate) fn first_entry(tokenizer: &Tokenizer, token: u32) -> Value {
    let mut entry = scored(tokenizer, token, None);
    entry.insert("top_logprobs".into(), json!([]));
    Value::Object(entry)
}

/// `bytes` are the very bytes of text that the token stands for, which may be half a character; a special token stands
/// for none, and `token` has its name.
fn scored(tokenizer: &Tokenizer, token: u32, logprob: Option<f64>) -> Map<String, Value> {
    let bytes = tokenizer.token_bytes(token);
    let text = match &bytes {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => tokenizer.token(token).unwrap_or_default(),
    };
    let mut entry = Map::new();
    entry.insert("token".into(), text.into());
    let logprob = logprob.map(|logprob| if logprob.is_finite() { logprob } else { LEAST });
    entry.insert("logprob".into(), logprob.into());
    entry.insert("bytes".into(), bytes.into());
    entry
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbers(json: Option<Json>) -> Vec<u64> {
        let value: Value = json.map_or(Value::Null, |json| serde_json::from_str(&json.0).unwrap_or_default());
        value["content"].as_array().into_iter().flatten().filter_map(Value::as_u64).collect()
    }

    #[test]
    fn entries_ride_with_the_text_that_completes_theirs() {
        let mut ledger = Ledger::default();
        ledger.note(Some(json!(1)), 3);
        ledger.note(Some(json!(2)), 0);
        ledger.let_go(1);
        assert!(numbers(ledger.take()).is_empty());
        ledger.let_go(0);
        assert_eq!(numbers(ledger.take()), [1], "the second has half a character");
        ledger.note(Some(json!(3)), 3);
        ledger.let_go(0);
        assert_eq!(numbers(ledger.take()), [2, 3]);
        assert_eq!(ledger.take(), None);
    }

    #[test]
    fn what_a_stop_text_cuts_off_takes_its_entries_along() {
        let mut ledger = Ledger::default();
        for (entry, bytes) in [(1, 2), (2, 4), (3, 2)] {
            ledger.note(Some(json!(entry)), bytes);
        }
        ledger.let_go(5);
        assert_eq!(numbers(ledger.take()), [1]);
        assert_eq!(numbers(ledger.finish(true)), [2], "a part of its text was let go");
    }

    proptest! {
        #[test]
        fn none_is_lost_and_none_comes_twice(steps in prop::collection::vec((0usize..4, 0usize..6), 0..40)) {
            let mut ledger = Ledger::default();
            let (mut found, mut made, mut released) = (Vec::new(), 0, 0);
            for (at, &(bytes, release)) in steps.iter().enumerate() {
                ledger.note(Some(json!(at)), bytes);
                made += bytes;
                let release = release.min(made - released);
                released += release;
                ledger.let_go(made - released);
                found.extend(numbers(ledger.take()));
            }
            found.extend(numbers(ledger.finish(false)));
            prop_assert_eq!(found, (0..steps.len() as u64).collect::<Vec<_>>());
        }
    }
}
