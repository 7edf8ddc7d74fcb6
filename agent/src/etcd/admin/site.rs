//! What all of them have: the network, and an answer.

use flatnet::cli::Outcome;
use flatnet_conf::ClusterNetwork;

use super::super::client::Client;
use super::super::keys::Keys;

/// A network that is looked at.
pub struct Site {
    pub client: Client,
    pub network: ClusterNetwork,
    pub keys: Keys,
}

/// What is printed, and how it ended.
pub type Answer = Result<(String, Outcome), String>;
