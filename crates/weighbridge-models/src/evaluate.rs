//! A checkpoint held against its reference: what it says of every position of a text, and how it goes on.

use crate::cache::KvCache;
use crate::decoder::{ComputeError, Decoder, Rows};

/// What a decoder makes of a sequence of tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Evaluation {
    /// The logits after the last token.
    pub logits_last: Vec<f32>,
    /// The likeliest next token after each token; of equals the lowest.
    pub argmax: Vec<u32>,
    /// The logarithm of the sum of the exponentials of the logits after each token.
    pub logsumexp: Vec<f32>,
    /// The mean over all tokens but the last of `logsumexp[i] - logits[i][tokens[i + 1]]`, in nats; 0 for one token.
    pub loss: f64,
    /// The tokens that follow when the likeliest is taken each time; a stop token is the last.
    pub greedy: Vec<u32>,
}

/// Computes `tokens`, in steps of `chunk` or all at once, then continues with up to `greedy` tokens, ending after
/// the first of `stop`.
///
/// The logits of one step are held at once: with long texts and large vocabularies a `chunk` saves memory. The
/// checkpoint's context is not enforced.
///
/// # Errors
/// [`ComputeError`], as of [`Decoder::forward`].
pub fn evaluate(
    decoder: &Decoder,
    tokens: &[u32],
    chunk: Option<usize>,
    greedy: usize,
    stop: &[u32],
) -> Result<Evaluation, ComputeError> {
    let mut cache = decoder.new_cache();
    let read = read(decoder, tokens, chunk, &mut cache)?;
    let greedy = go_on(decoder, &read.logits_last, greedy, stop, &mut cache)?;
    Ok(Evaluation { greedy, ..read })
}

/// The evaluation of the text itself.
fn read(
    decoder: &Decoder,
    tokens: &[u32],
    chunk: Option<usize>,
    cache: &mut KvCache,
) -> Result<Evaluation, ComputeError> {
    if tokens.is_empty() {
        return Err(ComputeError::NoTokens);
    }
    cache.announce(tokens.len());
    let mut evaluation =
        Evaluation { logits_last: Vec::new(), argmax: vec![], logsumexp: vec![], loss: 0.0, greedy: vec![] };
    let mut nats = 0.0;
    for chunk in tokens.chunks(chunk.unwrap_or(tokens.len()).max(1)) {
        let logits = decoder.forward(chunk, cache, Rows::All)?;
        for row in logits.rows() {
            let logsumexp = logsumexp(row);
            evaluation.argmax.push(argmax(row));
            evaluation.logsumexp.push(logsumexp as f32);
            if let Some(&next) = tokens.get(evaluation.argmax.len()) {
                // In range, since the step that computes it is checked before any logits of it are used; a token out
                // of range in a later chunk must not be looked up here.
                nats += logsumexp - row.get(next as usize).copied().map_or(0.0, f64::from);
            }
        }
        evaluation.logits_last = logits.last().to_vec();
    }
    if tokens.len() > 1 {
        evaluation.loss = nats / (tokens.len() - 1) as f64;
    }
    Ok(evaluation)
}

fn go_on(
    decoder: &Decoder,
    logits: &[f32],
    greedy: usize,
    stop: &[u32],
    cache: &mut KvCache,
) -> Result<Vec<u32>, ComputeError> {
    let mut tokens = Vec::new();
    let mut next = argmax(logits);
    while tokens.len() < greedy {
        tokens.push(next);
        if stop.contains(&next) || tokens.len() == greedy {
            break;
        }
        next = argmax(decoder.forward(&[next], cache, Rows::Last)?.last());
    }
    Ok(tokens)
}

/// The place of the largest number, the first of equals.
fn argmax(row: &[f32]) -> u32 {
    let mut best = 0;
    for (index, number) in row.iter().enumerate() {
        if *number > row[best] {
            best = index;
        }
    }
    best as u32
}

/// Summed in double precision, since a vocabulary of single ones loses digits that references have.
fn logsumexp(row: &[f32]) -> f64 {
    let largest = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    largest + row.iter().map(|&number| (f64::from(number) - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_equal_logits_the_first_is_the_likeliest() {
        assert_eq!(argmax(&[0.5, 2.0, 2.0, -1.0]), 1);
    }

    #[test]
    fn the_log_sum_of_large_logits_does_not_overflow() {
        assert!((logsumexp(&[1000.0, 1000.0]) - (1000.0 + 2_f64.ln())).abs() < 1e-9);
    }
}
