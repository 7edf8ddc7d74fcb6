//! Filters at a device's ingress and egress, as tc(8) has them: questions, changes, and what the kernel answers.

use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{TcAttribute, TcHandle, TcMessage, TcOption};

use super::attribute::{find, find_text};
use super::decode::number;
use super::fast_path::program::Program;
use super::route_socket::Request;

/// The last of all: what another program's filters decide, they have decided before.
const PREFERENCE: u32 = 65535;
/// In network order, for frames of any protocol.
const ETH_P_ALL: u16 = 3_u16.to_be();
/// Ours alone at that preference, on a device of ours.
const HANDLE: u32 = 1;
/// What our filters' names begin with.
const OURS: &str = "flatnet-";
/// What is in them where the place for filters was made for them. The kernel says of none who made it, and another
/// program may have made one and not put anything there yet.
const WITH_PLACE: &str = "clsact-";

/// Where a filter hangs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// What comes in by the device.
    Ingress,
    /// What leaves by it.
    Egress,
    /// What comes in by an uplink, for the network with this VNI: several may have the same one.
    Uplink(u32),
}

impl Hook {
    /// Those of a device of ours.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    fn parent(self) -> TcHandle {
        let minor = match self {
            Self::Ingress | Self::Uplink(_) => TcHandle::MIN_INGRESS,
            Self::Egress => TcHandle::MIN_EGRESS,
        };
        TcHandle { minor, ..TcHandle::CLSACT }
    }

    fn handle(self) -> u32 {
        match self {
            Self::Uplink(vni) => vni,
            _ => HANDLE,
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Ingress | Self::Uplink(_) => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// A filter of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Where it hangs.
    pub hook: Hook,
    /// Its name, which tells of which version the program is.
    pub name: String,
    /// What it runs.
    pub program: Program,
}

/// What stands at a device's hooks, as far as it concerns us.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Whether there is a place for filters, whoever made it. `clsact`
    pub clsact: bool,
    /// Whether that place was made for another filter of ours, as far as one looked: at uplinks, where networks share it.
    pub shared: bool,
    /// The kind of a queueing discipline of another program, which shapes or polices what passes the device.
    pub shaped: Option<String>,
    /// The filters in our places, in the order of [`Hook::ALL`]; of an uplink the first is asked for alone.
    pub standing: [Option<Standing>; 2],
}

/// A filter that stands in a place of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Its name.
    pub name: String,
    /// Its program's ID.
    pub program: u32,
}

impl Standing {
    /// Whether it is ours, of whatever version.
    pub fn is_ours(&self) -> bool {
        self.name.starts_with(OURS)
    }

    /// Whether it is ours, and so is the place for filters.
    pub fn has_place(&self) -> bool {
        self.is_ours() && self.name.contains(WITH_PLACE)
    }

    /// Whether it is ours, and of this program in this version.
    pub fn runs(&self, program: &str, digest: &str) -> bool {
        [true, false].into_iter().any(|made| self.name == filter_name(program, digest, made))
    }
}

impl Filters {
    /// Whether the place for filters was made for ours, which stand there.
    pub fn has_place(&self) -> bool {
        self.standing.iter().flatten().any(Standing::has_place)
    }
}

/// A filter's name: what it does, by which version of the programs, and whether the place was made for it.
pub fn filter_name(program: &str, digest: &str, with_place: bool) -> String {
    let place = if with_place { WITH_PLACE } else { "" };
    format!("{OURS}{program}-{place}{digest}")
}

/// `tc qdisc …`, in words.
pub fn clsact_command(verb: &str, dev: &str) -> String {
    format!("tc qdisc {verb} dev {dev} clsact")
}

/// `tc filter replace …`, in words.
pub fn filter_command(verb: &str, dev: &str, hook: Hook, name: Option<&str>) -> String {
    let (hook, handle) = (hook.word(), hook.handle());
    let bpf = name.map(|name| format!(" direct-action name {name}")).unwrap_or_default();
    format!("tc filter {verb} dev {dev} {hook} pref {PREFERENCE} handle {handle:#x} bpf{bpf}")
}

/// A place for filters; one that is there stays.
pub fn add_clsact(dev: u32) -> Request {
    let message = clsact(dev);
    let flags = NLM_F_CREATE | NLM_F_EXCL;
    Request { message: RouteNetlinkMessage::NewQueueDiscipline(message), flags }
}

/// Takes the place away, with what hangs there.
pub fn delete_clsact(dev: u32) -> Request {
    Request { message: RouteNetlinkMessage::DelQueueDiscipline(clsact(dev)), flags: 0 }
}

/// Puts a filter in its place; in that of one that is there, no packet passes unseen.
pub fn put_filter(dev: u32, filter: &Filter) -> Request {
    const TCA_BPF_FD: u16 = 6;
    const TCA_BPF_NAME: u16 = 7;
    const TCA_BPF_FLAGS: u16 = 8;
    const TCA_BPF_FLAG_ACT_DIRECT: u32 = 1;
    let mut message = at(dev, filter.hook);
    let name = [filter.name.as_bytes(), &[0]].concat();
    let descriptor = filter.program.descriptor().to_ne_bytes();
    message.attributes.push(TcAttribute::Options(vec![
        TcOption::Other(DefaultNla::new(TCA_BPF_FD, descriptor.to_vec())),
        TcOption::Other(DefaultNla::new(TCA_BPF_NAME, name)),
        TcOption::Other(DefaultNla::new(
            TCA_BPF_FLAGS,
            TCA_BPF_FLAG_ACT_DIRECT.to_ne_bytes().to_vec(),
        )),
    ]));
    Request { message: RouteNetlinkMessage::NewTrafficFilter(message), flags: NLM_F_CREATE }
}

