//! End to end: the real binary against real etcds, real stores and stock tools, on good days and on bad ones.

mod agents;
mod damage;
mod doctor;
mod equality;
mod holds;
mod inspect;
mod interrupted;
mod kinds;
mod line;
mod orphans;
mod plain;
mod refusals;
mod run;
mod s3;
mod secrets;
mod stock;
mod stores;
mod trust;
