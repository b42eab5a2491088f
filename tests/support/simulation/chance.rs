//! All randomness of a simulation, from its seed.
//!
//! Invariant: what it says depends on the seed and on how often it was asked, and on nothing else.

/// SplitMix64 with what a simulation asks of it.
#[derive(Debug, Clone)]
pub struct Chance(u64);

impl Chance {
    /// The same seed says the same.
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub const fn any(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of `0..most`.
    pub const fn below(&mut self, most: u64) -> u64 {
        self.any() % most
    }

    /// Evenly from `least` to before `most`.
    pub const fn between(&mut self, least: u64, most: u64) -> u64 {
        least + self.below(most - least)
    }

    /// From `least` to `most`, every order of magnitude as likely as the next.
    pub fn spread(&mut self, least: u64, most: u64) -> u64 {
        let mut most = most.max(least + 1);
        while most / 2 > least && self.below(2) == 0 {
            most /= 2;
        }
        self.between((most / 2).max(least), most)
    }

    /// So many times in a thousand.
    pub const fn permille(&mut self, times: u64) -> bool {
        self.below(1000) < times
    }

    /// One of them.
    pub fn pick<T: Clone>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap_or_default()].clone()
    }

    /// The place in the list of weights that came up.
    pub fn weighed(&mut self, weights: &[u64]) -> usize {
        let mut left = self.below(weights.iter().sum());
        for (index, weight) in weights.iter().enumerate() {
            if left < *weight {
                return index;
            }
            left -= weight;
        }
        0
    }
}
