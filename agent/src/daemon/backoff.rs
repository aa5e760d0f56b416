//! How long a loop waits after a failed run.

use std::time::Duration;

const FIRST: Duration = Duration::from_secs(5);
pub(super) const LONGEST: Duration = Duration::from_secs(300);

/// The wait after a failed run: doubles from first to longest, and begins anew after a success.
pub(super) struct Backoff(Duration);

impl Backoff {
    pub(super) fn new() -> Self {
        Backoff(FIRST)
    }

    pub(super) fn next(&mut self) -> Duration {
        let now = self.0;
        self.0 = (now * 2).min(LONGEST);
        now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let waits: Vec<u64> = std::iter::repeat_with(|| backoff.next().as_secs()).take(8).collect();
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
    }
}
