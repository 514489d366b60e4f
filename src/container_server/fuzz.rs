//! What must hold for any query of a list call (protocol.md 2).

#![allow(clippy::expect_used)] // Called by tests and fuzzers only.

use super::fields;
use super::filter::{filter as translate, order, projection};
use rusqlite::Connection;

thread_local! {
    /// A table with the columns of the field table.
    static DATABASE: Connection = {
        let connection = Connection::open_in_memory().expect("a database in memory");
        let columns: Vec<&str> = fields::columns().map(|field| field.name).collect();
        let table = format!("CREATE TABLE pod ({})", columns.join(","));
        connection.execute_batch(&table).expect("the table");
        connection
    };
}

/// A filter, or a sort order where the bytes are no JSON: refused, or SQL that the database takes, with
/// a value for each of its places and nothing in it that the caller wrote.
pub fn filter(data: &[u8]) {
    let Ok(query) = serde_json::from_slice(data) else {
        let Ok(sort) = std::str::from_utf8(data) else { return };
        let _ = projection(&[sort.to_owned()]);
        if let Ok(order) = order(sort) {
            check("1", &order, 0);
        }
        return;
    };
    if let Ok(sql) = translate(&query) {
        check(&sql.text, "bk_pod_id", sql.parameters.len());
    }
}

fn check(condition: &str, order: &str, parameters: usize) {
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b" _(),?=<>-".contains(&byte);
    assert!(condition.bytes().chain(order.bytes()).all(harmless), "{condition} ORDER BY {order}");
    let text = format!("SELECT * FROM pod WHERE {condition} ORDER BY {order}");
    let places = DATABASE.with(|database| database.prepare(&text).map(|query| query.parameter_count()));
    assert_eq!(places, Ok(parameters), "{text}");
}
