//! Properties: what must hold for every input, not for the inputs that one thought of.

mod buckets;
mod budget;
mod exhaustive;
mod freezes;
mod retention;
mod schedule;
mod small;
mod world;
