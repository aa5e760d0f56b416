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
mod keys;
mod killed;
mod kinds;
mod line;
mod network;
mod orphans;
mod plain;
mod refusals;
mod retention;
mod rotation;
mod run;
mod s3;
mod secrets;
mod slow;
mod stock;
mod stores;
mod trust;
