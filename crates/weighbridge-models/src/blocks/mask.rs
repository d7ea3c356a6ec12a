//! Which keys the queries of a step may see.

use std::ops::Range;

use candle_core::{Device, Result, Tensor};

use crate::spec::Span;

/// Queries that attend together. Scores take `heads · rows · keys` floats, so a long prompt goes through attention
/// in pieces; the pieces also skip the keys that none of their rows may see.
const QUERY_ROWS_MAX: usize = 128;

/// A run of queries of one step, the keys they see and the mask between the two.
#[derive(Debug)]
pub(crate) struct View {
    /// Rows of the step.
    pub(crate) queries: Range<usize>,
    /// Positions in the cache, this step's own included.
    pub(crate) keys: Range<usize>,
    /// `[queries, keys]` of 0 and −∞, where not every query sees every key.
    pub(crate) mask: Option<Tensor>,
}

/// The views of a step of `rows` tokens that follow `past` others.
pub(crate) fn views(rows: usize, past: usize, span: Span) -> Result<Vec<View>> {
    (0..rows)
        .step_by(QUERY_ROWS_MAX)
        .map(|first| {
            let queries = first..rows.min(first + QUERY_ROWS_MAX);
            let keys = first_key(past + queries.start, span)..past + queries.end;
            let mask = mask(&queries, past, &keys, span)?;
            Ok(View { queries, keys, mask })
        })
        .collect()
}

/// The first position that a token at `position` sees.
pub(crate) fn first_key(position: usize, span: Span) -> usize {
    match span {
        Span::Full => 0,
        Span::Sliding(width) => (position + 1).saturating_sub(width),
        Span::Chunked(width) => position - position % width,
    }
}

fn mask(queries: &Range<usize>, past: usize, keys: &Range<usize>, span: Span) -> Result<Option<Tensor>> {
    // One query sees all keys of its view.
    if queries.len() == 1 {
        return Ok(None);
    }
    let mut mask = Vec::with_capacity(queries.len() * keys.len());
    for query in queries.clone() {
        let seen = first_key(past + query, span)..past + query + 1;
        mask.extend(keys.clone().map(|key| if seen.contains(&key) { 0.0 } else { f32::NEG_INFINITY }));
    }
    Tensor::from_vec(mask, (queries.len(), keys.len()), &Device::Cpu).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO: f32 = f32::NEG_INFINITY;

    fn check(rows: usize, past: usize, span: Span, keys: Range<usize>, mask: Option<Vec<Vec<f32>>>) -> Result<()> {
        let views = views(rows, past, span)?;
        assert_eq!(views.len(), 1);
        assert_eq!(views[0].keys, keys);
        assert_eq!(views[0].mask.as_ref().map(Tensor::to_vec2).transpose()?, mask);
        Ok(())
    }

    #[test]
    fn a_token_sees_itself_and_what_came_before() -> Result<()> {
        check(2, 1, Span::Full, 0..3, Some(vec![vec![0.0, 0.0, NO], vec![0.0, 0.0, 0.0]]))
    }

    #[test]
    fn a_single_token_needs_no_mask() -> Result<()> {
        check(1, 9, Span::Full, 0..10, None)?;
        check(1, 9, Span::Sliding(4), 6..10, None)
    }

    #[test]
    fn a_sliding_window_forgets_the_oldest() -> Result<()> {
        let mask = vec![vec![0.0, 0.0, NO], vec![NO, 0.0, 0.0]];
        check(2, 3, Span::Sliding(2), 2..5, Some(mask))
    }

    #[test]
    fn a_chunk_starts_anew() -> Result<()> {
        check(1, 7, Span::Chunked(4), 4..8, None)?;
        let mask = vec![vec![0.0, 0.0, NO], vec![NO, NO, 0.0]];
        check(2, 3, Span::Chunked(2), 2..5, Some(mask))
    }

    #[test]
    fn a_long_step_is_cut_into_views_that_cover_it() -> Result<()> {
        let views = views(300, 10, Span::Full)?;
        let rows: Vec<_> = views.iter().map(|view| view.queries.clone()).collect();
        assert_eq!(rows, [0..128, 128..256, 256..300]);
        let keys: Vec<_> = views.iter().map(|view| view.keys.clone()).collect();
        assert_eq!(keys, [0..138, 0..266, 0..310]);
        Ok(())
    }
}
