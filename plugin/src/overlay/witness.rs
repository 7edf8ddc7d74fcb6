//! One route of ours that stands for all: by it an ADD sees whether routes still stand.

use std::net::IpAddr;

use crate::error::Error;
use crate::kernel::Observe;
use crate::overlay::dead_end;
use crate::overlay::desired::Overlay;
use crate::overlay::stamp::Stamp;

/// An address that one of our routes leads to. One that another program's better route covers would
/// make every ADD look for what is missing.
///
/// # Errors
/// The kernel cannot be asked.
pub fn choose(
    kernel: &mut dyn Observe,
    overlay: &Overlay,
    before: Option<&Stamp>,
) -> Result<Option<IpAddr>, Error> {
    let Some((_, route)) = overlay.routes.first() else { return Ok(None) };
    let address = route.dst.network();
    if kernel.our_route(address)?.is_some() {
        return Ok(Some(address));
    }
    // Said once: `flatnet sync --watch` comes by here again and again.
    if before.is_none_or(|before| before.witness.is_some()) {
        let dst = route.dst;
        let ours = route.metric.map(|metric| (dst, metric));
        match dead_end::before(kernel, address, ours)?.map(|end| dead_end::words(&end)) {
            Some(end) => log::warn!(
                "packets to {dst} end in another program's route; `ip route del {end}` removes it"
            ),
            None => log::warn!(
                "packets to {dst} do not take flatnet's route; `ip route get fibmatch {address}` \
                 shows whose they take"
            ),
        }
    }
    Ok(None)
}
