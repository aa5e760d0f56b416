//! A bandwidth limit that all clones of a store share: bytes are paid for before they are sent or asked for.

use crate::clock::timer_now;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What was not used may be used later, but no more than of so long: enough to sleep a little too long now and then.
const SAVED_FOR: Duration = Duration::from_secs(1);

/// Up to when the line is paid for.
#[derive(Debug)]
struct Account {
    bytes_per_second: u64,
    paid_until: Instant,
}

impl Account {
    /// How long whoever pays for these bytes now has to wait before they may pass.
    fn pay(&mut self, now: Instant, bytes: u64) -> Duration {
        let earliest = now.checked_sub(SAVED_FOR).unwrap_or(now);
        let takes = Duration::from_secs_f64(bytes as f64 / self.bytes_per_second as f64);
        self.paid_until = self.paid_until.max(earliest) + takes;
        self.paid_until.saturating_duration_since(now)
    }
}

/// The limit itself.
#[derive(Debug)]
pub(super) struct Pace(Mutex<Account>);

impl Pace {
    pub fn new(bytes_per_second: u64) -> Pace {
        Pace(Mutex::new(Account { bytes_per_second: bytes_per_second.max(1), paid_until: timer_now() }))
    }

    /// Returns when these bytes may pass. In the order of the calls; one that is dropped has paid all the same.
    pub async fn pay(&self, bytes: u64) {
        let wait = self.0.lock().unwrap_or_else(PoisonError::into_inner).pay(timer_now(), bytes);
        tokio::time::sleep(wait).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: f64) -> Duration {
        Duration::from_secs_f64(number)
    }

    #[tokio::test(start_paused = true)]
    async fn bytes_wait_for_those_before_them_and_a_pause_saves_one_second() {
        let start = Instant::now();
        let mut account = Account { bytes_per_second: 100, paid_until: start };
        assert_eq!(account.pay(start, 50), seconds(0.5));
        assert_eq!(account.pay(start, 100), seconds(1.5));
        assert_eq!(account.pay(start + seconds(1.0), 100), seconds(1.5));
        // An hour later one second is saved, not an hour.
        let later = start + seconds(3600.0);
        assert_eq!(account.pay(later, 100), seconds(0.0));
        assert_eq!(account.pay(later, 100), seconds(1.0));
    }

    #[tokio::test(start_paused = true)]
    async fn together_they_never_pass_faster_than_the_limit() {
        let pace = Pace::new(1 << 20);
        let start = Instant::now();
        futures::future::join_all((0..12).map(|_| pace.pay(5 << 20))).await;
        assert!(start.elapsed() >= seconds(60.0) && start.elapsed() < seconds(60.1), "{:?}", start.elapsed());
    }
}
