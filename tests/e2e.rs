//! End to end: the real binary against real etcds, real stores and stock tools, on good days and on bad ones.

mod agents;
mod blackout;
mod damage;
mod doctor;
mod duty;
mod equality;
mod holds;
mod inspect;
mod interrupted;
mod killed;
mod kinds;
mod line;
mod network;
mod orphans;
mod plain;
mod proofs;
mod refusals;
mod retention;
mod run;
mod s3;
mod secrets;
mod slow;
mod stock;
mod stores;
mod survives;
mod trust;
