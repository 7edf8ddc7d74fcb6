//! What other tables' rules do with a packet.

use crate::kernel::attribute::{find_number, find_text};
use crate::kernel::foreign_chains::End;

/// `NF_DROP`
pub(super) const NF_DROP: u32 = 0;
pub(super) const NF_ACCEPT: u32 = 1;
const CONTINUE: u32 = -1_i32 as u32;
const BREAK: u32 = -2_i32 as u32;
const JUMP: u32 = -3_i32 as u32;
const GOTO: u32 = -4_i32 as u32;
const RETURN: u32 = -5_i32 as u32;

/// What a verdict does (`NFTA_DATA_VERDICT`).
pub(super) fn verdict(verdict: &[u8]) -> Option<End> {
    let chain = || find_text(verdict, 2).map(str::to_owned);
    Some(match find_number(verdict, 1)? {
        NF_DROP => End::Drop,
        NF_ACCEPT => End::Accept,
        JUMP => End::Jump(chain()?),
        GOTO => End::Goto(chain()?),
        RETURN => End::Return,
        CONTINUE | BREAK => End::Continue,
        code => End::Unknown(format!("verdict {code}")),
    })
}
