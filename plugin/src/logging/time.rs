//! Times for people, without a library for calendars.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2026-03-01T12:34:56.789Z`.
pub fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = since.as_secs();
    let (year, month, day) = date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    let millis = since.subsec_millis();
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Year, month and day of a number of days since 1970-01-01.
///
/// Counted from 0000-03-01, a leap day is the last of its year, and 400 years are 146,097 days.
fn date(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let first = (153 * month + 2) / 5;
    // March is month 0.
    let (wrapped, month) = if month < 10 { (0, month + 3) } else { (1, month - 9) };
    (era * 400 + year + wrapped, month, day - first + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        // As `date --utc --date=@SECONDS` prints them.
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.500Z"),
            (951_782_399, "2000-02-28T23:59:59.500Z"),
            (951_782_400, "2000-02-29T00:00:00.500Z"),
            (951_868_800, "2000-03-01T00:00:00.500Z"),
            (1_767_225_599, "2025-12-31T23:59:59.500Z"),
            (4_107_542_400, "2100-03-01T00:00:00.500Z"),
        ] {
            let time = UNIX_EPOCH + Duration::from_millis(seconds * 1000 + 500);
            assert_eq!(utc(time), text);
        }
    }
}
