//! A first look at what steps take, as a model loads: so that its first request is foretold as well.

use std::time::{Duration, Instant};

use weighbridge_models::{ComputeError, Decoder, Rows};

use crate::scheduler::{Pace, Took};

/// Tokens of the prompt that is measured: a few say little of a token, and many take long.
const PROMPT: (usize, usize) = (8, 64);
/// What it may take, where that leaves it the fewest tokens at least.
const TIME: Duration = Duration::from_millis(300);

/// Computes a few tokens and tells the pace what they took.
///
/// # Errors
/// Where they cannot be computed; the pace has learnt nothing then.
pub(crate) fn warm_up(decoder: &Decoder, pace: &mut Pace) -> Result<(), ComputeError> {
    let mut cache = decoder.new_cache();
    let mut step = |tokens: usize| {
        let began = Instant::now();
        decoder.forward(&vec![0; tokens], &mut cache, Rows::Last).map(|_| began.elapsed())
    };
    // The first one reads what was only mapped, and makes the memory of a step.
    step(1)?;
    let answer = step(1)?;
    let prompt_tokens = prompt_tokens(answer);
    let prompt = step(prompt_tokens)?;
    pace.note(Took { answers: 1, prompt_tokens: 0, time: answer });
    pace.note(Took { answers: 0, prompt_tokens, time: prompt });
    Ok(())
}

/// As many as take [`TIME`] if each took as long as a token alone, which is more than they do.
fn prompt_tokens(answer: Duration) -> usize {
    let (fewest, most) = PROMPT;
    // Where it overflows the cast saturates.
    ((TIME.as_secs_f64() / answer.as_secs_f64().max(1e-9)) as usize).clamp(fewest, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slow_model_is_measured_by_fewer_tokens() {
        for (millis, expected) in [(0, 64), (1, 64), (10, 30), (200, 8), (60_000, 8)] {
            assert_eq!(prompt_tokens(Duration::from_millis(millis)), expected, "{millis} ms");
        }
    }
}
