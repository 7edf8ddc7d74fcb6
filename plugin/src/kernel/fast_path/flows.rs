//! The flows that the programs know: `struct flow` of `plugin/bpf/maps.h`, counted.

use std::ops::Range;

use super::path::FastPath;
use super::{maps, object, settings, time};
use crate::kernel::KernelError;

/// `struct flow_key`, `struct flow`
const KEY: usize = 40;
const FLOW: usize = 168;
/// Where a flow's generation stands, and when a packet of it was last let through, in 2^24 nanoseconds.
const GENERATION: Range<usize> = 40..44;
const LEARNED: Range<usize> = 160..164;
/// What that is worth: two seconds.
const VOID_AFTER: u32 = 119;

/// How many flows the programs know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flows {
    /// Those whose packets take the fast path in some direction, if any come now.
    pub fresh: usize,
    /// All, those that ended among them: they go when others need the room.
    pub known: usize,
    /// For how many there is room.
    pub most: u32,
}

impl FastPath {
    /// How many flows the programs know: all of them are read.
    ///
    /// # Errors
    /// The kernel refuses.
    pub fn flows(&self) -> Result<Flows, KernelError> {
        let map = self.map("flows")?;
        let most = object::MAPS.iter().find(|map| map.name == "flows").map_or(0, |map| map.entries);
        let generation = settings::generation(self)?;
        let now = time::now()?;
        let mut flows = Flows { most, ..Flows::default() };
        for (_, flow) in maps::all::<KEY, FLOW>(&map, most)? {
            flows.known += 1;
            if is_fresh(&flow, generation, now) {
                flows.fresh += 1;
            }
        }
        Ok(flows)
    }
}

fn is_fresh(flow: &[u8; FLOW], generation: u32, now: u32) -> bool {
    number(flow, GENERATION) == generation && now.wrapping_sub(number(flow, LEARNED)) < VOID_AFTER
}

fn number(flow: &[u8; FLOW], place: Range<usize>) -> u32 {
    let bytes = flow.get(place).and_then(|bytes| bytes.first_chunk()).copied();
    u32::from_ne_bytes(bytes.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_is_that_of_the_programs() {
        let flows = object::MAPS.iter().find(|map| map.name == "flows").unwrap();
        assert_eq!((flows.key, flows.value), (KEY as u32, FLOW as u32));
    }

    #[test]
    fn a_flow_is_fresh_for_two_seconds() {
        let mut flow = [0; FLOW];
        let put = |flow: &mut [u8; FLOW], place: Range<usize>, number: u32| {
            flow[place].copy_from_slice(&number.to_ne_bytes());
        };
        put(&mut flow, GENERATION, 7);
        put(&mut flow, LEARNED, 100);
        assert!(is_fresh(&flow, 7, 100 + VOID_AFTER - 1));
        assert!(!is_fresh(&flow, 7, 100 + VOID_AFTER));
        assert!(!is_fresh(&flow, 8, 100), "of another generation");
        put(&mut flow, LEARNED, u32::MAX);
        assert!(is_fresh(&flow, 7, 5), "the time has begun anew");
    }
}
