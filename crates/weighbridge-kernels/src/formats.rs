//! What sets a block format apart: where a record keeps scales and codes, and what a code means.
//!
//! A number is `scale · multiplier · (code − OFFSET) − minimum · lift`: scale and minimum are floats of a whole record,
//! multiplier and lift small whole numbers of a step, so that the products of a record can be added up in integers.
//! Each format says how to read one of each, and the same once more for sixteen lanes at a time with AVX2.

#[cfg(target_arch = "x86_64")]
pub(crate) mod avx2;

use half::f16;

use crate::packed::LANES;

/// Values of IQ4_NL and IQ4_XS: denser around zero, as weights are.
pub(crate) const UNEVEN: [i8; 16] = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
/// The four-bit floats (E2M1) of the OCP Microscaling Formats specification 1.0, doubled to be whole, plus 12.
pub(crate) const FLOATS: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// A block format. A step is a run of inputs that share a multiplier.
pub(crate) trait Format {
    /// Inputs of a record, 32 or 256. Activations that meet it share a scale over as many.
    const INPUTS: usize;
    /// Bytes of a record.
    const BYTES: usize;
    /// Inputs of a step, 16 or 32.
    const STEP: usize = 32;
    /// Whether codes are signed; the others are below 128.
    const SIGNED: bool = false;
    /// What is taken off codes.
    const OFFSET: i32 = 0;
    /// Whether there are minima. A format with an offset has none.
    const HAS_MINIMUM: bool = false;
    /// Times that products of code and signed byte, added in pairs, fit into sixteen signed bits: 1, 2, 4 or 8.
    /// That is `32767 / (2 · 128 · largest code)`, rounded down.
    const FITS: usize = 8;

    /// The scale of a lane.
    fn scale(record: &[u8], lane: usize) -> f32;

    /// What the scale of a lane is multiplied by in a step. Records of one step have no use for it.
    fn multiplier(_record: &[u8], _step: usize, _lane: usize) -> i32 {
        1
    }

    /// What is taken off each number of a lane, times the step's [`Self::lift`].
    fn minimum(_record: &[u8], _lane: usize) -> f32 {
        0.0
    }

    /// What the minimum of a lane is multiplied by in a step.
    fn lift(_record: &[u8], _step: usize, _lane: usize) -> i32 {
        1
    }

    /// The code of a lane at an input of a step.
    fn code(record: &[u8], step: usize, input: usize, lane: usize) -> i32;
}

