//! The status page: one HTML document that needs nothing from elsewhere.
//!
//! The files of `page/` are put together here: the frame, the style, and a script that draws the
//! page from the JSON of the status service and keeps it fresh. The page is the same for everyone and holds
//! no state, so nothing from outside has to be escaped here; the script makes text nodes only. The policy
//! lets this style and this script work, and nothing else.

use std::sync::LazyLock;

use crate::front::{Body, Response};

const FRAME: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/style.css");
const ENGLISH: &str = include_str!("page/text.en.json");
const CHINESE: &str = include_str!("page/text.zh.json");
/// What the service says in English, in Chinese.
const SAID: &str = include_str!("page/said.json");
const PROBLEMS: &str = include_str!("page/problems.js");
/// In the order they need each other.
const SCRIPTS: [&str; 9] = [
    include_str!("page/base.js"),
    include_str!("page/said.js"),
    PROBLEMS,
    include_str!("page/instances.js"),
    include_str!("page/clusters.js"),
    include_str!("page/chart.js"),
    include_str!("page/cluster.js"),
    include_str!("page/control.js"),
    include_str!("page/main.js"),
];

/// All of it but the nonce and the language, which differ between answers.
static PAGE: LazyLock<String> = LazyLock::new(|| {
    let script = SCRIPTS.join("\n");
    let script = format!("const TEXT = {{en: {ENGLISH}, zh: {CHINESE}}}, SAID = {SAID};\n{script}");
    FRAME.replace("{style}", STYLE).replace("{script}", &script)
});

/// The page as an answer, in the language that `accept_language`, the request's header, prefers.
pub fn response(accept_language: Option<&str>) -> Response {
    let Some(nonce) = nonce() else {
        return Response::error(500, "internal", "the system gives no random numbers");
    };
    let policy = format!(
        "default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self'; \
         img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let language = if prefers_chinese(accept_language.unwrap_or_default()) { "zh-CN" } else { "en" };
    let page = PAGE.replace("{nonce}", &nonce).replace("{lang}", language);
    Response {
        status: 200,
        content_type: "text/html; charset=utf-8",
        headers: vec![
            ("content-security-policy", policy),
            ("referrer-policy", "no-referrer".into()),
            ("vary", "accept-language".into()),
        ],
        body: Body::Bytes(page.into_bytes()),
    }
}

/// A fresh value that nobody can guess.
fn nonce() -> Option<String> {
    let mut bytes = [0; 16];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut bytes).ok()?;
    Some(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Whether Chinese is wanted more than English (RFC 9110, 12.5.4); of equals the first one counts.
fn prefers_chinese(accept_language: &str) -> bool {
    let weight_of = |wanted: &str| {
        let ranges = accept_language.split(',').enumerate();
        let weights = ranges.filter_map(|(place, range)| {
            let (tag, parameter) = range.split_once(';').unwrap_or((range, "q=1"));
            let main = tag.trim().split('-').next()?;
            let weight: f64 = parameter.trim().strip_prefix("q=")?.parse().ok()?;
            (main.eq_ignore_ascii_case(wanted) && weight > 0.0).then_some((weight, usize::MAX - place))
        });
        weights.max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
    };
    match (weight_of("zh"), weight_of("en")) {
        (Some(chinese), Some(english)) => chinese > english,
        (chinese, _) => chinese.is_some(),
    }
}

#[cfg(test)]
mod said;

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn words(text: &str) -> BTreeMap<String, String> {
        serde_json::from_str(text).unwrap()
    }

    /// The `{names}` in a text.
    fn places(text: &str) -> Vec<&str> {
        let mut places: Vec<&str> =
            text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        places.sort_unstable();
        places
    }

    #[test]
    fn the_language_is_the_one_the_browser_prefers() {
        for (header, chinese) in [
            ("", false),
            ("zh-CN,zh;q=0.9,en;q=0.8", true),
            ("en-GB,en;q=0.9,zh;q=0.8", false),
            ("fr, zh-TW;q=0.3", true),
            ("en;q=0.5, ZH;q=0.6", true),
            ("zh, en", true),
            ("zh;q=0", false),
            ("de", false),
            ("zh;q=nonsense, \u{1f600};;", false),
        ] {
            assert_eq!(prefers_chinese(header), chinese, "{header}");
        }
    }

    #[test]
    fn both_languages_say_everything_with_the_same_values() {
        let (english, chinese) = (words(ENGLISH), words(CHINESE));
        assert_eq!(english.keys().collect::<Vec<_>>(), chinese.keys().collect::<Vec<_>>());
        for (key, text) in &english {
            assert_eq!(places(text), places(&chinese[key]), "{key}");
            assert!(!text.is_empty() && !chinese[key].is_empty(), "{key}");
        }
    }

    #[test]
    fn every_text_the_scripts_ask_for_exists() {
        let english = words(ENGLISH);
        let script = SCRIPTS.join("\n");
        // A key that is put together ends with a dot; its parts are in a table of their own.
        let call = regex::Regex::new(r#"\bt\("([a-z_.]+[a-z])""#).unwrap();
        let asked: Vec<&str> =
            call.captures_iter(&script).map(|found| found.get(1).unwrap().as_str()).collect();
        assert!(asked.len() > 60, "{}", asked.len());
        for key in asked {
            assert!(english.contains_key(key), "{key}");
        }
    }

    #[test]
    fn every_kind_of_problem_says_what_to_do() {
        let english = words(ENGLISH);
        for key in english.keys().filter_map(|key| key.strip_prefix("problem.")) {
            assert!(english.contains_key(&format!("advice.{key}")), "{key}");
            assert!(PROBLEMS.contains(&format!("{key}: \"")), "{key} has no rank");
        }
        // Those the instance itself may have, beside those of its clusters.
        let of_instance = ["coordination", "fleet", "discovery", "stopping", "configuration", "restart"];
        for kind in of_instance.into_iter().chain(["journal", "certificate", "versions", "clock"]) {
            assert!(english.contains_key(&format!("problem.{kind}")), "{kind}");
        }
    }

    #[test]
    fn the_scripts_never_parse_markup_and_bring_no_style_of_their_own() {
        let script = SCRIPTS.join("\n");
        for forbidden in
            ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", "</script", "http://"]
        {
            let found = script.replace("http://www.w3.org/2000/svg", "").contains(forbidden);
            assert!(!found, "{forbidden}");
        }
        assert!(!ENGLISH.contains("</") && !CHINESE.contains("</"));
    }

    #[test]
    fn nothing_is_left_to_be_filled_in_and_nothing_is_fetched_from_elsewhere() {
        let Body::Bytes(page) = response(Some("zh")).body else { panic!("not a stream") };
        let page = String::from_utf8(page).unwrap();
        for left in ["{nonce}", "{lang}", "{style}", "{script}"] {
            assert!(!page.contains(left), "{left}");
        }
        assert!(page.starts_with("<!DOCTYPE html>\n<html lang=\"zh-CN\">"));
        let (head, body) = page.split_once("<script").unwrap();
        assert!(!head.contains(" src=") && !body.contains(" src=\""));
        assert_eq!(page.matches("<script").count(), 1);
    }
}
