//! `candlesnapshot` in pipelines: pictures, clips, the folder, and what happens when something cannot be written.

#[path = "../support/mod.rs"]
mod support;

mod clips;
mod pictures;
mod stand;
mod trouble;
