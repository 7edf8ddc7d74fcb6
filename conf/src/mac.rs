//! Ethernet addresses that a pod's interface may bear.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A unicast Ethernet (EUI-48) address.
#[derive(Copy, Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// A locally administered unicast address from the first six bytes of a digest.
    pub fn of_digest(digest: &[u8]) -> Self {
        let mut bytes = [0; 6];
        bytes.iter_mut().zip(digest).for_each(|(byte, from)| *byte = *from);
        bytes[0] = (bytes[0] & 0xfc) | 0x02;
        Self(bytes)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(formatter, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
    }
}

impl FromStr for Mac {
    type Err = String;

    /// Reads six pairs of hexadecimal digits joined by colons. Multicast addresses and the zero
    /// address are refused, as the kernel does (`is_valid_ether_addr`).
    fn from_str(text: &str) -> Result<Mac, String> {
        let bytes = octets(text)
            .ok_or_else(|| format!("{text:?} is not a MAC address, as in \"02:00:5e:10:00:01\""))?;
        if bytes == [0; 6] {
            return Err(format!("{text:?} is the zero address, which no interface can bear"));
        }
        if bytes[0] & 1 != 0 {
            return Err(format!("{text:?} is a multicast address; use a unicast one"));
        }
        Ok(Mac(bytes))
    }
}

fn octets(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut pairs = text.split(':');
    for byte in &mut bytes {
        let pair = pairs.next()?;
        if pair.len() != 2 || !pair.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        *byte = u8::from_str_radix(pair, 16).ok()?;
    }
    pairs.next().is_none().then_some(bytes)
}

impl TryFrom<String> for Mac {
    type Error = String;

    fn try_from(text: String) -> Result<Mac, String> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> String {
        mac.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        let mac: Mac = "02:AB:00:00:00:ff".parse().unwrap();
        assert_eq!(mac, Mac([0x02, 0xab, 0, 0, 0, 0xff]));
        assert_eq!(mac.to_string(), "02:ab:00:00:00:ff");
        assert_eq!(serde_json::to_string(&mac).unwrap(), "\"02:ab:00:00:00:ff\"");
        assert_eq!(serde_json::from_str::<Mac>("\"02:ab:00:00:00:ff\"").unwrap(), mac);
    }

    #[test]
    fn refuses() {
        let malformed = "is not a MAC address, as in \"02:00:5e:10:00:01\"";
        let cases = [
            ("", malformed),
            ("02:00:00:00:00", malformed),
            ("02:00:00:00:00:01:02", malformed),
            ("2:0:0:0:0:1", malformed),
            ("+2:00:00:00:00:01", malformed),
            ("02-00-00-00-00-01", malformed),
            ("0g:00:00:00:00:01", malformed),
            ("00:00:00:00:00:00", "is the zero address, which no interface can bear"),
            ("01:00:5e:00:00:01", "is a multicast address; use a unicast one"),
            ("ff:ff:ff:ff:ff:ff", "is a multicast address; use a unicast one"),
        ];
        for (text, problem) in cases {
            assert_eq!(text.parse::<Mac>(), Err(format!("{text:?} {problem}")));
        }
    }
}
