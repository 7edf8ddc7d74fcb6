//! nf_tables, spoken to by netlink: nothing needs to be installed on a node. One table is our own,
//! `inet flatnet`; what others have in theirs is read.
//!
//! A [`RuleSet`] says what a network wants, in the words of `objects` and `expression`; `observed` what
//! is there, `plan` what makes the one of the other; `wire` sends it in one transaction that the
//! kernel refuses if nftables has changed since we looked. Nothing outside the network's own `names` is
//! touched. What the rules are for is not known here.

mod clusters;
mod error;
pub(crate) mod expression;
mod field;
mod foreign;
pub(crate) mod intervals;
#[cfg(test)]
pub(crate) mod model;
pub(crate) mod names;
pub(crate) mod objects;
mod observed;
mod plan;
mod question;
mod redirect;
mod set;
mod verdict;
mod wire;

pub use error::NftError;
pub use objects::RuleSet;
pub use redirect::Redirect;

use super::attribute::find_text;
use super::foreign_chains::{ChainFamily, ForwardChain, Keeper, Rule};
use foreign::Base;
use names::Names;
pub(super) use objects::TABLE;
use objects::{Change, Element, Message, change_elements};
use observed::{ObservedObjects, Table};
use set::Set;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use wire::{Generation, Outcome, Wire};

/// How often to start again when other programs change nftables between our reading and writing.
const ATTEMPTS: usize = 16;

/// nftables of one network namespace.
pub struct Nftables {
    wire: Wire,
}

impl Nftables {
    /// Opens nftables of the calling thread's network namespace; the thread may leave it after.
    pub fn open() -> Result<Self, NftError> {
        Ok(Nftables { wire: Wire::open()? })
    }

    /// The port of its socket.
    pub fn port(&self) -> Option<u32> {
        self.wire.port()
    }

    /// Makes the network's chains and sets exactly these, in one transaction of the differences;
    /// sends none if there are none. Returns the differences.
    pub fn replace(&mut self, want: &RuleSet) -> Result<Vec<String>, NftError> {
        let done = self.change(want.vni, |observed| plan::replace(observed, want))?;
        Ok(done.iter().map(Message::command).collect())
    }

    /// The differences that [`Nftables::replace`] would make.
    pub fn changes(&mut self, want: &RuleSet) -> Result<Vec<String>, NftError> {
        let (_, observed) = self.observe(want.vni)?;
        let changes = plan::replace(&observed, want);
        Ok(changes.iter().map(Message::command).collect())
    }

    /// Adds elements to the set of the network's VTEPs, and takes others out, in one transaction. Returns
    /// what was done.
    pub fn change_vteps(
        &mut self,
        vni: u32,
        new: &[IpAddr],
        gone: &[IpAddr],
    ) -> Result<Vec<String>, NftError> {
        let set = Names::of(vni).vteps;
        let element = |key: &IpAddr| Element { key: *key, end: false };
        let mut messages = change_elements(Change::Delete, &set, gone.iter().map(element));
        messages.extend(change_elements(Change::Add, &set, new.iter().map(element)));
        let done = self.commit(|this| Ok((this.wire.generation()?, messages.clone())))?;
        Ok(done.iter().map(Message::command).collect())
    }

    /// Removes the network's chains and sets, and the table with the last of them; `false` if
    /// nothing was there.
    pub fn remove(&mut self, vni: u32) -> Result<bool, NftError> {
        Ok(!self.change(vni, plan::remove)?.is_empty())
    }

    /// Whether the network's first chain is there and has rules.
    pub fn has_rules(&mut self, vni: u32) -> Result<bool, NftError> {
        let chain = question::chain(&Names::of(vni).prerouting);
        let answer = self.wire.get("the chains", &chain)?;
        Ok(answer.is_some_and(|chain| observed::chain_has_rules(&chain)))
    }

    /// Other tables' base chains of hook forward, all of one generation. `names` are those of the devices.
    pub fn forward_chains(
        &mut self,
        names: &BTreeMap<u32, String>,
    ) -> Result<Vec<ForwardChain>, NftError> {
        let (_, found) = self.stable(|this| {
            let mut found = Vec::new();
            for family in [ChainFamily::V4, ChainFamily::V6, ChainFamily::Both] {
                let chains = this.wire.dump_of(family, "all chains", &question::chains())?;
                let others = foreign::bases(&chains).into_iter();
                let ours = |base: &Base| family == ChainFamily::Both && base.table == TABLE;
                for base in others.filter(|base| !ours(base)) {
                    found.push(this.forward_chain(family, base, names)?);
                }
            }
            Ok(found)
        })?;
        Ok(found)
    }

