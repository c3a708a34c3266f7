//! Randomness, the one way in: everything else takes an [`Rng`] in its
//! constructor, so that a simulation can be repeated from its seed.
//!
//! [`SystemRng`] is fit for keys. [`SeededRng`] is for tests and simulations
//! only.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;

/// A source of randomness that may be shared between tasks.
pub type SharedRng = Arc<dyn Rng>;

/// Fills, draws and jitters.
pub trait Rng: Send + Sync + 'static {
    /// Fills the buffer with random bytes.
    fn fill(&self, buffer: &mut [u8]);

    /// Any 64 bits.
    fn u64(&self) -> u64 {
        let mut bytes = [0; 8];
        self.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// A number of the range (evenly, to within 2⁻⁶⁴ of its width); the start
    /// of an empty range.
    fn range(&self, range: Range<u64>) -> u64 {
        let width = range.end.saturating_sub(range.start);
        let scaled = (u128::from(self.u64()) * u128::from(width)) >> 64;
        // The shift leaves less than `width`, which is a u64.
        range.start + scaled as u64
    }

    /// The duration, longer or shorter by up to `fraction` of itself.
    fn jitter(&self, duration: Duration, fraction: f64) -> Duration {
        // 53 bits are what an f64 holds exactly: a number of 0..1.
        let unit = (self.u64() >> 11) as f64 / (1u64 << 53) as f64;
        let fraction = fraction.clamp(0.0, 1.0);
        let factor = 1.0 + fraction * (2.0 * unit - 1.0);
        // `mul_f64` would panic where the product does not fit.
        Duration::try_from_secs_f64(duration.as_secs_f64() * factor).unwrap_or(duration)
    }

    /// 128 random bits in hexadecimal: a name for one attempt at something.
    fn nonce(&self) -> String {
        format!("{:016x}{:016x}", self.u64(), self.u64())
    }
}

/// The thread's cryptographic generator, seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl SystemRng {
    /// A [`SharedRng`] of the machine.
    pub fn shared() -> SharedRng {
        Arc::new(Self)
    }
}

impl Rng for SystemRng {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that draws system randomness"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        rand::Rng::fill_bytes(&mut rand::rng(), buffer);
    }
}

/// A repeatable generator for tests: the same seed, the same numbers.
pub struct SeededRng(Mutex<StdRng>);

impl SeededRng {
    /// A generator that starts from the seed.
    pub fn new(seed: u64) -> Self {
        Self(Mutex::new(StdRng::seed_from_u64(seed)))
    }

    /// The same, to be shared.
    pub fn shared(seed: u64) -> SharedRng {
        Arc::new(Self::new(seed))
    }
}

impl fmt::Debug for SeededRng {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SeededRng")
    }
}

impl Rng for SeededRng {
    fn fill(&self, buffer: &mut [u8]) {
        rand::Rng::fill_bytes(&mut *self.0.lock(), buffer);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let draw = |seed| {
            let rng = SeededRng::new(seed);
            [rng.u64(), rng.u64(), rng.range(0..1000)]
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }

    #[test]
    fn ranges_and_jitter_stay_within_their_bounds() {
        let rng = SeededRng::new(1);
        let base = Duration::from_secs(10);
        for _ in 0..1_000 {
            assert!((5..9).contains(&rng.range(5..9)));
            let jittered = rng.jitter(base, 0.1);
            assert!(jittered >= Duration::from_secs(9) && jittered <= Duration::from_secs(11));
        }
        assert_eq!(rng.range(4..4), 4);
        assert_eq!(SystemRng.nonce().len(), 32);
    }
}
