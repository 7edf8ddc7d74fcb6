//! What a chain of hook forward does with the first packets of connections between pods, as far as its rules are
//! understood: its rules are walked as the kernel walks them, for all such packets at once.

use ipnetwork::IpNetwork;
use std::net::IpAddr;

use crate::kernel::{Asks, Condition, End, ForwardChain, NamePattern, Rule, STATE_NEW};

/// The kernel's own limit of jumps (`NFT_JUMP_STACK_SIZE`).
const JUMPS: usize = 16;
/// Rules that are looked at: nests of jumps can be made that take years.
const RULES: usize = 1_000_000;
/// Marks of a connection that a first packet which is not translated has none of: `IPS_EXPECTED` to
/// `IPS_DST_NAT`.
const STATUS_NONE: u32 = 0x3f;

/// Packets that cross a node: by which devices, and from where to where.
#[derive(Clone, Debug)]
pub struct Way {
    /// The device they come by.
    pub input: Device,
    /// The device they leave by.
    pub output: Device,
    /// Where their sources are.
    pub source: IpNetwork,
    /// Where their destinations are.
    pub destination: IpNetwork,
}

/// A device as a rule sees it: its name, or what all names of its kind begin with, and its group.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its name.
    pub name: NamePattern,
    /// `IFLA_GROUP`.
    pub group: u32,
}

/// What becomes of the packets of a way; the worst is the last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate<'a> {
    /// All pass.
    Pass,
    /// Some of them end at a rule.
    SomeDropped(Place<'a>),
    /// A rule decides that asks, or does, what is not understood.
    Unknown(Place<'a>),
    /// Those that no rule accepts end at a rule, or by the policy.
    Dropped(Option<Place<'a>>),
}

/// A rule, and how packets get there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The rule.
    pub rule: &'a Rule,
    /// The chains from the base chain's first jump to the rule's own; none if that is the base chain.
    pub by: Vec<&'a str>,
}

impl Fate<'_> {
    /// How bad it is.
    pub fn weight(&self) -> u8 {
        match self {
            Fate::Pass => 0,
            Fate::SomeDropped(_) => 1,
            Fate::Unknown(_) => 2,
            Fate::Dropped(_) => 3,
        }
    }
}

/// Which packets of a way are meant; the weaker is the larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Share {
    All,
    Some,
    Unknown,
    None,
}

/// What a chain does with the packets of a way.
pub fn fate<'a>(chain: &'a ForwardChain, way: &Way) -> Fate<'a> {
    let mut walk =
        Walk { chain, way, by: Vec::new(), left: RULES, end: None, saved: None, caught: None };
    walk.through(&chain.name, Share::All);
    let Walk { end, saved, caught, .. } = walk;
    let end = end.unwrap_or(if chain.drops { Fate::Dropped(None) } else { Fate::Pass });
    match (end, saved, caught) {
        (Fate::Dropped(_), Some(saved), _) => Fate::Unknown(saved),
        (Fate::Pass, _, Some(caught)) => caught,
        (end, ..) => end,
    }
}

struct Walk<'a, 'w> {
    chain: &'a ForwardChain,
    way: &'w Way,
    by: Vec<&'a str>,
    left: usize,
    /// Where all that are left end.
    end: Option<Fate<'a>>,
    /// The first rule that may accept some or all.
    saved: Option<Place<'a>>,
    /// What is known of the first rule that drops some, or may.
    caught: Option<Fate<'a>>,
}

