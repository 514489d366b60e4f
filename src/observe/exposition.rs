//! The two formats a scrape may have: OpenMetrics for those who ask for it, the plain Prometheus
//! text for everybody else.
//!
//! The encoder speaks OpenMetrics only. The older format names a counter by its samples, knows no
//! `info` and no `unit`, and has no end mark; samples are the same in both.

/// `Content-Type` of the plain text.
const PLAIN: &str = "text/plain; version=0.0.4; charset=utf-8";
/// `Content-Type` of OpenMetrics.
const OPEN: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What a scrape is answered with: type and text. `accept` is the request's header, `page` is
/// OpenMetrics.
pub fn negotiate(accept: Option<&str>, page: String) -> (&'static str, String) {
    let open = accept.is_some_and(|accept| accept.contains("application/openmetrics-text"));
    if open { (OPEN, page) } else { (PLAIN, plain(&page)) }
}

/// OpenMetrics as plain Prometheus text.
fn plain(page: &str) -> String {
    let lines: Vec<&str> = page.lines().collect();
    let mut text = String::with_capacity(page.len() + 1024);
    for (number, line) in lines.iter().enumerate() {
        match line.strip_prefix("# ") {
            None => text.push_str(line),
            Some("EOF") => continue,
            Some(rest) if rest.starts_with("UNIT ") => continue,
            Some(rest) => comment(rest, &lines[number..], &mut text),
        }
        text.push('\n');
    }
    text
}

/// Rewrites a `HELP` or `TYPE` line. What a help text is about is told by the type that follows it.
fn comment(rest: &str, from_here: &[&str], text: &mut String) {
    let mut words = rest.splitn(3, ' ');
    let (keyword, name) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let tail = words.next().unwrap_or_default();
    let prefix = format!("# TYPE {name} ");
    let kind = from_here.iter().find_map(|line| line.strip_prefix(prefix.as_str())).unwrap_or_default();
    let (suffix, plain_kind) = match kind {
        "counter" => ("_total", "counter"),
        "info" => ("_info", "gauge"),
        "unknown" => ("", "untyped"),
        kind => ("", kind),
    };
    let tail = if keyword == "TYPE" { plain_kind } else { tail };
    text.push_str(&format!("# {keyword} {name}{suffix} {tail}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN_PAGE: &str = "# HELP a_b A counter.\n# TYPE a_b counter\na_b_total{x=\"# TYPE y info\"} 3\n\
        # HELP build The version.\n# TYPE build info\nbuild_info{version=\"1\"} 1\n\
        # HELP up_seconds A gauge.\n# TYPE up_seconds gauge\n# UNIT up_seconds seconds\nup_seconds 1.0\n# EOF\n";

    #[test]
    fn counters_and_infos_are_named_by_their_samples_in_the_plain_text() {
        let expected = "# HELP a_b_total A counter.\n# TYPE a_b_total counter\na_b_total{x=\"# TYPE y info\"} 3\n\
            # HELP build_info The version.\n# TYPE build_info gauge\nbuild_info{version=\"1\"} 1\n\
            # HELP up_seconds A gauge.\n# TYPE up_seconds gauge\nup_seconds 1.0\n";
        assert_eq!(negotiate(None, OPEN_PAGE.into()), (PLAIN, expected.to_owned()));
    }

    #[test]
    fn open_metrics_is_for_those_who_ask_for_it() {
        let prometheus = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4";
        for (accept, kind) in
            [(None, PLAIN), (Some("*/*"), PLAIN), (Some("text/plain"), PLAIN), (Some(prometheus), OPEN)]
        {
            assert_eq!(negotiate(accept, OPEN_PAGE.into()).0, kind, "{accept:?}");
        }
        assert_eq!(negotiate(Some(prometheus), OPEN_PAGE.into()).1, OPEN_PAGE);
    }
}
