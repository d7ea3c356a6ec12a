//! What computes: a pool of threads and the instructions they use.

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
        let count = rows.len() / width.max(1);
        let at_once = rows_at_once(width, count);
        let shared = Shared::new(rows);
        self.pool.run(count.div_ceil(at_once), |task| {
            for row in task * at_once..count.min((task + 1) * at_once) {
                // SAFETY: rows do not overlap, each has one task, and `rows` is borrowed until the pool is done.
                work(row, unsafe { shared.part(row * width..(row + 1) * width) });
            }
        });
    }
}
