//! Memory in proportion: what reads untrusted bytes may not take more of it than a constant times their length.

use std::alloc::System;
use std::panic;
use std::sync::Once;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `work`, which dies if it holds more than `bytes` at any time.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(lift_when_panicking);
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + bytes).expect("the limit is above what is in use");
    let result = work();
    lift();
    result
}

fn lift() {
    ALLOCATOR.set_limit(usize::MAX).expect("no limit is above what is in use");
}

/// A panic tells where it came from, and that takes more memory than what panicked may have.
fn lift_when_panicking() {
    let before = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        lift();
        before(info);
    }));
}
