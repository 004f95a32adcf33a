//! Dates and times between text (ISO 8601) and the counts that travel. Proleptic Gregorian calendar, no leap seconds.
//!
//! Named time zones are printed but not read: their rules belong to the member, not to the client.

use crate::v1::{Duration, LocalDateTime, ZonedDateTime, ZonedTime};

const NANOS_PER_SECOND: u64 = 1_000_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// Years that text may name; keeps every count far from overflow.
const MAX_YEAR: i64 = 999_999;

/// `2024-02-29` to days since 1970-01-01.
pub(super) fn parse_date(text: &str) -> Option<i64> {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let mut parts = digits.split('-');
    let year = sign * number(parts.next()?, 4, 6)?;
    let month = number(parts.next()?, 2, 2)?;
    let day = number(parts.next()?, 2, 2)?;
    let valid = year.abs() <= MAX_YEAR && (1..=12).contains(&month) && parts.next().is_none();
    (valid && (1..=days_in_month(year, month)).contains(&day)).then(|| days_from_civil(year, month, day))
}

/// `13:45`, `13:45:09` or `13:45:09.123` to nanoseconds since midnight.
pub(super) fn parse_local_time(text: &str) -> Option<u64> {
    let (clock, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut parts = clock.split(':');
    let hour = number(parts.next()?, 2, 2)?;
    let minute = number(parts.next()?, 2, 2)?;
    let second = parts.next().map_or(Some(0), |part| number(part, 2, 2))?;
    if hour > 23 || minute > 59 || second > 59 || parts.next().is_some() {
        return None;
    }
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(seconds as u64 * NANOS_PER_SECOND + parse_fraction(fraction, text.contains('.'))?)
}

/// `13:45:09+02:00` or with `Z`.
pub(super) fn parse_time(text: &str) -> Option<ZonedTime> {
    let (clock, offset_seconds) = split_offset(text)?;
    Some(ZonedTime {
        nanoseconds: parse_local_time(clock)?,
        offset_seconds,
    })
}

/// `2024-02-29T13:45:09`.
pub(super) fn parse_local_date_time(text: &str) -> Option<LocalDateTime> {
    let (date, time) = text.split_once(['T', ' '])?;
    let nanoseconds = parse_local_time(time)?;
    Some(LocalDateTime {
        seconds: parse_date(date)? * SECONDS_PER_DAY + (nanoseconds / NANOS_PER_SECOND) as i64,
        nanoseconds: (nanoseconds % NANOS_PER_SECOND) as u32,
    })
}

/// `2024-02-29T13:45:09+02:00` or with `Z`.
pub(super) fn parse_date_time(text: &str) -> Option<ZonedDateTime> {
    let time_starts = text.find(['T', ' '])?;
    let (clock, offset_seconds) = split_offset(&text[time_starts..])?;
    let local = parse_local_date_time(&text[..time_starts + clock.len()])?;
    Some(ZonedDateTime {
        seconds: local.seconds - i64::from(offset_seconds),
        nanoseconds: local.nanoseconds,
        offset_seconds,
        zone: String::new(),
    })
}

pub(super) fn date(days: i64) -> String {
    let (year, month, day) = civil_from_days(days);
    match year {
        0..=9999 => format!("{year:04}-{month:02}-{day:02}"),
        _ => format!("{year:+05}-{month:02}-{day:02}"),
    }
}

pub(super) fn local_time(nanoseconds: u64) -> String {
    let seconds = nanoseconds / NANOS_PER_SECOND;
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let fraction = fraction(nanoseconds % NANOS_PER_SECOND);
    format!("{hour:02}:{minute:02}:{second:02}{fraction}")
}

pub(super) fn time(time: &ZonedTime) -> String {
    local_time(time.nanoseconds) + &offset(time.offset_seconds)
}

pub(super) fn local_date_time(value: &LocalDateTime) -> String {
    let days = value.seconds.div_euclid(SECONDS_PER_DAY);
    let seconds = value.seconds.rem_euclid(SECONDS_PER_DAY) as u64;
    let nanoseconds = seconds * NANOS_PER_SECOND + u64::from(value.nanoseconds);
    format!("{}T{}", date(days), local_time(nanoseconds))
}

/// ISO 8601 with the offset, and the zone's name where there is one: `2024-02-29T13:45:09+01:00[Europe/Paris]`.
pub fn date_time(value: &ZonedDateTime) -> String {
    let local = LocalDateTime {
        seconds: value.seconds.saturating_add(i64::from(value.offset_seconds)),
        nanoseconds: value.nanoseconds,
    };
    let zone = match value.zone.as_str() {
        "" => String::new(),
        zone => format!("[{zone}]"),
    };
    format!("{}{}{zone}", local_date_time(&local), offset(value.offset_seconds))
}

pub(super) fn duration(value: &Duration) -> String {
    let nanos = i128::from(value.seconds) * i128::from(NANOS_PER_SECOND) + i128::from(value.nanoseconds);
    let sign = if nanos < 0 { "-" } else { "" };
    let whole = nanos.unsigned_abs() / u128::from(NANOS_PER_SECOND);
    let part = fraction((nanos.unsigned_abs() % u128::from(NANOS_PER_SECOND)) as u64);
    format!("P{}M{}DT{sign}{whole}{part}S", value.months, value.days)
}

/// Days since 1970-01-01. Algorithm: <https://howardhinnant.github.io/date_algorithms.html>, years that start in March.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days.saturating_add(719_468);
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = (march_month + 2) % 12 + 1;
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
    days_from_civil(next_year, next_month, 1) - days_from_civil(year, month, 1)
}

