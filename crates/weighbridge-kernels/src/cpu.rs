//! What computes: a pool of threads and the instructions they use.

use crate::pool::Pool;
use crate::tier::{Tier, TierError};

/// The processors of this machine as the kernels use them. One for the process is enough: models take turns.
#[derive(Debug)]
pub struct Cpu {
    pool: Pool,
    tier: Tier,
}

impl Cpu {
    /// With `threads`, and with `tier` or else the best there is.
    ///
    /// # Errors
    /// [`TierError::Unavailable`] where this processor lacks the tier's instructions.
    pub fn new(threads: usize, tier: Option<Tier>) -> Result<Self, TierError> {
        let tier = tier.unwrap_or_else(Tier::best);
        if !tier.is_available() {
            return Err(TierError::Unavailable(tier));
        }
        Ok(Self { pool: Pool::new(threads), tier })
    }

    /// Its threads.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Its instructions; this processor has them.
    pub fn tier(&self) -> Tier {
        self.tier
    }
}
