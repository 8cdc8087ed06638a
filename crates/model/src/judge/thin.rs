//! Thinning: an arm whose cells are larger loses requests at random, and the "random" is a function of a key.

use sha2::{Digest, Sha256};

/// SplitMix64 (Steele, Lea & Flood 2014).
#[derive(Debug, Clone)]
pub struct SplitMix64(u64);

impl SplitMix64 {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number in `[0, 1)` with 53 bits.
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
    }
}

/// The hash of the config line, from which the seed of each draw is derived.
#[derive(Debug, Clone)]
pub(super) struct Key(Sha256);

impl Key {
    pub(super) fn new(config_line: &str) -> Self {
        Self(Sha256::new_with_prefix(config_line))
    }

    /// Seed of one cell: the first 8 bytes, little endian, of SHA-256 of `config line|t|instance|series`.
    fn seed(&self, t: &str, instance: &str, series: &str) -> u64 {
        let hash = self.0.clone().chain_update(format!("|{t}|{instance}|{series}")).finalize();
        u64::from_le_bytes(hash[..8].try_into().expect("a SHA-256 hash has 32 bytes"))
    }

    /// How many of `count` hits remain when `requests` are reduced to `target` by drawing without replacement.
    pub(super) fn thin(&self, cell: Draw<'_>) -> u64 {
        let mut random = SplitMix64::new(self.seed(cell.t, cell.instance, cell.series));
        let (mut left, mut hits, mut kept) = (cell.requests, cell.count, 0);
        // With no hit left the remaining draws cannot change the answer.
        while left > cell.requests - cell.target && hits > 0 {
            if random.uniform() < hits as f64 / left as f64 {
                kept += 1;
                hits -= 1;
            }
            left -= 1;
        }
        kept
    }
}

/// One cell that is to be thinned.
#[derive(Debug, Clone, Copy)]
pub(super) struct Draw<'a> {
    pub t: &'a str,
    pub instance: &'a str,
    pub series: &'a str,
    pub count: u64,
    pub requests: u64,
    /// At most `requests`.
    pub target: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_or_nothing_stays_all_or_nothing() {
        let key = Key::new("{}");
        let draw = |count| Draw {
            t: "0",
            instance: "b",
            series: "errors",
            count,
            requests: 90,
            target: 30,
        };
        assert_eq!(key.thin(draw(0)), 0);
        assert_eq!(key.thin(draw(90)), 30);
        assert_eq!(key.thin(draw(45)), key.thin(draw(45)));
    }
}
