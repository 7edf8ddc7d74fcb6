//! What the fast path counts. The kernel has the counts, and is asked when they are: it keeps them while no agent runs.

use std::fmt;

use flatnet::upkeep::fast_path::{FastPath, OBSTACLES};
use flatnet_conf::NetworkConf;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _, MetricEncoder};
use prometheus_client::metrics::MetricType::{self, Counter, Gauge};
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;

/// Where packets go that take it: as the kernel counts them, and as the label has it.
const WAYS: [(&str, &str); 4] = [
    ("toPod", "pod"),
    ("toOverlay", "overlay"),
    ("toUplink", "uplink"),
    ("fromUplink", "uplink_to_pod"),
];
/// Why others do not.
const REASONS: [(&str, &str); 8] = [
    ("unknown", "unknown"),
    ("stale", "stale"),
    ("asked", "asked"),
    ("astray", "astray"),
    ("handshake", "handshake"),
    ("other", "other"),
    ("tooLarge", "too_large"),
    ("expires", "expires"),
];

/// The fast path of a network on this node.
#[derive(Debug)]
pub struct OfNetwork {
    /// The network's configuration.
    pub conf: NetworkConf,
    /// Its VNI.
    pub vni: u32,
}

impl Collector for OfNetwork {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        match FastPath::of(&self.conf, self.vni) {
            Ok(path) => write(&path, encoder),
            Err(error) => {
                log::warn!("the fast path cannot be counted: {error}");
                Ok(())
            }
        }
    }
}

fn write(path: &FastPath, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let mut writing = Writing(encoder);
    let wanted = Values::One(path.wanted.into());
    writing.metric("fast_path_wanted", "Whether the fast path is configured", Gauge, wanted)?;
    let stands = Values::One(path.counts.is_some().into());
    writing.metric("fast_path_stands", "Whether it is in force", Gauge, stands)?;
    let obstacles = OBSTACLES.map(|kind| (kind, u64::from(path.obstacle == Some(kind))));
    let obstacles = Values::By("kind", &obstacles);
    writing.metric("fast_path_obstacle", "What is in its way, by kind", Gauge, obstacles)?;
    let Some(counts) = &path.counts else { return Ok(()) };
    let count = |name: &str| {
        let found = counts.iter().find(|(known, _)| *known == name);
        found.map_or(0, |(_, count)| *count)
    };
    let ways = WAYS.map(|(name, way)| (way, count(name)));
    let ways = Values::By("way", &ways);
    writing.metric("fast_path_packets", "Packets that took it, by where it led", Counter, ways)?;
    let reasons = REASONS.map(|(name, reason)| (reason, count(name)));
    let reasons = Values::By("reason", &reasons);
    writing.metric(
        "fast_path_missed",
        "Packets that went the usual way, by reason",
        Counter,
        reasons,
    )?;
    let learned = Values::One(count("learned"));
    writing.metric("fast_path_learned", "Flows learned", Counter, learned)?;
    let approved = Values::One(count("approved"));
    writing.metric("fast_path_approved", "Approvals of known flows", Counter, approved)?;
    let dropped = Values::One(count("failed"));
    writing.metric(
        "fast_path_dropped",
        "Packets dropped while they were encapsulated",
        Counter,
        dropped,
    )
}

/// What a metric says: one number, or one for each value of a label.
enum Values<'a> {
    One(u64),
    By(&'static str, &'a [(&'static str, u64)]),
}

struct Writing<'a>(DescriptorEncoder<'a>);

impl Writing<'_> {
    fn metric(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: Values<'_>,
    ) -> Result<(), fmt::Error> {
        let mut metric = self.0.encode_descriptor(name, help, None, kind)?;
        match values {
            Values::One(value) => one(value, kind, metric),
            Values::By(label, values) => values.iter().try_for_each(|(of, value)| {
                one(*value, kind, metric.encode_family(&[(label, *of)])?)
            }),
        }
    }
}

fn one(value: u64, kind: MetricType, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
    match kind {
        Counter => ConstCounter::new(value).encode(encoder),
        _ => ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX)).encode(encoder),
    }
}

#[cfg(test)]
mod tests {
    use flatnet::upkeep::fast_path::COUNTS;
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    #[derive(Debug)]
    struct Fixed(FastPath);

    impl Collector for Fixed {
        fn encode(&self, encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
            write(&self.0, encoder)
        }
    }

    fn text(path: FastPath) -> String {
        let mut registry = Registry::with_prefix("flatnet_agent");
        registry.register_collector(Box::new(Fixed(path)));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn what_the_kernel_counts_is_written_down() {
        let names = WAYS.iter().chain(&REASONS).map(|(name, _)| *name);
        let names = names.chain(["learned", "approved", "failed"]);
        let counts: Vec<_> = names.zip(1..).collect();
        assert!(COUNTS.iter().all(|name| counts.iter().any(|(known, _)| known == name)));
        assert_eq!(counts.len(), COUNTS.len());
        let text = text(FastPath { wanted: true, counts: Some(counts), obstacle: None });
        for line in [
            "flatnet_agent_fast_path_wanted 1",
            "flatnet_agent_fast_path_stands 1",
            "flatnet_agent_fast_path_obstacle{kind=\"ipsec\"} 0",
            "# TYPE flatnet_agent_fast_path_packets counter",
            "flatnet_agent_fast_path_packets_total{way=\"pod\"} 1",
            "flatnet_agent_fast_path_packets_total{way=\"uplink\"} 3",
            "flatnet_agent_fast_path_missed_total{reason=\"unknown\"} 5",
            "flatnet_agent_fast_path_missed_total{reason=\"too_large\"} 11",
            "flatnet_agent_fast_path_learned_total 13",
            "flatnet_agent_fast_path_approved_total 14",
            "flatnet_agent_fast_path_dropped_total 15",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn why_there_is_none_is_written_down() {
        let path = FastPath { wanted: true, counts: None, obstacle: Some("ipsec") };
        let text = text(path);
        for line in [
            "flatnet_agent_fast_path_wanted 1",
            "flatnet_agent_fast_path_stands 0",
            "flatnet_agent_fast_path_obstacle{kind=\"ipsec\"} 1",
            "flatnet_agent_fast_path_obstacle{kind=\"refused\"} 0",
        ] {
            assert!(text.lines().any(|other| other == line), "{line} is not in\n{text}");
        }
        assert!(!text.contains("_total"), "nothing is counted: {text}");
    }
}
