//! Properties: what must hold for every input, not for the inputs that one thought of.

mod asked;
mod blackout;
mod buckets;
mod budget;
mod croner;
mod duty;
mod exhaustive;
mod freezes;
mod late;
mod retention;
mod schedule;
mod simulation;
mod small;
mod world;
