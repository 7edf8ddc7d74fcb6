//! Echo requests to addresses of both families at once.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::asker::Asker;
use super::echo::{Echo, Heard};
use crate::error::Error;

/// How long the last answers may take.
pub const TIMEOUT: Duration = Duration::from_secs(1);

/// Questions that some have not answered yet.
pub struct Question(Vec<(Vec<IpAddr>, Echo)>);

impl Question {
    /// Asks each address a few times, from the calling thread's namespace, and takes the answers
    /// that come at once. With a size, by packets of that many bytes that no router may fragment.
    ///
    /// # Errors
    /// No socket can be had: CAP_NET_RAW is missing.
    pub fn put(targets: &[IpAddr], size: Option<u32>) -> Result<Self, Error> {
        Self::put_as(targets, size, &Asker::default())
    }

    fn put_as(targets: &[IpAddr], size: Option<u32>, asker: &Asker) -> Result<Self, Error> {
        let mut asked = Vec::new();
        for v6 in [false, true] {
            let family: Vec<IpAddr> =
                targets.iter().copied().filter(|address| address.is_ipv6() == v6).collect();
            if family.is_empty() {
                continue;
            }
            let mut echo = match size {
                Some(size) => Echo::of_size(v6, family.clone(), size),
                None => Echo::open(v6, family.clone()),
            }
            .map_err(failed)?;
            echo.ask_as(asker).and_then(|()| echo.ask()).map_err(failed)?;
            asked.push((family, echo));
        }
        Ok(Self(asked))
    }

    /// The best round trip of each address that has answered by the deadline.
    ///
    /// # Errors
    /// The socket fails.
    pub fn answers(self, deadline: Instant) -> Result<HashMap<IpAddr, Duration>, Error> {
        let heard = self.heard(deadline)?.into_iter();
        Ok(heard.filter_map(|(to, heard)| Some((to, heard.trip()?))).collect())
    }

    /// What came back by the deadline from each address, or about it, if anything did.
    ///
    /// # Errors
    /// The socket fails.
    pub fn heard(self, deadline: Instant) -> Result<HashMap<IpAddr, Heard>, Error> {
        let mut all = HashMap::new();
        for (family, echo) in self.0 {
            let heard = echo.finish(deadline).map_err(failed)?;
            all.extend(family.into_iter().zip(heard).filter_map(|(to, heard)| Some((to, heard?))));
        }
        Ok(all)
    }
}

/// Asks and waits.
///
/// # Errors
/// As [`Question::put`].
pub fn ask(targets: &[IpAddr], size: Option<u32>) -> Result<HashMap<IpAddr, Duration>, Error> {
    Question::put(targets, size)?.answers(Instant::now() + TIMEOUT)
}

/// Asks as the asker would, and waits for whatever comes back.
///
/// # Errors
/// As [`Question::put`]; or what says who asks is there no more.
pub fn hear(targets: &[IpAddr], asker: &Asker) -> Result<HashMap<IpAddr, Heard>, Error> {
    Question::put_as(targets, None, asker)?.heard(Instant::now() + TIMEOUT)
}

fn failed(source: io::Error) -> Error {
    Error::File { action: "send echo requests by", path: "a raw socket".into(), source }
}
