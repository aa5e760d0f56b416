//! The only place that reads the time. Everything that decides takes the time as an argument.

use chrono::{DateTime, Utc};
use std::time::{Duration, Instant};

/// The wall clock, as a seam: tests stand still or jump.
pub trait Clock: Send + Sync {
    fn now(&self) -> DateTime<Utc>;
}

/// The clock of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[allow(clippy::disallowed_methods)] // this is the place
    fn now(&self) -> DateTime<Utc> {
        Utc::now()
    }
}

/// Measures a span on the monotonic clock, so that a clock that is set does not bend durations.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)] // this is the place
    pub fn start() -> Self {
        Stopwatch(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }

    pub fn seconds(&self) -> f64 {
        self.elapsed().as_secs_f64()
    }
}

/// Now, on the clock that timers run on: for what must agree with them, also where a test moves it.
#[allow(clippy::disallowed_methods)] // this is the place
pub fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
