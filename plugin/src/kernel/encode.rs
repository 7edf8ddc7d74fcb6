//! From our nouns to what rtnetlink is told: changes. What it is asked is in `question`. rtnetlink's builders
//! write the attributes.

use std::net::IpAddr;
use std::os::fd::AsRawFd;

use flatnet_conf::Mac;
use ipnetwork::IpNetwork;
use netlink_packet_core::{NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL, NLM_F_REPLACE};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use netlink_packet_route::link::{
    AfSpecInet, AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InetDevConf, InfoData, InfoVeth,
    LinkAttribute, LinkMessage,
};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::route::{
    RouteAttribute, RouteFlags, RouteHeader, RouteMessage, RouteProtocol, RouteScope, RouteType,
};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use rtnetlink::{LinkMessageBuilder, LinkUnspec, LinkVeth, LinkVxlan, RouteMessageBuilder};

use super::question::{family_and_length, route_address};
use super::route_socket::Request;
use super::traffic;
use super::{
    Change, FINISHED, FdbEntry, Neighbour, PROTOCOL, Route, UNFINISHED, Unreachable, Veth,
    VxlanLink,
};

const CREATE: u16 = NLM_F_CREATE | NLM_F_EXCL;
const PUT: u16 = NLM_F_CREATE | NLM_F_REPLACE;

/// `ip link add NAME address MAC mtu MTU group G type vxlan …`
pub fn create_vxlan(link: &VxlanLink) -> Request {
    let vxlan = &link.vxlan;
    let mut builder = LinkVxlan::new(&link.name, vxlan.vni)
        .port(vxlan.port)
        .port_range(vxlan.source_ports.0, vxlan.source_ports.1)
        .learning(vxlan.learning)
        .address(link.mac.0.to_vec())
        .link_group(link.group)
        .mtu(link.mtu);
    builder = match vxlan.local {
        Some(IpAddr::V4(local)) => builder.local(local),
        Some(IpAddr::V6(local)) => builder.local6(local),
        None => builder,
    };
    if let Some(vrf) = vxlan.vrf {
        builder = builder.dev(vrf);
    }
    new_link(builder.build())
}

/// `ip link add NAME address MAC mtu MTU group G type veth peer name PEER address MAC netns FD`
///
/// One queue each way: more would cost grace periods at creation and gain a veth nothing.
pub fn create_veth(veth: &Veth<'_>) -> Request {
    let peer = one_queue(
        LinkUnspec::new_with_name(veth.peer_name)
            .address(veth.peer_mac.0.to_vec())
            .mtu(veth.mtu)
            .setns_by_fd(veth.peer_netns.as_raw_fd()),
    );
    let pair = LinkMessageBuilder::<LinkVeth>::new(veth.name, veth.peer_name)
        .set_info_data(InfoData::Veth(InfoVeth::Peer(peer.build())))
        .address(veth.mac.0.to_vec())
        .mtu(veth.mtu)
        .link_group(veth.group)
        .append_extra_attribute(LinkAttribute::GsoMaxSegs(UNFINISHED));
    new_link(one_queue(pair).build())
}

fn one_queue<T>(builder: LinkMessageBuilder<T>) -> LinkMessageBuilder<T> {
    builder
        .append_extra_attribute(LinkAttribute::NumTxQueues(1))
        .append_extra_attribute(LinkAttribute::NumRxQueues(1))
}

/// `ip link delete NAME`
pub fn delete_link(name: &str) -> Request {
    let message = LinkUnspec::new_with_name(name).build();
    Request { message: RouteNetlinkMessage::DelLink(message), flags: 0 }
}

/// A request to make a device, and to tell what was made.
pub fn new_link(message: LinkMessage) -> Request {
    Request { message: RouteNetlinkMessage::NewLink(message), flags: CREATE | NLM_F_ECHO }
}

/// One message for [settings](Change::is_setting) of a device: the kernel tells everybody of each message.
pub fn settings(dev: u32, changes: &[Change]) -> Request {
    let mut link = LinkUnspec::new_with_index(dev);
    let mut families = Vec::new();
    for change in changes {
        match change {
            Change::Alias(alias) => link = link.alias(alias.as_str()),
            Change::Forward(reverse_path) => {
                let mut conf = InetDevConf::default();
                conf.forwarding = 1;
                conf.rp_filter = *reverse_path as i32;
                families.push(AfSpecUnspec::Inet(vec![AfSpecInet::DevConfRequest(conf)]));
            }
            Change::NoLinkLocal => {
                let none = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
                families.push(AfSpecUnspec::Inet6(vec![none]));
            }
            _ => {}
        }
    }
    if !families.is_empty() {
        link = link.append_extra_attribute(LinkAttribute::AfSpecUnspec(families));
    }
    set_link(link.build())
}

