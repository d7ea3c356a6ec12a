//! Random numbers by counter.
//!
//! Philox4x32-10 of Salmon, Moraes, Dror and Shaw, *Parallel Random Numbers: As Easy as 1, 2, 3* (SC 2011):
//! a number is a pure function of its key and counter. There is no state that could advance in another
//! order, so what else runs beside a sequence cannot change what it draws.

const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;

/// A number in `[0, 1)` for the token at `position` (from 0) of an answer, `choice` being which of the
/// answers to the request with this `seed`.
pub(crate) fn uniform(seed: u64, choice: u32, position: u64) -> f64 {
    let key = [seed as u32, (seed >> 32) as u32];
    let [low, high, ..] = philox([position as u32, (position >> 32) as u32, choice, 0], key);
    let bits = u64::from(high) << 32 | u64::from(low);
    (bits >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

fn philox(mut counter: [u32; 4], mut key: [u32; 2]) -> [u32; 4] {
    for _ in 0..ROUNDS {
        let a = u64::from(MULTIPLIERS[0]) * u64::from(counter[0]);
        let b = u64::from(MULTIPLIERS[1]) * u64::from(counter[2]);
        counter = [(b >> 32) as u32 ^ counter[1] ^ key[0], b as u32, (a >> 32) as u32 ^ counter[3] ^ key[1], a as u32];
        key = [key[0].wrapping_add(WEYL[0]), key[1].wrapping_add(WEYL[1])];
    }
    counter
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_philox_by_its_published_vectors() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(philox([!0; 4], [!0; 2]), [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]);
        assert_eq!(
            philox([0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344], [0xa409_3822, 0x299f_31d0]),
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1]
        );
    }

    #[test]
    fn numbers_fill_the_unit_interval_evenly() {
        let mut tenths = [0u32; 10];
        for position in 0..10_000 {
            tenths[(uniform(42, 0, position) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|&count| (900..1100).contains(&count)), "{tenths:?}");
    }

    #[test]
    fn seed_choice_and_position_each_matter() {
        let base = uniform(1, 0, 0);
        assert_ne!(base, uniform(2, 0, 0));
        assert_ne!(base, uniform(1 << 32, 0, 0));
        assert_ne!(base, uniform(1, 1, 0));
        assert_ne!(base, uniform(1, 0, 1));
    }
}