/// Names of formats; there is nothing to be had of them but what they say.
macro_rules! formats {
    ($($name:ident)*) => { $(#[derive(Debug)] pub(crate) enum $name {})* };
}
formats! { Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q4K Q5K Q6K Mxfp4 Iq4Nl Iq4Xs }

impl Format for Q4_0 {
    const INPUTS: usize = 32;
    const BYTES: usize = 32 + 256;
    const OFFSET: i32 = 8;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn code(record: &[u8], _step: usize, input: usize, lane: usize) -> i32 {
        nibble(&record[32..], input, lane)
    }
}

impl Format for Q4_1 {
    const INPUTS: usize = 32;
    const BYTES: usize = 64 + 256;
    const HAS_MINIMUM: bool = true;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn minimum(record: &[u8], lane: usize) -> f32 {
        // The file has what is added.
        -half(record, 32, lane)
    }

    fn code(record: &[u8], _step: usize, input: usize, lane: usize) -> i32 {
        nibble(&record[64..], input, lane)
    }
}

impl Format for Q5_0 {
    const INPUTS: usize = 32;
    const BYTES: usize = 32 + 64 + 256;
    const OFFSET: i32 = 16;
    const FITS: usize = 4;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn code(record: &[u8], _step: usize, input: usize, lane: usize) -> i32 {
        nibble(&record[96..], input, lane) | high::<1>(&record[32..], input, lane)
    }
}

impl Format for Q5_1 {
    const INPUTS: usize = 32;
    const BYTES: usize = 64 + 64 + 256;
    const HAS_MINIMUM: bool = true;
    const FITS: usize = 4;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn minimum(record: &[u8], lane: usize) -> f32 {
        -half(record, 32, lane)
    }

    fn code(record: &[u8], _step: usize, input: usize, lane: usize) -> i32 {
        nibble(&record[128..], input, lane) | high::<1>(&record[64..], input, lane)
    }
}

impl Format for Q8_0 {
    const INPUTS: usize = 32;
    const BYTES: usize = 32 + 512;
    const SIGNED: bool = true;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn code(record: &[u8], _step: usize, input: usize, lane: usize) -> i32 {
        i32::from(record[32 + 64 * (input / 4) + 4 * lane + input % 4] as i8)
    }
}

impl Format for Q4K {
    const INPUTS: usize = 256;
    const BYTES: usize = 256 + 8 * 256;
    const HAS_MINIMUM: bool = true;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn multiplier(record: &[u8], step: usize, lane: usize) -> i32 {
        i32::from(six_bit(&record[64..], step, lane))
    }

    fn minimum(record: &[u8], lane: usize) -> f32 {
        half(record, 32, lane)
    }

    fn lift(record: &[u8], step: usize, lane: usize) -> i32 {
        i32::from(six_bit(&record[160..], step, lane))
    }

    fn code(record: &[u8], step: usize, input: usize, lane: usize) -> i32 {
        nibble(&record[256 + 256 * step..], input, lane)
    }
}

impl Format for Q5K {
    const INPUTS: usize = 256;
    const BYTES: usize = 256 + 8 * 320;
    const HAS_MINIMUM: bool = true;
    const FITS: usize = 4;

    fn scale(record: &[u8], lane: usize) -> f32 {
        Q4K::scale(record, lane)
    }

    fn multiplier(record: &[u8], step: usize, lane: usize) -> i32 {
        Q4K::multiplier(record, step, lane)
    }

    fn minimum(record: &[u8], lane: usize) -> f32 {
        Q4K::minimum(record, lane)
    }

    fn lift(record: &[u8], step: usize, lane: usize) -> i32 {
        Q4K::lift(record, step, lane)
    }

    fn code(record: &[u8], step: usize, input: usize, lane: usize) -> i32 {
        let place = &record[256 + 320 * step..];
        nibble(&place[64..], input, lane) | high::<1>(place, input, lane)
    }
}

impl Format for Q6K {
    const INPUTS: usize = 256;
    const BYTES: usize = 288 + 16 * 192;
    const STEP: usize = 16;
    const OFFSET: i32 = 32;
    const FITS: usize = 2;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn multiplier(record: &[u8], step: usize, lane: usize) -> i32 {
        i32::from(record[32 + 16 * step + lane] as i8)
    }

    fn code(record: &[u8], step: usize, input: usize, lane: usize) -> i32 {
        let place = &record[288 + 192 * step..];
        nibble(&place[64..], input, lane) | high::<2>(place, input, lane)
    }
}

impl Format for Mxfp4 {
    const INPUTS: usize = 32;
    const BYTES: usize = 16 + 256;
    const OFFSET: i32 = 12;
    const FITS: usize = 4;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half_power(record[lane])
    }

    fn code(record: &[u8], _step: usize, input: usize, lane: usize) -> i32 {
        i32::from(FLOATS[nibble(&record[16..], input, lane) as usize])
    }
}

impl Format for Iq4Nl {
    const INPUTS: usize = 32;
    const BYTES: usize = 32 + 256;
    const SIGNED: bool = true;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn code(record: &[u8], _step: usize, input: usize, lane: usize) -> i32 {
        i32::from(UNEVEN[nibble(&record[32..], input, lane) as usize])
    }
}

impl Format for Iq4Xs {
    const INPUTS: usize = 256;
    const BYTES: usize = 128 + 8 * 256;
    const SIGNED: bool = true;

    fn scale(record: &[u8], lane: usize) -> f32 {
        half(record, 0, lane)
    }

    fn multiplier(record: &[u8], step: usize, lane: usize) -> i32 {
        i32::from(six_bit(&record[32..], step, lane)) - 32
    }

    fn code(record: &[u8], step: usize, input: usize, lane: usize) -> i32 {
        i32::from(UNEVEN[nibble(&record[128 + 256 * step..], input, lane) as usize])
    }
}

/// The half-precision float of a lane in a list at `at`.
fn half(record: &[u8], at: usize, lane: usize) -> f32 {
    f16::from_le_bytes([record[at + 2 * lane], record[at + 2 * lane + 1]]).to_f32()
}

fn nibble(place: &[u8], input: usize, lane: usize) -> i32 {
    let byte = place[64 * (input / 8) + 4 * lane + input % 4];
    i32::from(byte >> (4 * (input / 4 % 2)) & 15)
}

/// The bits of a code above the fourth, where they belong.
fn high<const BITS: usize>(place: &[u8], input: usize, lane: usize) -> i32 {
    let byte = place[4 * lane + input % 4];
    i32::from(byte >> (BITS * (input / 4)) & ((1 << BITS) - 1)) << 4
}

/// A number of six bits: three of four groups have their lists, the fourth the two bits above in each.
fn six_bit(lists: &[u8], group: usize, lane: usize) -> u8 {
    let lists = &lists[48 * (group / 4)..][..48];
    match group % 4 {
        3 => (0..3).fold(0, |number, list| number | lists[LANES * list + lane] >> 6 << (2 * list)),
        list => lists[LANES * list + lane] & 63,
    }
}

/// Half of two to the power of `exponent − 127`, since the values are doubled. The two smallest are subnormal.
fn half_power(exponent: u8) -> f32 {
    match exponent {
        0 | 1 => f32::from_bits(0x0020_0000 << exponent),
        _ => f32::from_bits(u32::from(exponent - 1) << 23),
    }
}
