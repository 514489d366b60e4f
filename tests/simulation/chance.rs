//! Where every decision of a run comes from: the seed, and the number of the step.
//!
//! A step does not go on with the random numbers of the one before it. So a step can be left out and
//! the others still mean much the same, which is what makes a failing run shrink.

use fastrand::Rng;
use std::fmt;
use std::str::FromStr;

/// Steps with faults in a whole run.
pub const WILD: u32 = 360;

/// One wild step of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    pub number: u32,
    /// Nothing fails in it by chance.
    pub calm: bool,
}

/// A run: its seed and the wild steps that take place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub seed: u64,
    pub steps: Vec<Kept>,
}

impl Case {
    /// The whole run of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, steps: (0..WILD).map(|number| Kept { number, calm: false }).collect() }
    }
}

/// `SEED` for a whole run; `SEED:3,9,14c` for some of its steps, those with `c` without faults.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        if *self == Self::of(self.seed) {
            return Ok(());
        }
        for (at, step) in self.steps.iter().enumerate() {
            let separator = if at == 0 { ':' } else { ',' };
            write!(f, "{separator}{}{}", step.number, if step.calm { "c" } else { "" })?;
        }
        Ok(())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is no case: SEED or SEED:STEP,STEP,...");
        let Some((seed, steps)) = text.split_once(':') else {
            return Ok(Self::of(text.parse().map_err(|_| wrong())?));
        };
        let step = |text: &str| {
            let number = text.strip_suffix('c').unwrap_or(text).parse().ok()?;
            Some(Kept { number, calm: text.ends_with('c') })
        };
        let steps: Option<Vec<Kept>> = steps.split(',').map(step).collect();
        Ok(Self { seed: seed.parse().map_err(|_| wrong())?, steps: steps.ok_or_else(wrong)? })
    }
}

/// The chance of the step that is on.
pub struct Chance {
    seed: u64,
    step: u64,
    /// What the step does.
    pub rng: Rng,
    /// What fails in it.
    faults: Rng,
    /// Whether anything may fail.
    wild: bool,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        let mut chance =
            Self { seed, step: 0, rng: Rng::with_seed(0), faults: Rng::with_seed(0), wild: false };
        chance.begin(u32::MAX, false);
        chance
    }

    /// A step begins.
    pub fn begin(&mut self, number: u32, wild: bool) {
        self.step = mix(self.seed ^ mix(u64::from(number) + 1));
        self.rng = Rng::with_seed(self.step);
        self.faults = Rng::with_seed(!self.step);
        self.wild = wild;
    }

    /// Whether something that goes wrong once in `n` times goes wrong now.
    pub fn fault(&mut self, n: u32) -> bool {
        self.wild && self.faults.u32(..n) == 0
    }

    /// Which of so many faults happens; `None` most of the time.
    pub fn fault_of(&mut self, kinds: u32, n: u32) -> Option<u32> {
        if !self.wild {
            return None;
        }
        Some(self.faults.u32(..n)).filter(|kind| *kind < kinds)
    }

    /// Chooses. Taking away what is not chosen changes nothing.
    pub fn choose<T: Copy>(&self, among: &[(u64, T)]) -> Option<T> {
        among
            .iter()
            .max_by_key(|(key, _)| mix(self.step ^ key.wrapping_mul(0x9E37_79B9_7F4A_7C15)))
            .map(|(_, what)| *what)
    }
}

/// Spreads the bits of a number.
fn mix(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