fn number(text: &str, min_digits: usize, max_digits: usize) -> Option<i64> {
    let plain = text.bytes().all(|byte| byte.is_ascii_digit());
    (plain && (min_digits..=max_digits).contains(&text.len()))
        .then(|| text.parse().ok())
        .flatten()
}

fn parse_fraction(digits: &str, expected: bool) -> Option<u64> {
    if !expected {
        return Some(0);
    }
    let value = number(digits, 1, 9)? as u64;
    Some(value * 10u64.pow(9 - digits.len() as u32))
}

fn fraction(nanoseconds: u64) -> String {
    match nanoseconds {
        0 => String::new(),
        _ => format!(".{nanoseconds:09}").trim_end_matches('0').to_owned(),
    }
}

/// Cuts `Z` or `±HH:MM` off the end.
fn split_offset(text: &str) -> Option<(&str, i32)> {
    if let Some(clock) = text.strip_suffix('Z') {
        return Some((clock, 0));
    }
    let at = text.rfind(['+', '-'])?;
    let (hours, minutes) = text[at + 1..].split_once(':')?;
    let (hours, minutes) = (number(hours, 2, 2)?, number(minutes, 2, 2)?);
    if hours > 18 || minutes > 59 {
        return None;
    }
    let sign = if text[at..].starts_with('-') { -1 } else { 1 };
    Some((&text[..at], sign * (hours * 3600 + minutes * 60) as i32))
}

fn offset(seconds: i32) -> String {
    let sign = if seconds < 0 { '-' } else { '+' };
    let minutes = seconds.unsigned_abs() / 60;
    match seconds {
        0 => "Z".to_owned(),
        _ => format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days_are_counted_right() {
        let known = [
            ("1970-01-01", 0),
            ("1969-12-31", -1),
            ("2000-02-29", 11_016),
            ("2024-03-01", 19_783),
            ("1600-02-29", -135_081),
        ];
        for (text, days) in known {
            assert_eq!(parse_date(text), Some(days), "{text}");
            assert_eq!(date(days), text);
        }
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        for days in -150_000..150_000 {
            assert_eq!(parse_date(&date(days)), Some(days));
        }
    }

    #[test]
    fn days_that_do_not_exist_are_refused() {
        for text in [
            "2023-02-29",
            "1900-02-29",
            "2024-13-01",
            "2024-00-10",
            "2024-1-1",
            "20240101",
            "2024-04-31",
            "",
            "+2024-01-01",
            "2024-01-01-",
        ] {
            assert_eq!(parse_date(text), None, "{text}");
        }
    }

    #[test]
    fn times_print_as_they_were_typed() {
        for text in ["00:00:00", "23:59:59.999999999", "13:45:09.12"] {
            assert_eq!(local_time(parse_local_time(text).unwrap()), text);
        }
        for text in ["13:45:09Z", "13:45:09.5-03:30", "00:00:00+18:00"] {
            assert_eq!(time(&parse_time(text).unwrap()), text);
        }
        for text in ["1969-12-31T23:59:59.5", "2024-02-29T00:00:00"] {
            assert_eq!(local_date_time(&parse_local_date_time(text).unwrap()), text);
        }
        for text in [
            "2024-02-29T00:30:00+02:00",
            "1969-12-31T23:59:59Z",
            "-0044-03-15T12:00:00-01:15",
        ] {
            assert_eq!(date_time(&parse_date_time(text).unwrap()), text);
        }
    }

    #[test]
    fn an_offset_moves_the_instant() {
        let east = parse_date_time("1970-01-01T02:00:00+02:00").unwrap();
        assert_eq!((east.seconds, east.offset_seconds), (0, 7200));
    }

    #[test]
    fn times_that_do_not_exist_are_refused() {
        for text in [
            "24:00",
            "12:60",
            "12:00:60",
            "12",
            "12:00:00.",
            "12:00:00.1234567890",
            "1:00",
        ] {
            assert_eq!(parse_local_time(text), None, "{text}");
        }
        for text in ["12:00", "12:00+2", "12:00+19:00"] {
            assert_eq!(parse_time(text), None, "{text}");
        }
        assert_eq!(parse_date_time("2024-02-29T00:30:00"), None);
    }

    #[test]
    fn a_duration_prints_its_four_parts() {
        let value = Duration {
            months: 14,
            days: -3,
            seconds: -1,
            nanoseconds: 500_000_000,
        };
        assert_eq!(duration(&value), "P14M-3DT-0.5S");
    }
}
