//! Headers and trailers of a call, as they travel, and what is read off them.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::v1::{CallEnd, CallHeader};

const STATUS: HeaderName = HeaderName::from_static("grpc-status");
const TIMEOUT: &str = "grpc-timeout";
const OK: HeaderValue = HeaderValue::from_static("0");
/// Of every request and answer; said by whoever takes one off the stream.
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// What has to be said of headers: all but what every call has.
pub fn to_parts(headers: &HeaderMap) -> Vec<CallHeader> {
    let told = headers.iter().filter(|(name, _)| {
        **name != header::CONTENT_TYPE && **name != header::TE && **name != header::DATE && **name != header::USER_AGENT
    });
    told.map(|(name, value)| CallHeader {
        name: name.as_str().to_owned(),
        value: value.as_bytes().to_vec().into(),
    })
    .collect()
}

/// The headers of a request or an answer. What is no header is left out, as no client or server of ours says any.
pub fn from_parts(parts: Vec<CallHeader>) -> HeaderMap {
    let mut headers = trailers_from(parts);
    headers.insert(header::CONTENT_TYPE, GRPC);
    headers
}

fn trailers_from(parts: Vec<CallHeader>) -> HeaderMap {
    let parsed = parts.into_iter().filter_map(|part| {
        let name = HeaderName::try_from(part.name).ok()?;
        let value = HeaderValue::from_maybe_shared(part.value).ok()?;
        Some((name, value))
    });
    parsed.collect()
}

/// The end of an answer by its trailers; without any, its head has said how it ended.
pub fn end_of(trailers: Option<&HeaderMap>) -> CallEnd {
    let Some(trailers) = trailers else {
        return CallEnd::default();
    };
    if trailers.len() == 1 && trailers.get(STATUS) == Some(&OK) {
        return CallEnd {
            ok: true,
            trailers: Vec::new(),
        };
    }
    CallEnd {
        ok: false,
        trailers: to_parts(trailers),
    }
}

/// The trailers of an answer that ended so; none where its head has said it.
pub fn trailers_of(end: CallEnd) -> Option<HeaderMap> {
    if end.ok {
        return Some(HeaderMap::from_iter([(STATUS, OK)]));
    }
    (!end.trailers.is_empty()).then(|| trailers_from(end.trailers))
}

/// How long the caller waits, as gRPC says it: a number of at most eight digits and a unit.
pub fn timeout_of(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(TIMEOUT)?.to_str().ok()?;
    let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if number.len() > 8 {
        return None;
    }
    let number: u64 = number.parse().ok()?;
    match unit {
        "H" => Some(Duration::from_secs(number * 3_600)),
        "M" => Some(Duration::from_secs(number * 60)),
        "S" => Some(Duration::from_secs(number)),
        "m" => Some(Duration::from_millis(number)),
        "u" => Some(Duration::from_micros(number)),
        "n" => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_read_in_all_units() {
        let read = |text: &str| {
            let value = HeaderValue::from_str(text).unwrap();
            timeout_of(&HeaderMap::from_iter([(HeaderName::from_static(TIMEOUT), value)]))
        };
        assert_eq!(read("2H"), Some(Duration::from_secs(7_200)));
        assert_eq!(read("3M"), Some(Duration::from_secs(180)));
        assert_eq!(read("99999999S"), Some(Duration::from_secs(99_999_999)));
        assert_eq!(read("10500m"), Some(Duration::from_millis(10_500)));
        assert_eq!(
            (read("7u"), read("7n")),
            (Some(Duration::from_micros(7)), Some(Duration::from_nanos(7)))
        );
        for wrong in ["", "5", "S", "123456789S", "-1S", "5s"] {
            assert_eq!(read(wrong), None, "{wrong:?}");
        }
        assert_eq!(timeout_of(&HeaderMap::new()), None);
    }

    #[test]
    fn how_a_call_ended_comes_back_as_it_was() {
        let ok = HeaderMap::from_iter([(STATUS, OK)]);
        assert_eq!(end_of(Some(&ok)).trailers, []);
        assert_eq!(trailers_of(end_of(Some(&ok))), Some(ok));
        let refused = HeaderMap::from_iter([
            (STATUS, HeaderValue::from_static("9")),
            (HeaderName::from_static("grpc-message"), HeaderValue::from_static("no")),
        ]);
        assert_eq!(trailers_of(end_of(Some(&refused))), Some(refused));
        assert_eq!(trailers_of(end_of(None)), None);
    }
}
