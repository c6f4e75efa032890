//! The alerts among what the guest has printed.

use middlebox_sdk::Attributes;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How every record of EVE begins. `config` has EVE write alerts and nothing else.
const RECORD: &[u8] = b"{\"timestamp\":\"";

/// The alerts in a guest's log: whole lines, as they are.
pub(crate) fn of(log: &[u8]) -> Vec<u8> {
    let lines = log.split_inclusive(|byte| *byte == b'\n');
    let alerts = lines.filter(|line| line.starts_with(RECORD) && line.ends_with(b"\n"));
    alerts.collect::<Vec<_>>().concat()
}

/// Length of alerts, and the time of the last one; that of none is the epoch, as an empty log's.
pub(crate) fn attributes(alerts: &[u8]) -> Attributes {
    let last = alerts.trim_ascii_end().rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    let attributes = Attributes::new().length(alerts.len() as u64);
    match last.strip_prefix(RECORD) {
        None => attributes.modified(UNIX_EPOCH),
        // Where Suricata's way to write the time is another one, nfio fills it in.
        Some(rest) => time(rest).map_or(attributes, |time| attributes.modified(time)),
    }
}

/// Reads the time that a record begins with, for example `2026-11-22T15:15:18.888576+0100`.
fn time(text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text.get(..31)?).ok()?;
    let number = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hours, minutes, seconds) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let east = if text.get(26..27)? == "-" { -1 } else { 1 };
    let offset = east * (number(27, 29)? * 3600 + number(29, 31)? * 60);
    // Years that begin in March have their leap day last, and their months a regular pattern of lengths.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leap_days = year / 4 - year / 100 + year / 400;
    let days = year * 365 + leap_days + (153 * month + 2) / 5 + day - 1 - 719_468;
    let since = days * 86_400 + hours * 3600 + minutes * 60 + seconds - offset;
    Some(UNIX_EPOCH + Duration::from_secs(u64::try_from(since).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINE: &str =
        "{\"timestamp\":\"2026-11-22T15:15:18.888576+0000\",\"event_type\":\"alert\",\"x\":1}\n";

    #[test]
    fn alerts_are_found_among_other_lines_and_only_whole() {
        let log = format!("i: suricata: up\n{LINE}i: detect: {{\"timestamp\":\"\n{LINE}{}", &LINE[..60]);
        assert_eq!(of(log.as_bytes()), LINE.repeat(2).as_bytes());
        assert!(of(b"").is_empty());
    }

    #[test]
    fn length_and_time_are_those_of_the_alerts() {
        let told = attributes(LINE.repeat(2).as_bytes());
        assert_eq!(told.length, Some(2 * LINE.len() as u64));
        // date -u -d 2026-11-22T15:15:18 +%s
        assert_eq!(told.modified, Some(UNIX_EPOCH + Duration::from_secs(1_795_360_518)));
        assert_eq!(attributes(b""), Attributes::new().length(0).modified(UNIX_EPOCH));
        assert_eq!(attributes(b"{\"timestamp\":\"now\"}\n").modified, None);
    }

    #[test]
    fn times_of_leap_years_and_zones_are_read() {
        let seconds =
            |text: &str| time(text.as_bytes()).map(|t| t.duration_since(UNIX_EPOCH).unwrap().as_secs());
        assert_eq!(seconds("1970-01-01T00:00:00.000000+0000"), Some(0));
        assert_eq!(seconds("2000-02-29T23:59:59.000000+0000"), Some(951_868_799));
        assert_eq!(seconds("2000-03-01T00:00:00.000000+0000"), Some(951_868_800));
        assert_eq!(seconds("2000-03-01T02:30:00.000000+0230"), Some(951_868_800));
        assert_eq!(seconds("2000-02-29T19:00:00.000000-0500"), Some(951_868_800));
        assert_eq!(seconds("2000-02-29"), None);
    }
}
