//! Foreign text in our own messages.

/// Characters of a foreign text that a message carries: enough to recognise a proxy's page.
const CHARS: usize = 300;
/// Bytes that are looked at: white space is folded, and a character has up to four bytes.
const BYTES: usize = 4 * CHARS;

/// The beginning of a foreign text as one printable line; `…` stands for what is left out.
pub fn excerpt(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(BYTES)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    let printable: String = words.join(" ").chars().filter(|c| !c.is_control()).collect();
    let mut line: String = printable.chars().take(CHARS).collect();
    if bytes.len() > BYTES || line.len() < printable.len() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_become_one_short_printable_line() {
        let check = |bytes: &[u8], expected: &str| assert_eq!(excerpt(bytes), expected);
        check(b"", "");
        check(b" <html>\r\n  <body>no\tway</body>\n", "<html> <body>no way</body>");
        check(b"a\x1b[31mb\0c", "a[31mbc");
        check(b"\xff\xfe", "\u{fffd}\u{fffd}");
        check(&[b'x'; 400], &format!("{}…", "x".repeat(300)));
        check("字".repeat(5000).as_bytes(), &format!("{}…", "字".repeat(300)));
        check(&[b' '; 5000], "…");
    }
}
