//! Certificates of a peer that are of another time: which end of it that is, and whose clock says so. rustls gives
//! seconds since 1970, and those that have passed since, so that the same fault never reads the same.

use std::error::Error;
use std::io;

use jiff::Timestamp;
use rustls::CertificateError::{ExpiredContext, NotValidYetContext};
use rustls::pki_types::UnixTime;

/// What such a failure says; `None` of any other.
pub fn words(error: &(dyn Error + 'static)) -> Option<String> {
    let within = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    let tls = within.and_then(|within| within.downcast_ref()).or_else(|| error.downcast_ref())?;
    let rustls::Error::InvalidCertificate(wrong) = tls else { return None };
    let said = match wrong {
        ExpiredContext { not_after, .. } => {
            format!("was valid until {}, which is over", date(*not_after)?)
        }
        NotValidYetContext { not_before, .. } => {
            format!("is valid from {} on, which is still to come", date(*not_before)?)
        }
        _ => return None,
    };
    Some(format!("invalid peer certificate: its certificate {said} by this machine's clock"))
}

fn date(time: UnixTime) -> Option<Timestamp> {
    Timestamp::from_second(time.as_secs().try_into().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn what_is_of_another_time_reads_the_same_at_any() {
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let expired = |now| ExpiredContext { time: at(now), not_after: at(978_393_600) };
        let early = NotValidYetContext { time: at(7), not_before: at(4_070_908_800) };
        let wrap = |wrong| io::Error::other(rustls::Error::InvalidCertificate(wrong));
        let until = "invalid peer certificate: its certificate was valid until 2001-01-02T00:00:00Z, which is over by \
                     this machine's clock";
        for now in [2_000_000_000, 2_000_000_001] {
            assert_eq!(words(&wrap(expired(now))).as_deref(), Some(until));
        }
        assert_eq!(
            words(&rustls::Error::InvalidCertificate(early)).as_deref(),
            Some(
                "invalid peer certificate: its certificate is valid from 2099-01-01T00:00:00Z on, which is still to \
                 come by this machine's clock"
            )
        );
        assert_eq!(words(&wrap(rustls::CertificateError::UnknownIssuer)), None);
        assert_eq!(words(&io::Error::other("refused")), None);
    }
}