/// Takes away what is in our place.
pub fn delete_filter(dev: u32, hook: Hook) -> Request {
    Request { message: RouteNetlinkMessage::DelTrafficFilter(at(dev, hook)), flags: 0 }
}

/// What makes [`Filters`] of a device, and how to read each answer.
pub fn questions(dev: u32) -> [Request; 4] {
    let [ingress, egress] = Hook::ALL.map(|hook| about_filter(dev, hook));
    let [first, root] = [TcHandle::INGRESS, TcHandle::ROOT].map(|at| about_qdisc(dev, at));
    [first, root, ingress, egress]
}

/// The same of an uplink, in whose queues nobody has to keep out of others' way: only what comes in counts.
pub fn questions_at_uplink(dev: u32, vni: u32) -> [Request; 2] {
    [about_qdisc(dev, TcHandle::INGRESS), about_filter(dev, Hook::Uplink(vni))]
}

/// Takes in the answer to one of [`questions_at_uplink`].
pub fn take_in_at_uplink(filters: &mut Filters, index: usize, row: &[u8]) {
    take_in(filters, if index == 0 { 0 } else { 2 }, row);
}

fn about_qdisc(dev: u32, parent: TcHandle) -> Request {
    let mut message = message(dev);
    message.header.parent = parent;
    // Without the flag it tells everybody but who has asked.
    let message = RouteNetlinkMessage::GetQueueDiscipline(message);
    Request { message, flags: NLM_F_ECHO }
}

fn about_filter(dev: u32, hook: Hook) -> Request {
    Request { message: RouteNetlinkMessage::GetTrafficFilter(at(dev, hook)), flags: 0 }
}

/// Takes in the answer to one of [`questions`].
pub fn take_in(filters: &mut Filters, index: usize, row: &[u8]) {
    let kind = attributes(row).and_then(|row| find_text(row, TCA_KIND)).unwrap_or_default();
    match index {
        0 if kind == "clsact" => filters.clsact = true,
        0 => filters.shaped = Some(kind.to_owned()),
        1 if kind != "noqueue" => filters.shaped = Some(kind.to_owned()),
        2 | 3 => filters.standing[index - 2] = standing(row),
        _ => {}
    }
}

/// The queueing disciplines of all devices. `tc qdisc show`
pub fn qdiscs() -> RouteNetlinkMessage {
    RouteNetlinkMessage::GetQueueDiscipline(TcMessage::default())
}

/// The index of the device whose place for filters a row is of.
pub fn clsact_on(row: &[u8]) -> Option<u32> {
    const TCM_IFINDEX: usize = 4;
    let is_clsact = find_text(attributes(row)?, TCA_KIND) == Some("clsact");
    number(row.get(TCM_IFINDEX..TCM_IFINDEX + 4)?).filter(|_| is_clsact)
}

/// All filters that hang at a device's hook. `tc filter show dev DEV ingress`
pub fn all(dev: u32, hook: Hook) -> RouteNetlinkMessage {
    let mut message = message(dev);
    message.header.parent = hook.parent();
    RouteNetlinkMessage::GetTrafficFilter(message)
}

/// What a row says of a filter of ours for which the place was made.
pub fn with_place(row: &[u8]) -> Option<Standing> {
    any_filter(row)?;
    standing(row).filter(Standing::has_place)
}

/// The row of a filter; none of what is only a place for some.
pub fn any_filter(row: &[u8]) -> Option<()> {
    const TCM_HANDLE: usize = 8;
    let handle = number(row.get(TCM_HANDLE..TCM_HANDLE + 4)?)?;
    (handle != 0).then_some(())
}

const TCA_KIND: u16 = 1;

fn attributes(row: &[u8]) -> Option<&[u8]> {
    const TCMSG: usize = 20;
    row.get(TCMSG..)
}

fn standing(row: &[u8]) -> Option<Standing> {
    const TCA_OPTIONS: u16 = 2;
    const TCA_BPF_NAME: u16 = 7;
    const TCA_BPF_ID: u16 = 11;
    let options = find(attributes(row)?, TCA_OPTIONS)?;
    let name = find_text(options, TCA_BPF_NAME).unwrap_or_default().to_owned();
    let program = find(options, TCA_BPF_ID).and_then(number).unwrap_or_default();
    Some(Standing { name, program })
}

fn message(dev: u32) -> TcMessage {
    let mut message = TcMessage::default();
    message.header.index = dev as i32;
    message
}

fn clsact(dev: u32) -> TcMessage {
    let mut message = message(dev);
    message.header.parent = TcHandle::CLSACT;
    message.header.handle = TcHandle { major: u16::MAX, minor: 0 };
    message.attributes.push(TcAttribute::Kind("clsact".into()));
    message
}

fn at(dev: u32, hook: Hook) -> TcMessage {
    let mut message = message(dev);
    message.header.parent = hook.parent();
    message.header.handle = hook.handle().into();
    message.header.info = PREFERENCE << 16 | u32::from(ETH_P_ALL);
    message.attributes.push(TcAttribute::Kind("bpf".into()));
    message
}
