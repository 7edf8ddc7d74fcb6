//! Who may have a connection at a time. A new one always gets a place, that of the oldest where all are taken: so
//! nobody keeps others out by connections on which he asks nothing.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use tokio::task::AbortHandle;

/// Of each kind, at the same time.
pub const CONNECTIONS: usize = 16;

/// Connections by where they come from. Pods of any node can make as many as they like where the agent is asked from
/// elsewhere; the kubelet asks from this node, where theirs take nobody's place.
#[derive(Debug, Default)]
pub struct Places {
    near: VecDeque<AbortHandle>,
    far: VecDeque<AbortHandle>,
}

impl Places {
    /// Takes in a connection, and ends the oldest of its kind that is one too many.
    pub fn take(&mut self, peer: SocketAddr, connection: AbortHandle) {
        let alike = if is_near(peer.ip()) { &mut self.near } else { &mut self.far };
        alike.retain(|other| !other.is_finished());
        alike.push_back(connection);
        if alike.len() > CONNECTIONS {
            alike.pop_front().iter().for_each(AbortHandle::abort);
        }
    }
}

/// Whether who asks is on this node for sure, which no packet from elsewhere can claim.
fn is_near(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn peer(address: &str) -> SocketAddr {
        SocketAddr::new(address.parse().unwrap(), 40_000)
    }

    #[tokio::test]
    async fn a_new_one_takes_the_place_of_the_oldest_of_its_kind() {
        let mut places = Places::default();
        let near = tokio::spawn(pending::<()>());
        places.take(peer("127.0.0.1"), near.abort_handle());
        let mut far = VecDeque::new();
        for host in 0..=CONNECTIONS {
            far.push_back(tokio::spawn(pending::<()>()));
            places.take(peer(&format!("10.1.0.{host}")), far[host].abort_handle());
        }
        assert!(far.pop_front().unwrap().await.unwrap_err().is_cancelled());
        assert!(!near.is_finished() && far.iter().all(|other| !other.is_finished()));
        // Who has gone by himself leaves his place.
        let gone = far.remove(3).unwrap();
        gone.abort();
        assert!(gone.await.is_err());
        places.take(peer("10.1.0.99"), tokio::spawn(pending::<()>()).abort_handle());
        tokio::task::yield_now().await;
        assert!(far.iter().all(|other| !other.is_finished()));
    }

    #[test]
    fn loopback_addresses_are_near() {
        for near in ["127.0.0.1", "127.0.0.53", "::1", "::ffff:127.0.0.1"] {
            assert!(is_near(near.parse().unwrap()), "{near}");
        }
        for far in ["10.1.0.7", "192.0.2.1", "::ffff:10.1.0.7", "fd00:1::7", "fe80::1"] {
            assert!(!is_near(far.parse().unwrap()), "{far}");
        }
    }
}
