//! What is counted, and how it is written down (OpenMetrics). Every label has few values: kinds of things, and this
//! node's own ranges.

mod fast_path;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flatnet_conf::NetworkConf;
use ipnetwork::IpNetwork;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Metric, Registry};

use crate::claims::Wait;
use crate::rejected::{Reason, Rejected};
use crate::source::Traffic;

type Labels = [(&'static str, &'static str); 1];
type Range = [(&'static str, String); 2];
type Real = Gauge<f64, AtomicU64>;

/// Upper bounds of how long a look may take, in seconds.
const TIMES: [f64; 6] = [0.01, 0.05, 0.1, 0.5, 1.0, 5.0];

/// All that is counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    nodes: Gauge,
    blocks_used: Family<Labels, Gauge>,
    blocks_free: Family<Labels, Real>,
    leases: Family<Range, Gauge>,
    addresses: Family<Range, Real>,
    rejected: Family<Labels, Gauge>,
    waiting: Family<Labels, Gauge>,
    mended: Counter,
    applied: Family<Labels, Counter>,
    apply_seconds: Histogram,
    written: Counter,
    connected: Gauge,
    heard: Real,
    trouble: Real,
    answers: Family<Vec<(&'static str, String)>, Counter>,
    received: Counter,
    requests: Family<[(&'static str, &'static str); 2], Counter>,
    ready: Gauge,
}

impl Metrics {
    /// With every label that is known beforehand, so that what never happened is 0 and not absent.
    pub fn new() -> Self {
        let mut registry = Registry::with_prefix("flatnet_agent");
        let mut new = Registering(&mut registry);
        let metrics = Self {
            nodes: new.metric(
                "nodes",
                "Nodes whose VTEPs count, with a block or without",
                Gauge::default(),
            ),
            blocks_used: new.metric(
                "blocks_used",
                "Blocks that nodes hold, by family",
                Family::default(),
            ),
            blocks_free: new.metric(
                "blocks_free",
                "Blocks that nodes could still get, by family",
                Family::default(),
            ),
            leases: new.metric(
                "leases",
                "Addresses of pods, by range of this node",
                Family::default(),
            ),
            addresses: new.metric(
                "range_addresses",
                "Addresses that pods have or can have, by range of this node",
                Family::default(),
            ),
            rejected: new.metric(
                "rejected_objects",
                "Objects of the cluster that are left out, by reason",
                Family::default(),
            ),
            waiting: new.metric(
                "waiting",
                "What this node should have and has not, by kind",
                Family::default(),
            ),
            mended: new.metric(
                "drift_mended",
                "Changes that put right what other programs had undone",
                Counter::default(),
            ),
            applied: new.metric("applies", "Looks at the network, by outcome", Family::default()),
            apply_seconds: new.metric("apply_seconds", "How long they took", Histogram::new(TIMES)),
            written: new.metric(
                "range_file_writes",
                "Range files put in place",
                Counter::default(),
            ),
            connected: new.metric(
                "source_connected",
                "Whether the source answers",
                Gauge::default(),
            ),
            heard: new.metric(
                "source_last_heard_timestamp_seconds",
                "When the source last had something to tell",
                Real::default(),
            ),
            trouble: new.metric(
                "source_trouble_since_timestamp_seconds",
                "Since when the source does not answer; 0 if it does",
                Real::default(),
            ),
            answers: new.metric(
                "source_answers",
                "Requests to the source, by kind and code; code 0 is no answer",
                Family::default(),
            ),
            received: new.metric(
                "source_received_bytes",
                "Bytes of the source's answers",
                Counter::default(),
            ),
            requests: new.metric(
                "requests",
                "Changes of own objects, by kind and outcome",
                Family::default(),
            ),
            ready: new.metric("ready", "Whether this node was brought up once", Gauge::default()),
            registry: Registry::default(),
        };
        let metrics = Self { registry, ..metrics };
        metrics.rejected(&[]);
        metrics.waiting(&[]);
        metrics
    }

    /// From now on what the fast path of this network counts, too.
    pub fn add_fast_path(&mut self, conf: NetworkConf, vni: u32) {
        self.registry.register_collector(Box::new(fast_path::OfNetwork { conf, vni }));
    }

    /// Of the nodes and the blocks that count.
    pub fn cluster(&self, nodes: usize, used: [u64; 2], free: [f64; 2]) {
        self.nodes.set(nodes as i64);
        for ((family, used), free) in ["ipv4", "ipv6"].into_iter().zip(used).zip(free) {
            self.blocks_used.get_or_create(&[("family", family)]).set(used as i64);
            self.blocks_free.get_or_create(&[("family", family)]).set(free);
        }
    }

    /// How many addresses are used of each of this node's ranges, beside how many there are.
    pub fn leases(&self, counts: &BTreeMap<IpNetwork, [u64; 2]>) {
        self.leases.clear();
        self.addresses.clear();
        for (range, [used, all]) in counts {
            let family = if range.is_ipv4() { "ipv4" } else { "ipv6" };
            let labels = [("family", family.to_owned()), ("range", range.to_string())];
            self.leases.get_or_create(&labels).set(*used as i64);
            self.addresses.get_or_create(&labels).set(*all as f64);
        }
    }

    /// What is left out.
    pub fn rejected(&self, rejected: &[Rejected]) {
        for reason in Reason::ALL {
            let count = rejected.iter().filter(|rejected| rejected.reason == reason).count();
            self.rejected.get_or_create(&[("reason", reason.word())]).set(count as i64);
        }
    }

    /// What this node waits for.
    pub fn waiting(&self, waits: &[Wait]) {
        for kind in Wait::KINDS {
            let count = waits.iter().filter(|wait| wait.kind().0 == kind).count();
            self.waiting.get_or_create(&[("kind", kind)]).set(count as i64);
        }
    }

    /// A look at the network: whether it stands then.
    pub fn applied(&self, stands: bool, took: Duration) {
        let outcome = if stands { "ok" } else { "failed" };
        self.applied.get_or_create(&[("outcome", outcome)]).inc();
        self.apply_seconds.observe(took.as_secs_f64());
    }

    /// Changes that put right what had stood.
    pub fn mended(&self, changes: usize) {
        self.mended.inc_by(changes as u64);
    }

    /// A range file was put in place.
    pub fn written(&self) {
        self.written.inc();
    }

    /// The source answers, or does not since then.
    pub fn source(&self, trouble: Option<SystemTime>) {
        self.connected.set(trouble.is_none().into());
        self.trouble.set(trouble.map_or(0.0, seconds));
    }

    /// The source has told something.
    pub fn heard(&self, now: SystemTime) {
        self.heard.set(seconds(now));
    }

    /// What the source was asked so far.
    pub fn traffic(&self, traffic: &Traffic) {
        let reach = |counter: &Counter, count: u64| {
            counter.inc_by(count.saturating_sub(counter.get()));
        };
        reach(&self.received, traffic.received_bytes);
        for ((verb, code), count) in &traffic.answered {
            let labels = vec![("verb", (*verb).to_owned()), ("code", code.to_string())];
            reach(&self.answers.get_or_create(&labels), *count);
        }
    }

    /// An own object was to be changed.
    pub fn requested(&self, deed: &'static str, outcome: &'static str) {
        self.requests.get_or_create(&[("deed", deed), ("outcome", outcome)]).inc();
    }

    /// The node was brought up.
    pub fn ready(&self) {
        self.ready.set(1);
    }

    /// All of it.
    ///
    /// # Errors
    /// None that a string has.
    pub fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct Registering<'a>(&'a mut Registry);

impl Registering<'_> {
    fn metric<M: Metric + Clone>(&mut self, name: &str, help: &str, metric: M) -> M {
        self.0.register(name, help, metric.clone());
        metric
    }
}

fn seconds(time: SystemTime) -> f64 {
    time.duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_is_written_down() {
        let metrics = Metrics::new();
        metrics.cluster(3, [4, 0], [252.0, 0.0]);
        metrics.leases(&BTreeMap::from([("10.1.1.0/24".parse().unwrap(), [7, 254])]));
        metrics.leases(&BTreeMap::from([("10.1.2.0/24".parse().unwrap(), [1, 254])]));
        let rejected = Rejected {
            kind: "node",
            name: "x".to_owned(),
            node: "x".to_owned(),
            reason: Reason::Taken,
            problem: String::new(),
        };
        metrics.rejected(&[rejected]);
        metrics.waiting(&[Wait::Address]);
        metrics.applied(true, Duration::from_millis(20));
        metrics.mended(2);
        metrics.written();
        metrics.requested("claim", "taken");
        metrics.source(None);
        metrics.heard(UNIX_EPOCH + Duration::from_secs(7));
        for count in [2, 5] {
            let answered = BTreeMap::from([(("watch", 200), count)]);
            metrics.traffic(&Traffic { answered, received_bytes: 10 * count });
        }
        let text = metrics.text().unwrap();
        for line in [
            "# TYPE flatnet_agent_nodes gauge",
            "flatnet_agent_nodes 3",
            "flatnet_agent_blocks_used{family=\"ipv4\"} 4",
            "flatnet_agent_blocks_free{family=\"ipv4\"} 252.0",
            "flatnet_agent_leases{family=\"ipv4\",range=\"10.1.2.0/24\"} 1",
            "flatnet_agent_range_addresses{family=\"ipv4\",range=\"10.1.2.0/24\"} 254.0",
            "flatnet_agent_rejected_objects{reason=\"taken\"} 1",
            "flatnet_agent_rejected_objects{reason=\"malformed\"} 0",
            "flatnet_agent_waiting{kind=\"address\"} 1",
            "flatnet_agent_waiting{kind=\"held\"} 0",
            "flatnet_agent_applies_total{outcome=\"ok\"} 1",
            "flatnet_agent_apply_seconds_bucket{le=\"0.05\"} 1",
            "flatnet_agent_drift_mended_total 2",
            "flatnet_agent_range_file_writes_total 1",
            "flatnet_agent_requests_total{deed=\"claim\",outcome=\"taken\"} 1",
            "flatnet_agent_source_answers_total{verb=\"watch\",code=\"200\"} 5",
            "flatnet_agent_source_received_bytes_total 50",
            "flatnet_agent_source_connected 1",
            "flatnet_agent_source_trouble_since_timestamp_seconds 0.0",
            "flatnet_agent_source_last_heard_timestamp_seconds 7.0",
            "flatnet_agent_ready 0",
            "# EOF",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("10.1.1.0/24"), "a range that is gone: {text}");
        metrics.source(Some(UNIX_EPOCH + Duration::from_secs(9)));
        let text = metrics.text().unwrap();
        assert!(
            text.contains("flatnet_agent_source_trouble_since_timestamp_seconds 9.0"),
            "{text}"
        );
        assert!(text.contains("flatnet_agent_source_connected 0"), "{text}");
        assert!(text.contains("flatnet_agent_source_last_heard_timestamp_seconds 7.0"), "{text}");
    }
}
