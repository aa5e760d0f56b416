//! End to end: the real binary against real etcds, real stores and stock tools, on good days and on bad ones.

mod agents;
mod damage;
mod doctor;
mod equality;
mod inspect;
mod interrupted;
mod kinds;
mod line;
mod plain;
mod refusals;
mod retention;
mod run;
mod s3;
mod secrets;
mod stock;
mod stores;
mod trust;
