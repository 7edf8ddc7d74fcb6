//! The fault suite: what is left behind when the plugin is killed at any system call, when a system
//! call fails, when many call at once, when state is damaged, and when the caller is hostile.
//!
//! Every test prints how many points it tried and how many left something behind, as
//! `cargo test --test faults -- --nocapture` shows.

mod baseline;
mod concurrency;
mod damage;
mod documents;
mod failure;
mod hostile;
mod inject;
mod kill;
mod kill_overlay;
mod reclaim;
mod removal;
mod room;
