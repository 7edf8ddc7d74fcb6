//! How a round trip looks on a heat map.

use std::time::Duration;

/// From quick to slow, then lost, then not asked: each darker than the one before.
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shade {
    /// Within a rack: less than 0.5 ms.
    Quick,
    /// Within a site: less than 2 ms.
    Near,
    /// Within a region: less than 10 ms.
    Far,
    /// Longer.
    Slow,
    /// No answer.
    Lost,
    /// Not asked: no address of that family.
    Blank,
}

/// All of them, for legends.
pub const LEGEND: [(Shade, &str); 5] = [
    (Shade::Quick, "< 0.5 ms"),
    (Shade::Near, "< 2 ms"),
    (Shade::Far, "< 10 ms"),
    (Shade::Slow, "slower"),
    (Shade::Lost, "no answer"),
];

impl Shade {
    /// Of a round trip; `None` for no answer.
    pub fn of(trip: Option<Duration>) -> Self {
        match trip.map(|trip| trip.as_micros()) {
            None => Self::Lost,
            Some(0..500) => Self::Quick,
            Some(500..2_000) => Self::Near,
            Some(2_000..10_000) => Self::Far,
            Some(_) => Self::Slow,
        }
    }

    /// On a terminal without colours, too.
    pub fn sign(self) -> char {
        match self {
            Self::Quick => '.',
            Self::Near => '-',
            Self::Far => '+',
            Self::Slow => '#',
            Self::Lost => 'x',
            Self::Blank => ' ',
        }
    }

    /// For SVG: told apart also by those who do not see red and green.
    pub fn colour(self) -> &'static str {
        match self {
            Self::Quick => "#d9f0d3",
            Self::Near => "#a6dba0",
            Self::Far => "#5aae61",
            Self::Slow => "#1b7837",
            Self::Lost => "#762a83",
            Self::Blank => "#f7f7f7",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_is_darker() {
        let of = |micros| Shade::of(Some(Duration::from_micros(micros)));
        let shades =
            [of(499), of(500), of(2_000), of(9_999), of(10_000), of(10_000_000), Shade::of(None)];
        let signs: String = shades.iter().map(|shade| shade.sign()).collect();
        assert_eq!(signs, ".-++##x");
        assert!(shades.is_sorted());
    }
}
