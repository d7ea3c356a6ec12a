//! The works that are measured.

use std::fmt;
use std::time::Instant;

use weighbridge_models::{ComputeError, Decoder, KvCache, Rows, Step};

/// Tokens of a prompt that are computed at once.
const CHUNK: usize = 512;

/// Something to be timed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    /// A prompt.
    Prompt { tokens: usize },
    /// An answer, token by token, to a prompt of `depth` tokens.
    Answer { tokens: usize, depth: usize },
    /// Answers of several sequences in the same steps.
    Streams { count: usize, prompt: usize, answer: usize },
}

impl Work {
    /// Tokens of the longest sequence.
    pub(super) fn tokens(&self) -> usize {
        match *self {
            Self::Prompt { tokens } => tokens,
            Self::Answer { tokens, depth } => depth + tokens,
            Self::Streams { prompt, answer, .. } => prompt + answer,
        }
    }
}

impl fmt::Display for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prompt { tokens } => write!(f, "pp{tokens}"),
            Self::Answer { tokens, depth } => write!(f, "tg{tokens}@{depth}"),
            Self::Streams { count, .. } => write!(f, "streams{count}"),
        }
    }
}

/// A decoder with tokens to feed it: pseudo-random ones, since speed does not depend on them.
pub(super) struct Bench<'a> {
    decoder: &'a Decoder,
    random: u64,
}

impl<'a> Bench<'a> {
    pub(super) fn new(decoder: &'a Decoder) -> Self {
        Self { decoder, random: 0x9e37_79b9_7f4a_7c15 }
    }

    /// A few tokens that nobody times.
    pub(super) fn warm_up(&mut self) -> Result<(), ComputeError> {
        let mut cache = self.decoder.new_cache();
        self.prompt(&mut cache, 32)?;
        self.answer(std::slice::from_mut(&mut cache), 2)
    }

    /// Tokens a second.
    pub(super) fn run(&mut self, work: &Work) -> Result<f64, ComputeError> {
        match *work {
            Work::Prompt { tokens } => {
                let mut cache = self.decoder.new_cache();
                let start = Instant::now();
                self.prompt(&mut cache, tokens)?;
                Ok(tokens as f64 / start.elapsed().as_secs_f64())
            }
            Work::Answer { tokens, depth } => self.streams(1, depth, tokens),
            Work::Streams { count, prompt, answer } => self.streams(count, prompt, answer),
        }
    }

    fn streams(&mut self, count: usize, prompt: usize, answer: usize) -> Result<f64, ComputeError> {
        let mut caches: Vec<KvCache> = (0..count).map(|_| self.decoder.new_cache()).collect();
        for cache in &mut caches {
            self.prompt(cache, prompt)?;
        }
        let start = Instant::now();
        self.answer(&mut caches, answer)?;
        Ok((count * answer) as f64 / start.elapsed().as_secs_f64())
    }

    fn prompt(&mut self, cache: &mut KvCache, tokens: usize) -> Result<(), ComputeError> {
        cache.announce(tokens);
        let tokens: Vec<u32> = (0..tokens).map(|_| self.token()).collect();
        let chunks = tokens.chunks(CHUNK).count();
        for (index, chunk) in tokens.chunks(CHUNK).enumerate() {
            let rows = if index + 1 == chunks { Rows::Last } else { Rows::None };
            self.decoder.forward(chunk, cache, rows)?;
        }
        Ok(())
    }

    fn answer(&mut self, caches: &mut [KvCache], tokens: usize) -> Result<(), ComputeError> {
        for _ in 0..tokens {
            let tokens: Vec<[u32; 1]> = caches.iter().map(|_| [self.token()]).collect();
            let mut steps: Vec<Step<'_>> = caches
                .iter_mut()
                .zip(&tokens)
                .map(|(cache, tokens)| Step { tokens, cache, rows: Rows::Last })
                .collect();
            self.decoder.step(&mut steps)?;
        }
        Ok(())
    }

    fn token(&mut self) -> u32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        ((self.random >> 16) % self.decoder.spec().vocabulary as u64) as u32
    }
}
