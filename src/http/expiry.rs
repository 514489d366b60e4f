//! When a certificate ends: the one field of X.509 this program looks at itself.
//!
//! Reads only as much DER as lies before that field; whatever is not as expected gives no answer,
//! for rustls judges certificates, not this.

use super::tls;
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use std::path::Path;

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// When the certificate at the head of a PEM file ends, which is the one that is shown to peers.
pub fn of_first(path: &Path) -> Option<Timestamp> {
    tls::certificates(path).ok()?.first().and_then(|der| not_after(der))
}

/// When the last certificate of a PEM file of trusted ones ends: others may be there for a change
/// of CA.
pub fn of_last(path: &Path) -> Option<Timestamp> {
    tls::certificates(path).ok()?.iter().filter_map(|der| not_after(der)).max()
}

/// `notAfter` of a certificate in DER (RFC 5280, 4.1).
fn not_after(der: &[u8]) -> Option<Timestamp> {
    let (certificate, _) = take(der, SEQUENCE)?;
    let (mut fields, _) = take(certificate, SEQUENCE)?;
    if fields.first() == Some(&VERSION) {
        fields = take(fields, VERSION)?.1;
    }
    let (_, fields) = take(fields, INTEGER)?;
    let (_, fields) = take(fields, SEQUENCE)?;
    let (_, fields) = take(fields, SEQUENCE)?;
    let (validity, _) = take(fields, SEQUENCE)?;
    let (_, _, rest) = element(validity)?;
    let (tag, time, _) = element(rest)?;
    moment(tag, std::str::from_utf8(time).ok()?)
}

/// `YYMMDDHHMMSSZ` or `YYYYMMDDHHMMSSZ`.
fn moment(tag: u8, text: &str) -> Option<Timestamp> {
    let text = text.strip_suffix('Z')?;
    let text = match tag {
        // RFC 5280, 4.1.2.5.1: 50 and later are of the last century.
        UTC_TIME if text.get(..2)? >= "50" => format!("19{text}"),
        UTC_TIME => format!("20{text}"),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let at = DateTime::strptime("%Y%m%d%H%M%S", text).ok()?;
    at.to_zoned(TimeZone::UTC).ok().map(|at| at.timestamp())
}

/// The content of an element of that type, and what follows it.
fn take(der: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (found, content, rest) = element(der)?;
    (found == tag).then_some((content, rest))
}

/// Type and content of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = der.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        ..=0x7f => (usize::from(first), rest),
        // The length of the length; certificates are far below 16 MiB.
        0x81..=0x83 => {
            let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x0f))?;
            (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn certificate(year: i32) -> rcgen::Certificate {
        let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 4);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap()
    }

    #[test]
    fn the_end_of_a_certificate_is_read_in_both_of_its_forms() {
        for year in [2049, 2050, 2027] {
            let end = not_after(certificate(year).der()).unwrap();
            assert_eq!(end.to_string(), format!("{year}-03-04T00:00:00Z"));
        }
        assert_eq!(moment(UTC_TIME, "500101000000Z").unwrap().to_string(), "1950-01-01T00:00:00Z");
    }

    #[test]
    fn no_part_of_a_certificate_and_no_other_bytes_are_taken_for_one() {
        let der = certificate(2030);
        for end in 0..der.der().len() {
            assert_eq!(not_after(&der.der()[..end]), None, "{end} bytes");
        }
        for bytes in [&b"\x30\x84\xff\xff\xff\xff"[..], b"\x30\x80\x00\x00", b"\x30\x00", b"", b"text"] {
            assert_eq!(not_after(bytes), None);
        }
        assert_eq!(moment(UTC_TIME, "991399000000Z"), None);
    }

    #[test]
    fn the_first_of_a_chain_and_the_last_of_the_trusted_ones_count() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let pem = [2031, 2029, 2035].map(|year| certificate(year).pem()).concat();
        std::fs::write(file.path(), pem).unwrap();
        assert_eq!(of_first(file.path()).unwrap().to_string(), "2031-03-04T00:00:00Z");
        assert_eq!(of_last(file.path()).unwrap().to_string(), "2035-03-04T00:00:00Z");
        assert_eq!(of_first(Path::new("/does/not/exist")), None);
    }
}
