//! Which addresses the networks of this node have claimed: read back from their sets, because
//! another network's range file may be anywhere.

use super::names::Names;
use super::objects::TABLE;
use super::{NftError, Nftables, intervals, question};
use crate::kernel::attribute::find_text;
use ipnetwork::IpNetwork;
use std::collections::BTreeMap;

impl Nftables {
    /// The cluster ranges of each network that has rules, by its VNI.
    pub fn cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, NftError> {
        self.stable(Self::read_cluster_cidrs).map(|(_, found)| found)
    }

    fn read_cluster_cidrs(&mut self) -> Result<BTreeMap<u32, Vec<IpNetwork>>, NftError> {
        let mut found: BTreeMap<u32, Vec<IpNetwork>> = BTreeMap::new();
        if self.wire.get("the table", &question::table())?.is_none() {
            return Ok(found);
        }
        for set in self.wire.dump("the sets", &question::sets(TABLE))? {
            let name = find_text(&set, 2).unwrap_or_default();
            if let Some(vni) = Names::of_cluster(name) {
                found.entry(vni).or_default().extend(intervals::covering(&self.elements(name)?));
            }
        }
        Ok(found)
    }
}
