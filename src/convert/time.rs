//! Times as the CMDB writes them.

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// 0001-12-31T00:00:00Z in seconds since 1970. What is earlier is Go's zero time, "not set"
/// (protocol.md 7), in whatever zone it was written.
const NOT_SET_BEFORE: i64 = -62_104_060_800;

/// An RFC 3339 time as `YYYY-MM-DD HH:MM:SS` in `time_zone`, fractions cut off; empty where the
/// text is no time or says "not set".
pub(super) fn local(text: &str, time_zone: &TimeZone) -> String {
    let Ok(timestamp) = text.trim().parse::<Timestamp>() else {
        return String::new();
    };
    if timestamp.as_second() < NOT_SET_BEFORE {
        return String::new();
    }
    let local = time_zone.to_datetime(timestamp);
    let mut written = String::with_capacity("YYYY-MM-DD HH:MM:SS".len());
    for (number, digits, end) in [
        (local.year() as u32, 4, "-"),
        (local.month() as u32, 2, "-"),
        (local.day() as u32, 2, " "),
        (local.hour() as u32, 2, ":"),
        (local.minute() as u32, 2, ":"),
        (local.second() as u32, 2, ""),
    ] {
        for place in (0..digits).rev() {
            let digit = number / 10_u32.pow(place) % 10;
            written.extend(char::from_digit(digit, 10));
        }
        written.push_str(end);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(zone: &str, cases: &[(&str, &str)]) {
        let zone = TimeZone::get(zone).unwrap();
        for (text, expected) in cases {
            assert_eq!(local(text, &zone), *expected, "{text:?}");
        }
    }

    #[test]
    fn times_are_written_in_the_configured_zone() {
        check("UTC", &[("2023-05-24T09:31:28Z", "2023-05-24 09:31:28")]);
        check("Asia/Shanghai", &[("2023-05-24T17:31:28Z", "2023-05-25 01:31:28")]);
        check("America/New_York", &[("2024-11-03T05:59:59Z", "2024-11-03 01:59:59")]);
    }

    #[test]
    fn offsets_and_fractions_are_understood() {
        check(
            "UTC",
            &[
                ("2017-10-09T15:37:44+08:00", "2017-10-09 07:37:44"),
                ("2017-10-11T09:51:16.786921704+08:00", "2017-10-11 01:51:16"),
                ("1969-12-31T23:59:58.5Z", "1969-12-31 23:59:58"),
                (" 2020-02-29T00:00:00-11:30 ", "2020-02-29 11:30:00"),
            ],
        );
    }

    #[test]
    fn what_is_not_set_or_no_time_is_absent() {
        let nothing = [
            "",
            "0001-01-01T00:00:00Z",
            "0001-01-01T00:00:00+08:00",
            "0001-01-01T00:00:00-08:00",
            "2023-02-30T00:00:00Z",
            "2023-05-24 09:31:28",
            "yesterday",
            "9999-99-99T99:99:99Z",
            "99999-01-01T00:00:00Z",
            "\u{0}",
        ];
        check("UTC", &nothing.map(|text| (text, "")));
    }
}
