//! The way from one client to the store, and what goes wrong on it.
//!
//! Each direction can be cut by itself. What is sent meanwhile is lost, or kept
//! and delivered once the way is mended, as TCP does: that is how commits land
//! long after their client has given up on them.

use std::time::Duration;

use coordinator_lib::rng::Rng;
use parking_lot::Mutex;

/// What happens to one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) there: Duration,
    pub(crate) back: Duration,
    pub(crate) lost: Option<Lost>,
}

/// Where a request is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lost {
    Before,
    After,
}

/// A direction of the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Requests.
    There,
    /// Answers.
    Back,
}

/// How things go between one client and the store.
#[derive(Default)]
pub struct Link {
    state: Mutex<State>,
}

type Delivery = Box<dyn FnOnce() + Send>;

#[derive(Default)]
struct State {
    /// Cuts of each direction that have not been mended.
    there_cuts: u32,
    back_cuts: u32,
    kept_there: Vec<Delivery>,
    kept_back: Vec<Delivery>,
    /// Requests in a thousand that something happens to.
    trouble_permille: u64,
    /// Every answer takes this much longer.
    slow: Duration,
}

impl Link {
    /// Whether a direction is cut.
    pub fn is_cut(&self, way: Way) -> bool {
        let state = self.state.lock();
        match way {
            Way::There => state.there_cuts > 0,
            Way::Back => state.back_cuts > 0,
        }
    }

    /// Cuts a direction.
    pub fn cut(&self, way: Way) {
        let mut state = self.state.lock();
        match way {
            Way::There => state.there_cuts += 1,
            Way::Back => state.back_cuts += 1,
        }
    }

    /// Mends one cut; what was kept goes on its way.
    pub fn mend(&self, way: Way) {
        let kept = {
            let mut state = self.state.lock();
            let (cuts, kept) = match way {
                Way::There => {
                    state.there_cuts = state.there_cuts.saturating_sub(1);
                    (state.there_cuts, &mut state.kept_there)
                }
                Way::Back => {
                    state.back_cuts = state.back_cuts.saturating_sub(1);
                    (state.back_cuts, &mut state.kept_back)
                }
            };
            if cuts > 0 {
                return;
            }
            std::mem::take(kept)
        };
        for delivery in kept {
            delivery();
        }
    }

    /// Keeps something until the direction is mended.
    pub(crate) fn keep(&self, way: Way, delivery: Delivery) {
        let mut state = self.state.lock();
        match way {
            Way::There => state.kept_there.push(delivery),
            Way::Back => state.kept_back.push(delivery),
        }
    }

    /// From now on something happens to so many requests in a thousand.
    pub fn set_trouble(&self, permille: u64) {
        self.state.lock().trouble_permille = permille;
    }

    /// From now on answers take so much longer.
    pub fn set_slow(&self, slow: Duration) {
        self.state.lock().slow = slow;
    }

    pub(crate) fn fate(&self, rng: &dyn Rng) -> Fate {
        let (trouble, slow) = {
            let state = self.state.lock();
            (state.trouble_permille, state.slow)
        };
        let micros = |range| Duration::from_micros(rng.range(range));
        let mut fate = Fate {
            there: micros(500..20_000),
            back: micros(500..20_000) + slow,
            lost: None,
        };
        if rng.range(0..1_000) < trouble {
            match rng.range(0..6) {
                0 => fate.lost = Some(Lost::Before),
                1 => fate.lost = Some(Lost::After),
                2 => fate.there += micros(1_500_000..30_000_000),
                3 => fate.back += micros(1_500_000..20_000_000),
                _ => {
                    fate.there += micros(10_000..700_000);
                    fate.back += micros(10_000..700_000);
                }
            }
        }
        fate
    }
}
