//! Packet filtering: what other programs' rules let through.

pub mod blockade;
