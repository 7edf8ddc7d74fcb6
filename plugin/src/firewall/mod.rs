//! Packet filtering: what ours is for, and what other programs' let through.
//!
//! Our rules keep outsiders out of the overlay and pods from using other sources than their own, keep
//! conntrack away from outer packets, and masquerade what leaves the pod network. They only drop or let
//! pass: an accept of ours cannot override a drop of another table.

pub mod blockade;
mod rules;

pub use rules::{Masquerade, Policy};
