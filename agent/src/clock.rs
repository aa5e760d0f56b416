//! The only place that reads the time. Everything that decides takes the time as an argument.

use chrono::{DateTime, Utc};
use std::sync::{Mutex, PoisonError};
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

/// When each part of one piece of work was done, in seconds from its start; told by several threads.
#[derive(Debug)]
pub struct Laps {
    watch: Stopwatch,
    done: Mutex<Vec<(&'static str, f64)>>,
}

impl Default for Laps {
    fn default() -> Self {
        Laps { watch: Stopwatch::start(), done: Mutex::default() }
    }
}

impl Laps {
    /// The part is done; a second time changes nothing.
    pub fn lap(&self, part: &'static str) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        if !done.iter().any(|(known, _)| *known == part) {
            done.push((part, self.watch.seconds()));
        }
    }

    /// When it was done, if it was.
    pub fn at(&self, part: &str) -> Option<f64> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.iter().find(|(known, _)| *known == part).map(|(_, at)| *at)
    }

    pub fn seconds(&self) -> f64 {
        self.watch.seconds()
    }
}

/// Now, on the clock that timers run on: for what must agree with them, also where a test moves it.
#[allow(clippy::disallowed_methods)] // this is the place
pub fn timer_now() -> tokio::time::Instant {
    tokio::time::Instant::now()
}