impl<'a> Walk<'a, '_> {
    /// Goes through one chain with a share of the packets; whether none comes out of its end.
    fn through(&mut self, name: &str, mut share: Share) -> bool {
        let mut leaves = false;
        for rule in self.chain.rules.get(name).into_iter().flatten() {
            let own = all(&rule.conditions, self.way);
            let of = own.max(share);
            if own == Share::None {
                continue;
            }
            let ends = match &rule.end {
                End::Continue => continue,
                End::Return => {
                    leaves = true;
                    true
                }
                End::Jump(next) => self.lead(rule, next, of),
                End::Goto(next) => {
                    leaves |= !self.lead(rule, next, of);
                    true
                }
                End::Unknown(_) => {
                    self.verdict(rule, of.max(Share::Unknown));
                    continue;
                }
                End::Accept | End::Drop | End::Reject => {
                    self.verdict(rule, of);
                    true
                }
            };
            if ends && own == Share::All {
                return !leaves;
            }
            if matches!(rule.end, End::Return | End::Goto(_)) {
                share = of;
            }
        }
        false
    }

    /// Goes through the chain that a rule leads to.
    fn lead(&mut self, rule: &'a Rule, next: &'a str, of: Share) -> bool {
        let rules = self.chain.rules.get(next).map_or(0, Vec::len);
        if self.by.len() >= JUMPS || rules > self.left {
            self.verdict(rule, Share::Unknown);
            return false;
        }
        self.left -= rules;
        self.by.push(next);
        let ends = self.through(next, of);
        self.by.pop();
        ends
    }

    /// Notes what a rule does with a share of the packets.
    fn verdict(&mut self, rule: &'a Rule, of: Share) {
        let place = Place { rule, by: self.by.clone() };
        match (of, &rule.end) {
            (Share::All, End::Accept) => self.end = Some(Fate::Pass),
            (Share::All, _) => self.end = Some(Fate::Dropped(Some(place))),
            // The rest of them decides.
            (Share::Some, End::Accept) | (Share::None, _) => {}
            (Share::Some, _) => {
                self.caught.get_or_insert(Fate::SomeDropped(place));
            }
            (Share::Unknown, end) => {
                if !matches!(end, End::Drop | End::Reject) {
                    self.saved.get_or_insert(place.clone());
                }
                if *end != End::Accept {
                    self.caught.get_or_insert(Fate::Unknown(place));
                }
            }
        }
    }
}

/// The share of the packets of which all this is so.
fn all(conditions: &[Condition], way: &Way) -> Share {
    conditions.iter().map(|condition| share(condition, way)).max().unwrap_or(Share::All)
}

fn share(Condition { not, asks }: &Condition, way: &Way) -> Share {
    let is = |yes| if yes { Share::All } else { Share::None };
    let ipv4 = way.source.is_ipv4();
    let share = match asks {
        Asks::Input(asked) => named(asked, &way.input.name),
        Asks::Output(asked) => named(asked, &way.output.name),
        Asks::InputGroup(asked) => is(*asked == way.input.group),
        Asks::OutputGroup(asked) => is(*asked == way.output.group),
        Asks::Source(from, to) => within((*from, *to), &way.source),
        Asks::Destination(from, to) => within((*from, *to), &way.destination),
        Asks::Ipv4(asked) => is(*asked == ipv4),
        Asks::State(states) => is(states & STATE_NEW != 0),
        Asks::Status(marks) if marks & !STATUS_NONE == 0 => Share::None,
        Asks::Status(_) | Asks::Some(_) => Share::Some,
        Asks::OneOf(these) => one(these, way),
        Asks::Unknown(_) => Share::Unknown,
    };
    match (not, share) {
        (true, Share::All) => Share::None,
        (true, Share::None) => Share::All,
        (_, share) => share,
    }
}

/// The share of which one of these is so.
fn one(these: &[Vec<Condition>], way: &Way) -> Share {
    let shares: Vec<Share> = these.iter().map(|conditions| all(conditions, way)).collect();
    let known = [Share::All, Share::Unknown, Share::Some].into_iter();
    known.into_iter().find(|share| shares.contains(share)).unwrap_or(Share::None)
}

/// The share of the devices that a pattern fits.
fn named(asked: &NamePattern, device: &NamePattern) -> Share {
    let fits = match (asked, device) {
        (NamePattern::Exactly(asked), NamePattern::Exactly(name)) => asked == name,
        (NamePattern::Exactly(asked), NamePattern::Beginning(name)) => {
            return if asked.starts_with(name) { Share::Some } else { Share::None };
        }
        (NamePattern::Beginning(asked), NamePattern::Beginning(name)) => {
            if asked.len() > name.len() && asked.starts_with(name) {
                return Share::Some;
            }
            name.starts_with(asked)
        }
        (NamePattern::Beginning(asked), NamePattern::Exactly(name)) => name.starts_with(asked),
    };
    if fits { Share::All } else { Share::None }
}

/// The share of a network's addresses that are in a range.
fn within((from, to): (IpAddr, IpAddr), network: &IpNetwork) -> Share {
    let (first, last) = (network.network(), network.broadcast());
    if from.is_ipv4() != first.is_ipv4() || to < first || last < from {
        Share::None
    } else if from <= first && last <= to {
        Share::All
    } else {
        Share::Some
    }
}
