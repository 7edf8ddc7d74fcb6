//! ADD of a pod on a node where the agent runs against one on a node where it has ended; both have the same range
//! file, and heartbeats go on.

use std::path::Path;

use flatnet_bench::cni;
use flatnet_bench::pods::Pods;
use flatnet_bench::process::{ms, rest};
use flatnet_bench::stats::median;
use flatnet_tests::program::ours;

use super::agents::Agents;
use super::host::Host;

/// The median of the rounds' ratios; the order turns round after each.
pub fn measure(agents: &mut Agents, rounds: usize) -> f64 {
    let nodes = agents.with_and_without();
    let pods = Pods::new(nodes.len());
    let add = |index: usize| {
        let (host, configuration) = &nodes[index];
        once(host, &configuration.to_string(), &pods.paths()[index])
    };
    // The first ADD on a node also makes what the node needs once.
    for index in 0..nodes.len() {
        add(index);
    }
    let round = |round: usize| {
        let mut times = [0.0; 2];
        for index in if round % 2 == 0 { [0, 1] } else { [1, 0] } {
            times[index] = add(index);
        }
        times[0] / times[1]
    };
    median(&(0..rounds).map(round).collect::<Vec<_>>())
}

fn once(host: &Host, configuration: &str, pod: &Path) -> f64 {
    let call = |verb| cni::call(&ours("flatnet"), configuration, verb, pod);
    let added = host.netns.run(|| {
        let added = call("ADD").run();
        call("DEL").run();
        added
    });
    rest();
    ms(added)
}
