//! Memory in proportion: what reads untrusted bytes may not take more of it than a constant times their length.

use std::alloc::System;

use cap::Cap;

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// Runs `work`, which dies if it holds more than `bytes` at any time.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    ALLOCATOR.set_limit(ALLOCATOR.allocated() + bytes).expect("the limit is above what is in use");
    let result = work();
    ALLOCATOR.set_limit(usize::MAX).expect("no limit is above what is in use");
    result
}
