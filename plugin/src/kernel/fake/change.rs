//! What one change makes of a namespace, or why it is refused.

use std::net::IpAddr;

use nix::errno::Errno;

use super::{Fake, FakeLink};
use crate::kernel::{Change, Filters, Hook, Route, Standing};

impl Fake {
    /// When an address goes, the kernel drops the IPv4 routes, over whatever device, that prefer it
    /// as their source (`fib_sync_down_addr`), and takes it from the IPv6 ones
    /// (`rt6_remove_prefsrc`).
    pub(super) fn forget_source(&mut self, address: IpAddr) {
        if self.has_address(address) {
            return; // On another device.
        }
        for link in self.links.values_mut() {
            link.routes.retain(|route| address.is_ipv6() || route.source != Some(address));
            let of_it = link.routes.iter_mut().filter(|route| route.source == Some(address));
            of_it.for_each(|route| route.source = None);
        }
    }

    pub(super) fn change(&mut self, dev: u32, change: &Change) -> Result<(), Errno> {
        match change {
            Change::PutUnreachable(route) => {
                self.unreachable.retain(|other| other != route);
                self.unreachable.push(route.clone());
                return Ok(());
            }
            Change::DelUnreachable(route) => {
                return remove(&mut self.unreachable, route, Errno::ESRCH);
            }
            Change::AddRoute(route) | Change::PutRoute(route) => self.refuse_route(dev, route)?,
            Change::Up => self.refuse_port(dev)?,
            _ => {}
        }
        make_change(self.by_index(dev).ok_or(Errno::ENODEV)?, change)
    }
}

fn remove<T: PartialEq>(from: &mut Vec<T>, what: &T, missing: Errno) -> Result<(), Errno> {
    let position = from.iter().position(|item| item == what).ok_or(missing)?;
    from.remove(position);
    Ok(())
}

fn make_change(link: &mut FakeLink, change: &Change) -> Result<(), Errno> {
    match change {
        Change::Up => link.link.up = true,
        Change::Mtu(mtu) => link.link.mtu = *mtu,
        Change::Mac(mac) => {
            link.link.mac = Some(*mac);
            link.neighbours.clear();
        }
        Change::Alias(alias) => match &mut link.waiting {
            Some(waiting) => *waiting = Some(alias.clone()),
            None => link.link.alias = Some(alias.clone()),
        },
        Change::Finish => link.link.alias = link.waiting.take().flatten(),
        Change::Group(group) => link.link.group = *group,
        // The last two are on no device.
        Change::Forward(_)
        | Change::NoLinkLocal
        | Change::PutUnreachable(_)
        | Change::DelUnreachable(_) => {}
        Change::AddAddress(address) if link.addresses.contains(address) => {
            return Err(Errno::EEXIST);
        }
        Change::AddAddress(address) => link.addresses.push(*address),
        Change::DelAddress(address) => {
            remove(&mut link.addresses, address, Errno::EADDRNOTAVAIL)?;
        }
        Change::AddRoute(route) => {
            if link.routes.iter().any(|r| r.dst == route.dst && r.metric == route.metric) {
                return Err(Errno::EEXIST);
            }
            link.routes.push(route.clone());
        }
        Change::PutRoute(route) => {
            link.routes.retain(|r| r.dst != route.dst || r.metric != route.metric);
            link.routes.push(route.clone());
        }
        Change::DelRoute(route) => {
            // Of an IPv6 one the source is not compared (`ip6_route_del`).
            let is_it = |r: &Route| match route.dst.is_ipv6() {
                true => Route { source: route.source, ..r.clone() } == *route,
                false => r == route,
            };
            let position = link.routes.iter().position(is_it).ok_or(Errno::ESRCH)?;
            link.routes.remove(position);
        }
        Change::PutNeighbour(entry) => {
            link.neighbours.insert(entry.address, entry.clone());
        }
        Change::DelNeighbour(address) => {
            link.neighbours.remove(address).ok_or(Errno::ENOENT)?;
        }
        // One destination a MAC: replacing an entry moves it.
        Change::PutFdb(entry) => {
            link.fdb.retain(|other| other.mac != entry.mac);
            link.fdb.push(entry.clone());
        }
        Change::DelFdb(entry) => remove(&mut link.fdb, entry, Errno::ENOENT)?,
        Change::AddClsact if link.filters.clsact => return Err(Errno::EEXIST),
        Change::AddClsact => link.filters.clsact = true,
        Change::DelClsact => {
            link.filters = Filters::default();
            link.at_uplink = None;
        }
        Change::PutFilter(_) if !link.filters.clsact => return Err(Errno::EINVAL),
        Change::PutFilter(filter) => {
            let standing = Standing { name: filter.name.clone(), program: filter.program.id };
            *place(link, filter.hook) = Some(standing);
        }
        Change::DelFilter(hook) => {
            place(link, *hook).take().ok_or(Errno::ENOENT)?;
        }
    }
    Ok(())
}

fn place(link: &mut FakeLink, hook: Hook) -> &mut Option<Standing> {
    match hook {
        Hook::Ingress => &mut link.filters.standing[0],
        Hook::Egress => &mut link.filters.standing[1],
        Hook::Uplink(_) => &mut link.at_uplink,
    }
}
