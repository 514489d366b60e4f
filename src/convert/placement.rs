//! Which module of the business a pod belongs to.

use super::Settings;
use super::read::Texts;
use crate::model::Modules;

/// Annotation with the name of the set.
const SET: &str = "set.bkcmdb.bkbcs.tencent.com";
/// Annotation with the name of the module in that set.
const MODULE: &str = "module.bkcmdb.bkbcs.tencent.com";

/// The module both annotations name; if one is missing or the business has no such module, the
/// default one; 0 if the business does not have that either, and then the pod cannot be recorded.
pub(super) fn module_id(modules: &Modules, annotations: &Texts<'_>, settings: &Settings) -> i64 {
    let named = || modules.id(annotations.get(SET)?, annotations.get(MODULE)?);
    named().or_else(|| modules.id(&settings.default_set, &settings.default_module)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::read::Fill;
    use serde::de::DeserializeSeed;

    fn check(annotations: &str, expected: i64) {
        let mut modules = Modules::default();
        modules.insert("game", "login", 41);
        modules.insert("game", "chat", 42);
        modules.insert("pool", "idle", 7);
        let settings = Settings {
            cloud_id: 0,
            time_zone: jiff::tz::TimeZone::UTC,
            text_limit: 0,
            default_set: "pool".into(),
            default_module: "idle".into(),
        };
        let mut texts = Texts::default();
        Fill(&mut texts).deserialize(&mut serde_json::Deserializer::from_str(annotations)).unwrap();
        assert_eq!(module_id(&modules, &texts, &settings), expected, "{annotations}");
        let nowhere = if expected == 7 { 0 } else { expected };
        let settings = Settings { default_set: "gone".into(), ..settings };
        assert_eq!(module_id(&modules, &texts, &settings), nowhere, "{annotations}, no default");
    }

    #[test]
    fn both_annotations_must_name_a_module_else_the_default_counts() {
        check(
            r#"{"module.bkcmdb.bkbcs.tencent.com":"chat","a":"b","set.bkcmdb.bkbcs.tencent.com":"game"}"#,
            42,
        );
        check(r#"{"module.bkcmdb.bkbcs.tencent.com":"login","set.bkcmdb.bkbcs.tencent.com":"game"}"#, 41);
        check(r#"{"module.bkcmdb.bkbcs.tencent.com":"idle","set.bkcmdb.bkbcs.tencent.com":"game"}"#, 7);
        check(r#"{"module.bkcmdb.bkbcs.tencent.com":"login"}"#, 7);
        check(r#"{"set.bkcmdb.bkbcs.tencent.com":"game"}"#, 7);
        check(r#"{"module.bkcmdb.bkbcs.tencent.com":"","set.bkcmdb.bkbcs.tencent.com":""}"#, 7);
        check(r#"{"module.bkcmdb.bkbcs.tencent.com":["login"],"set.bkcmdb.bkbcs.tencent.com":"game"}"#, 7);
        check("{}", 7);
        check("null", 7);
    }
}