/// The message that makes one change to the device with this index.
pub fn change(dev: u32, change: &Change) -> Request {
    let link = || LinkUnspec::new_with_index(dev);
    match change {
        Change::Up => set_link(link().up().build()),
        Change::Mtu(mtu) => set_link(link().mtu(*mtu).build()),
        Change::Mac(mac) => set_link(link().address(mac.0.to_vec()).build()),
        Change::Finish => {
            let finished = LinkAttribute::GsoMaxSegs(FINISHED);
            set_link(link().append_extra_attribute(finished).build())
        }
        Change::Group(group) => set_link(link().link_group(*group).build()),
        Change::Alias(_) | Change::Forward(_) | Change::NoLinkLocal => {
            settings(dev, std::slice::from_ref(change))
        }
        Change::AddAddress(network) => {
            let message = RouteNetlinkMessage::NewAddress(address(dev, *network));
            Request { message, flags: CREATE }
        }
        Change::DelAddress(network) => {
            let message = RouteNetlinkMessage::DelAddress(address(dev, *network));
            Request { message, flags: 0 }
        }
        Change::AddRoute(wanted) => {
            Request { message: RouteNetlinkMessage::NewRoute(route(dev, wanted)), flags: CREATE }
        }
        Change::PutRoute(wanted) => {
            Request { message: RouteNetlinkMessage::NewRoute(route(dev, wanted)), flags: PUT }
        }
        Change::DelRoute(unwanted) => {
            Request { message: RouteNetlinkMessage::DelRoute(route(dev, unwanted)), flags: 0 }
        }
        Change::PutUnreachable(wanted) => {
            Request { message: RouteNetlinkMessage::NewRoute(unreachable(wanted)), flags: PUT }
        }
        Change::DelUnreachable(unwanted) => {
            Request { message: RouteNetlinkMessage::DelRoute(unreachable(unwanted)), flags: 0 }
        }
        Change::PutNeighbour(entry) => Request {
            message: RouteNetlinkMessage::NewNeighbour(neighbour(dev, entry.address, Some(entry))),
            flags: PUT,
        },
        Change::DelNeighbour(address) => Request {
            message: RouteNetlinkMessage::DelNeighbour(neighbour(dev, *address, None)),
            flags: 0,
        },
        Change::PutFdb(entry) => {
            Request { message: RouteNetlinkMessage::NewNeighbour(fdb(dev, entry)), flags: PUT }
        }
        Change::AddClsact => traffic::add_clsact(dev),
        Change::DelClsact => traffic::delete_clsact(dev),
        Change::PutFilter(filter) => traffic::put_filter(dev, filter),
        Change::DelFilter(hook) => traffic::delete_filter(dev, *hook),
        Change::DelFdb(entry) => {
            Request { message: RouteNetlinkMessage::DelNeighbour(fdb(dev, entry)), flags: 0 }
        }
    }
}

/// A request to change a device.
pub fn set_link(message: LinkMessage) -> Request {
    Request { message: RouteNetlinkMessage::SetLink(message), flags: 0 }
}

fn address(dev: u32, network: IpNetwork) -> AddressMessage {
    let mut message = AddressMessage::default();
    message.header.family = family_and_length(network.ip()).0;
    message.header.prefix_len = network.prefix();
    message.header.scope = AddressScope::Universe;
    message.header.index = dev;
    message.attributes.push(AddressAttribute::Local(network.ip()));
    message.attributes.push(AddressAttribute::Address(network.ip()));
    if network.is_ipv6() {
        // Our addresses are unique by their lease: usable at once, no second of DAD.
        message.attributes.push(AddressAttribute::Flags(AddressFlags::Nodad));
    }
    message
}

fn route(dev: u32, route: &Route) -> RouteMessage {
    let direct = route.gateway.is_none() && route.dst.is_ipv4();
    let scope = if direct { RouteScope::Link } else { RouteScope::Universe };
    let mut message = match (route.dst, route.gateway) {
        (IpNetwork::V4(dst), gateway) => {
            let mut builder = RouteMessageBuilder::<std::net::Ipv4Addr>::new()
                .destination_prefix(dst.network(), dst.prefix());
            if let Some(IpAddr::V4(gateway)) = gateway {
                builder = builder.gateway(gateway);
            }
            if let Some(IpAddr::V4(source)) = route.source {
                builder = builder.pref_source(source);
            }
            builder.build()
        }
        (IpNetwork::V6(dst), gateway) => {
            let mut builder = RouteMessageBuilder::<std::net::Ipv6Addr>::new()
                .destination_prefix(dst.network(), dst.prefix());
            if let Some(IpAddr::V6(gateway)) = gateway {
                builder = builder.gateway(gateway);
            }
            if let Some(IpAddr::V6(source)) = route.source {
                builder = builder.pref_source(source);
            }
            builder.build()
        }
    };
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = scope;
    if route.onlink {
        message.header.flags |= RouteFlags::Onlink;
    }
    message.attributes.push(RouteAttribute::Oif(dev));
    if let Some(metric) = route.metric {
        message.attributes.push(RouteAttribute::Priority(metric));
    }
    message
}

fn unreachable(route: &Unreachable) -> RouteMessage {
    let mut message = RouteMessage::default();
    let (family, _) = family_and_length(route.dst.network());
    message.header.address_family = family;
    message.header.destination_prefix_length = route.dst.prefix();
    message.header.table = RouteHeader::RT_TABLE_MAIN;
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unreachable;
    message.attributes.push(RouteAttribute::Destination(route_address(route.dst.network())));
    message.attributes.push(RouteAttribute::Priority(route.metric));
    message
}

fn neighbour(dev: u32, address: IpAddr, entry: Option<&Neighbour>) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = family_and_length(address).0;
    message.header.ifindex = dev;
    message.header.state = NeighbourState::Permanent;
    let destination = match address {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(destination));
    if let Some(entry) = entry {
        message.attributes.push(link_layer(entry.mac));
        message.attributes.push(NeighbourAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    }
    message
}

fn fdb(dev: u32, entry: &FdbEntry) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.family = AddressFamily::Bridge;
    message.header.ifindex = dev;
    message.header.state = NeighbourState::Permanent;
    message.header.flags = NeighbourFlags::Own;
    message.attributes.push(link_layer(entry.mac));
    let vtep = match entry.vtep {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(vtep));
    message
}

fn link_layer(mac: Mac) -> NeighbourAttribute {
    NeighbourAttribute::LinkLayerAddress(mac.0.to_vec())
}
