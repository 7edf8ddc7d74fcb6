//! Datagrams between two pods while something happens. Nobody sends a lost one again, as TCP would, so each counts.

use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use flatnet_tests::netns::Netns;

use crate::pod::{By, Pod, UDP};

/// What came of it.
#[derive(Debug)]
pub struct Flow {
    /// How many were answered.
    pub answered: usize,
    /// What was said of the others.
    pub lost: Vec<String>,
}

/// Has a pod on the node with this network ask another as fast as it answers, at both its addresses, for as long
/// as `work` takes.
pub fn during<T>(node: &Netns, from: &Pod, to: &Pod, work: impl FnOnce() -> T) -> (T, Flow) {
    let done = AtomicBool::new(false);
    let ask = || {
        let mut flow = Flow { answered: 0, lost: Vec::new() };
        while !done.load(Ordering::Relaxed) {
            for address in to.addresses {
                match from.ask(node, By::Udp, SocketAddr::new(address, UDP), "hostname") {
                    Ok(name) if name == to.name => flow.answered += 1,
                    Ok(name) => flow.lost.push(format!("{name} answered at {address}")),
                    Err(error) => flow.lost.push(error),
                }
            }
        }
        flow
    };
    thread::scope(|scope| {
        let asking = scope.spawn(ask);
        let result = catch_unwind(AssertUnwindSafe(work));
        done.store(true, Ordering::Relaxed);
        let flow = asking.join().unwrap_or_else(|panic| resume_unwind(panic));
        (result.unwrap_or_else(|panic| resume_unwind(panic)), flow)
    })
}
