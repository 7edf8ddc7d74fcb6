//! What a container runtime does about CNI, for those that know another protocol: finds a network's list of
//! plugins, and calls them one after another (CNI 1.1.0, section 3).

pub(crate) mod chain;
pub(crate) mod folder;
pub(crate) mod list;
pub mod netavark;
