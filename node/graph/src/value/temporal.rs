//! Dates, times, durations and points, as openCypher has them and value.proto carries them.
//!
//! Plain numbers with their unit in the name; no calendar arithmetic here.

use serde::{Deserialize, Serialize};

/// Nanoseconds in a second.
pub const NANOSECONDS_PER_SECOND: u32 = 1_000_000_000;
/// Nanoseconds in a day of 24 hours.
pub const NANOSECONDS_PER_DAY: u64 = 86_400 * NANOSECONDS_PER_SECOND as u64;
/// Largest distance of a zone from UTC, 18 hours, as in ISO 8601 libraries everywhere.
pub const MAX_OFFSET_SECONDS: i32 = 18 * 3_600;
/// Days from the epoch to either end of the years -999,999,999 to 999,999,999, rounded up.
pub const MAX_DAYS: i64 = 365_243_219_162 + 719_528 * 2;
/// The same in seconds.
pub const MAX_SECONDS: i64 = MAX_DAYS * 86_400;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Date {
    /// Days since 1970-01-01.
    pub days: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalTime {
    /// Nanoseconds since midnight.
    pub nanoseconds: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Time {
    /// Nanoseconds since midnight, local.
    pub nanoseconds: u64,
    /// East of UTC.
    pub offset_seconds: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalDateTime {
    /// Seconds since 1970-01-01T00:00, local.
    pub seconds: i64,
    /// Within the second.
    pub nanoseconds: u32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DateTime {
    /// Seconds since the epoch, in UTC.
    pub seconds: i64,
    /// Within the second.
    pub nanoseconds: u32,
    /// East of UTC.
    pub offset_seconds: i32,
    /// IANA name; `None` where only an offset is known.
    pub zone: Option<String>,
}

/// A distance in time. Months, days and seconds do not convert into each other: a month has no fixed length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Duration {
    pub months: i64,
    pub days: i64,
    pub seconds: i64,
    /// From 0 up to a second, also where `seconds` is negative, so that equal durations have one form.
    pub nanoseconds: u32,
}

impl Duration {
    /// Carries nanoseconds of any sign and size into seconds; `None` where the seconds overflow.
    pub fn normalised(months: i64, days: i64, seconds: i64, nanoseconds: i64) -> Option<Self> {
        let second = i64::from(NANOSECONDS_PER_SECOND);
        Some(Duration {
            months,
            days,
            seconds: seconds.checked_add(nanoseconds.div_euclid(second))?,
            nanoseconds: u32::try_from(nanoseconds.rem_euclid(second)).ok()?,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The coordinate reference system, for example 4326 for WGS-84.
    pub srid: u32,
    pub x: f64,
    pub y: f64,
    pub z: Option<f64>,
}