    /// The rules of one chain of another table; none where there is no such chain. `names` are those of the devices.
    pub fn rules_of(
        &mut self,
        family: ChainFamily,
        table: &str,
        chain: &str,
        names: &BTreeMap<u32, String>,
    ) -> Result<Vec<Rule>, NftError> {
        let question = question::rules_of(table, chain);
        let (_, dump) =
            self.stable(|this| this.wire.dump_of(family, "the rules of a chain", &question))?;
        Ok(foreign::rules(chain, &dump, family, &BTreeMap::new(), names))
    }

    /// A base chain with those that its rules lead to, and what they ask of sets.
    fn forward_chain(
        &mut self,
        family: ChainFamily,
        Base { table, name, drops }: Base,
        names: &BTreeMap<u32, String>,
    ) -> Result<ForwardChain, NftError> {
        let (mut rules, mut sets) = (BTreeMap::new(), BTreeMap::new());
        let mut next = vec![name.clone()];
        while let Some(chain) = next.pop() {
            if rules.contains_key(&chain) {
                continue;
            }
            let rules_of = question::rules_of(&table, &chain);
            let dump = self.wire.dump_of(family, "all rules", &rules_of)?;
            for set in foreign::sets(&dump) {
                if !sets.contains_key(set) {
                    sets.insert(set.to_owned(), self.set(family, &table, set)?);
                }
            }
            let read = foreign::rules(&chain, &dump, family, &sets, names);
            next.extend(read.iter().filter_map(|rule| rule.end.chain()).map(str::to_owned));
            rules.insert(chain, read);
        }
        Ok(ForwardChain { keeper: Keeper::Nft, family, table, name, drops, rules })
    }

    fn set(&mut self, family: ChainFamily, table: &str, name: &str) -> Result<Set, NftError> {
        let all = self.wire.dump_of(family, "all sets", &question::sets(table))?;
        let set = all.into_iter().find(|set| find_text(set, 2) == Some(name)).unwrap_or_default();
        let object = format!("the elements of set {name}");
        let elements = question::elements(table, name);
        Ok(Set::read(&set, &self.wire.dump_of(family, &object, &elements)?))
    }

    fn change(
        &mut self,
        vni: u32,
        plan: impl Fn(&ObservedObjects) -> Vec<Message>,
    ) -> Result<Vec<Message>, NftError> {
        self.commit(|this| {
            let (generation, observed) = this.observe(vni)?;
            Ok((generation, plan(&observed)))
        })
    }

    /// Sends what is to be sent to the generation that it was made for, until the kernel takes it.
    fn commit(
        &mut self,
        prepare: impl Fn(&mut Self) -> Result<(Generation, Vec<Message>), NftError>,
    ) -> Result<Vec<Message>, NftError> {
        for _ in 0..ATTEMPTS {
            let (generation, messages) = prepare(self)?;
            if messages.is_empty() {
                return Ok(messages);
            }
            if self.wire.commit(generation, &messages)? == Outcome::Done {
                messages.iter().for_each(|message| log::debug!("{}", message.command()));
                return Ok(messages);
            }
        }
        Err(NftError::Unstable { action: "change", attempts: ATTEMPTS })
    }

    /// What stands of the network, all of one generation.
    fn observe(&mut self, vni: u32) -> Result<(Generation, ObservedObjects), NftError> {
        self.stable(|this| this.read(&Names::of(vni)))
    }

    /// What `read` finds, all of one generation.
    fn stable<T>(
        &mut self,
        read: impl Fn(&mut Self) -> Result<T, NftError>,
    ) -> Result<(Generation, T), NftError> {
        for _ in 0..ATTEMPTS {
            let generation = self.wire.generation()?;
            let found = read(self);
            // Also when reading failed: a set may be gone since the dump that listed it.
            if self.wire.generation()? == generation {
                return Ok((generation, found?));
            }
        }
        Err(NftError::Unstable { action: "read", attempts: ATTEMPTS })
    }

    fn read(&mut self, names: &Names) -> Result<ObservedObjects, NftError> {
        let Some(answer) = self.wire.get("the table", &question::table())? else {
            return Ok(ObservedObjects::default());
        };
        let chains = self.wire.dump("the chains", &question::chains())?;
        let rules = self.wire.dump("the rules", &question::rules(TABLE))?;
        let sets = self.wire.dump("the sets", &question::sets(TABLE))?;
        let in_company = observed::in_company(names, &sets, &chains);
        let mut sets = observed::sets(names, &sets);
        for set in &mut sets {
            set.elements = self.elements(&set.name)?;
        }
        let chains = observed::chains(names, chains, rules);
        Ok(ObservedObjects { table: Some(Table::decode(&answer)), sets, chains, in_company })
    }

    fn elements(&mut self, set: &str) -> Result<BTreeSet<Element>, NftError> {
        let object = format!("the elements of set {set}");
        Ok(observed::elements(&self.wire.dump(&object, &question::elements(TABLE, set))?))
    }
}
