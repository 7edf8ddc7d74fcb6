//! What is asked of nf_tables, as messages: one object, or all of a kind.

use super::objects::{named_chain, named_table};
use netlink_packet_netfilter::nftables::{
    ChainMessage, GenMessage, NfTablesMessage, RuleAttribute, RuleMessage, SetAttribute,
    SetElementList, SetElementMessage, SetMessage, TableMessage,
};

/// The generation of all tables.
pub(super) fn generation() -> NfTablesMessage {
    NfTablesMessage::GetGen(GenMessage { attributes: vec![] })
}

/// Our table.
pub(super) fn table() -> NfTablesMessage {
    NfTablesMessage::GetTable(TableMessage { attributes: vec![named_table()] })
}

/// A chain of our table.
pub(super) fn chain(name: &str) -> NfTablesMessage {
    NfTablesMessage::GetChain(ChainMessage { attributes: named_chain(name) })
}

/// The chains of all tables.
pub(super) fn chains() -> NfTablesMessage {
    NfTablesMessage::GetChain(ChainMessage { attributes: vec![] })
}

/// The rules of a table.
pub(super) fn rules(table: &str) -> NfTablesMessage {
    NfTablesMessage::GetRule(RuleMessage { attributes: vec![RuleAttribute::Table(table.into())] })
}

/// The rules of a chain.
pub(super) fn rules_of(table: &str, chain: &str) -> NfTablesMessage {
    let attributes = vec![RuleAttribute::Table(table.into()), RuleAttribute::Chain(chain.into())];
    NfTablesMessage::GetRule(RuleMessage { attributes })
}

/// The sets of a table.
pub(super) fn sets(table: &str) -> NfTablesMessage {
    NfTablesMessage::GetSet(SetMessage { attributes: vec![SetAttribute::Table(table.into())] })
}

/// The elements of a set.
pub(super) fn elements(table: &str, set: &str) -> NfTablesMessage {
    let attributes = vec![SetElementList::Table(table.into()), SetElementList::Set(set.into())];
    NfTablesMessage::GetSetElement(SetElementMessage { attributes })
}
