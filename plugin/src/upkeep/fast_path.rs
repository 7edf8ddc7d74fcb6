//! What the fast path of a network that is kept says of itself, for who counts it: nothing is made for the answer, so it can
//! be asked for as often as anyone likes.

use flatnet_conf::NetworkConf;

use crate::error::Error;
use crate::kernel::Netlink;
pub use crate::kernel::fast_path::COUNTS;
use crate::overlay::fast_path::{Obstacle, State, is_wanted};

/// Why it may not stand: IPsec policies, another program's queueing discipline or filter in its place, the kernel.
pub const OBSTACLES: [&str; 4] = Obstacle::KINDS;

/// What it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FastPath {
    /// Whether it is configured.
    pub wanted: bool,
    /// What its programs have counted since they were loaded, by the names in [`COUNTS`]; none where it does not stand.
    pub counts: Option<Vec<(&'static str, u64)>>,
    /// Which of [`OBSTACLES`] is in its way. That the kernel refuses its programs is also said for the moment in which they
    /// are not there yet.
    pub obstacle: Option<&'static str>,
}

impl FastPath {
    /// Looks at the network with this VNI, in the calling thread's network namespace.
    ///
    /// # Errors
    /// The kernel cannot be asked.
    pub fn of(conf: &NetworkConf, vni: u32) -> Result<Self, Error> {
        let none = Self { wanted: is_wanted(conf), ..Self::default() };
        if !none.wanted {
            return Ok(none);
        }
        Ok(match State::of(&mut Netlink::open()?, conf, vni)? {
            State::Nothing => none,
            State::Stands(path) => {
                let counts = COUNTS.into_iter().zip(path.counts()?).collect();
                Self { counts: Some(counts), ..none }
            }
            State::Missing(obstacle) => {
                let obstacle = obstacle.map_or(OBSTACLES[3], |obstacle| obstacle.kind());
                Self { obstacle: Some(obstacle), ..none }
            }
        })
    }
}
