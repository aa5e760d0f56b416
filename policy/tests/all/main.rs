//! Properties: what must hold for every input, not for the inputs that one thought of.

mod asked;
mod blackout;
mod buckets;
mod croner;
mod duty;
mod exhaustive;
mod retention;
mod schedule;
mod small;
mod world;
