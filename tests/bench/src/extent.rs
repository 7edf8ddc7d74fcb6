//! How much is measured: all of it, or only as much as shows that everything runs.

use std::time::Duration;

use crate::{attach, datapath, fastpath, scale};

/// The extent of each part.
#[derive(Clone, Debug)]
pub struct Extent {
    /// What an attachment takes.
    pub attach: attach::Extent,
    /// What a range file takes.
    pub scale: scale::Extent,
    /// What a packet costs.
    pub datapath: datapath::Extent,
    /// The fast path, with other programs and among many.
    pub fastpath: fastpath::Extent,
}

impl Extent {
    /// The benchmark.
    pub fn full() -> Self {
        Self {
            attach: attach::Extent {
                pods: vec![0, 500, 2000],
                rounds: 60,
                parallel: vec![10, 50],
                parallel_rounds: 15,
                counts: 3,
            },
            scale: scale::Extent {
                peers: vec![100, 1000, 10_000],
                rounds: 7,
                add_rounds: 100,
                pods: 1000,
                watched: 800,
                upkeep_rounds: 7,
            },
            datapath: datapath::Extent {
                window: Duration::from_millis(300),
                far: vec![(1, 12), (8, 5)],
                near: vec![(1, 5), (8, 5)],
            },
            fastpath: fastpath::Extent {
                seconds: 1,
                tool_rounds: 3,
                window: Duration::from_millis(300),
                rounds: 3,
                pods: 2000,
                flows: 60_000,
            },
        }
    }

    /// A few seconds.
    pub fn short() -> Self {
        Self {
            attach: attach::Extent {
                pods: vec![0, 3],
                rounds: 2,
                parallel: vec![2],
                parallel_rounds: 1,
                counts: 1,
            },
            scale: scale::Extent {
                peers: vec![3, 20],
                rounds: 2,
                add_rounds: 2,
                pods: 8,
                watched: 4,
                upkeep_rounds: 2,
            },
            datapath: datapath::Extent {
                window: Duration::from_millis(20),
                far: vec![(1, 1), (2, 1)],
                near: vec![(1, 1)],
            },
            fastpath: fastpath::Extent {
                seconds: 1,
                tool_rounds: 1,
                window: Duration::from_millis(20),
                rounds: 1,
                pods: 3,
                flows: 20,
            },
        }
    }
}
