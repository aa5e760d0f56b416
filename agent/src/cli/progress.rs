//! How far a long work is: a bar on a terminal, elsewhere a plain line each ten seconds.

use super::output::{Output, size};
use crate::clock::Stopwatch;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const PLAIN_EVERY: Duration = Duration::from_secs(10);

pub struct Progress<'a> {
    what: &'static str,
    output: &'a Output,
    bar: ProgressBar,
    /// Since the last plain line.
    told: Mutex<Stopwatch>,
}

impl<'a> Progress<'a> {
    pub fn new(output: &'a Output, what: &'static str) -> Self {
        let target = if output.is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        let template =
            "{prefix:8} {bytes:>10} of {total_bytes:<10} {wide_bar} {percent:>3} % {binary_bytes_per_sec:>12}";
        // The template is fixed text; a bar without it would still move.
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_prefix(what);
        Progress { what, output, bar, told: Mutex::new(Stopwatch::start()) }
    }

    /// `done` of `all` bytes.
    pub fn at(&self, done: u64, all: u64) {
        self.bar.set_length(all);
        self.bar.set_position(done);
        if self.output.is_terminal() {
            return;
        }
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.elapsed() >= PLAIN_EVERY {
            *told = Stopwatch::start();
            let percent = done.saturating_mul(100).checked_div(all).unwrap_or(100);
            self.output.remark(&format!("{} {} of {}, {percent} %\n", self.what, size(done), size(all)));
        }
    }

    pub fn finish(self) {
        self.bar.finish_and_clear();
    }
}
