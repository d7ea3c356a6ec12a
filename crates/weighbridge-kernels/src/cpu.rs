//! What computes: a pool of threads and the instructions they use.

use std::array;
use std::sync::Arc;

use crate::packed::Shared;
use crate::pool::Pool;
use crate::rows::rows_at_once;
use crate::tier::{Tier, TierError};

/// The processors of this machine as the kernels use them. One pool for the process is enough: models take turns.
#[derive(Clone, Debug)]
pub struct Cpu {
    pool: Arc<Pool>,
    tier: Tier,
}

impl Cpu {
    /// With `threads`, and with `tier` or else the best there is.
    ///
    /// # Errors
    /// [`TierError::Unavailable`] where this processor lacks the tier's instructions.
    pub fn new(threads: usize, tier: Option<Tier>) -> Result<Self, TierError> {
        Self::of(Arc::new(Pool::new(threads)), tier)
    }

    /// The same with a pool that others use too.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of(pool: Arc<Pool>, tier: Option<Tier>) -> Result<Self, TierError> {
        let tier = tier.unwrap_or_else(Tier::best);
        if !tier.is_available() {
            return Err(TierError::Unavailable(tier));
        }
        Ok(Self { pool, tier })
    }

    /// Its threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Its instructions; this processor has them.
    pub fn tier(&self) -> Tier {
        self.tier
    }

    /// Calls `work` for each row of `width` numbers, on all threads where there is work for them.
    pub fn each_row(&self, rows: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
        self.each_rows([rows], [width], |row, [part]| work(row, part));
    }

    /// The same for lists of rows that belong together, each with the width of its own rows.
    ///
    /// # Panics
    /// Where they have not as many rows as the first.
    pub fn each_rows<const LISTS: usize>(
        &self,
        lists: [&mut [f32]; LISTS],
        widths: [usize; LISTS],
        work: impl Fn(usize, [&mut [f32]; LISTS]) + Sync,
    ) {
        let counts = array::from_fn::<_, LISTS, _>(|list| lists[list].len() / widths[list].max(1));
        let Some(&count) = counts.first() else { return };
        assert!(counts.iter().all(|&other| other == count), "lists of rows that belong together are as long");
        let shared = lists.map(Shared::new);
        self.each(count, widths.iter().sum(), |row| {
            let parts = array::from_fn(|list| {
                let width = widths[list];
                // SAFETY: rows do not overlap, each is asked for once, and the lists are borrowed until all are done.
                unsafe { shared[list].part(row * width..(row + 1) * width) }
            });
            work(row, parts);
        });
    }

    /// Calls `work` once for each of `count` rows, whose work is that of `width` numbers. Few numbers are the work of the
    /// calling thread alone.
    pub(crate) fn each(&self, count: usize, width: usize, work: impl Fn(usize) + Sync) {
        let at_once = rows_at_once(width, count);
        self.pool.run(count.div_ceil(at_once), |task| {
            (task * at_once..count.min((task + 1) * at_once)).for_each(&work);
        });
    }
}
