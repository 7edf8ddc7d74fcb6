//! Sends packets that must not get through between honest ones that must, and counts.

use flatnet_tests::raw::{Port, Sink, Token, stay_on_one_processor};

/// One packet: what is forged about it, and its frames, more than one if it comes in fragments.
pub struct Shot {
    what: String,
    token: Token,
    frames: Vec<Vec<u8>>,
}

impl Shot {
    /// A packet made around a payload that no other has.
    pub fn new(what: impl Into<String>, frames: impl FnOnce(&[u8]) -> Vec<Vec<u8>>) -> Self {
        let token = Token::new();
        Self { what: what.into(), token, frames: frames(&token.payload()) }
    }

    fn fire(&self, port: &Port) {
        self.frames.iter().for_each(|frame| port.send(frame));
    }
}

/// Counts the packets of one test and those that got through.
pub struct Tally {
    title: &'static str,
    tried: usize,
    through: Vec<String>,
}

impl Tally {
    /// Nothing tried yet.
    pub fn new(title: &'static str) -> Self {
        stay_on_one_processor();
        Self { title, tried: 0, through: Vec::new() }
    }

    /// The packets, between two that are made the same way and honest: those must arrive, and when
    /// the second has, all that was sent before it has come to where it ever will. The honest ones
    /// may be another sender's.
    pub fn volley(
        &mut self,
        port: &Port,
        sink: &Sink,
        (honest_port, honest): (&Port, impl Fn(&[u8]) -> Vec<Vec<u8>>),
        shots: Vec<Shot>,
    ) {
        let marker = || {
            let marker = Shot::new("honest", &honest);
            marker.fire(honest_port);
            marker.token
        };
        sink.until(marker());
        shots.iter().for_each(|shot| shot.fire(port));
        let mut arrived = sink.until(marker());
        // Packets of the fast path overtake.
        arrived.extend(sink.until(marker()));
        for shot in shots {
            self.count(&shot.what, arrived.contains(&shot.token));
        }
    }

    /// One packet whose effect was looked for otherwise.
    pub fn count(&mut self, what: &str, through: bool) {
        self.tried += 1;
        if through {
            eprintln!("{}: {what} got through", self.title);
            self.through.push(what.to_owned());
        }
    }

    /// Prints the counts; fails the test if anything got through.
    pub fn finish(self) {
        let Self { title, tried, through } = self;
        println!("{title}: {tried} tried, {} got through", through.len());
        assert!(tried > 0, "{title}: nothing was tried");
        assert!(through.is_empty(), "{title}: {through:#?}");
    }
}
