//! How many records of each business, module and cluster there are, block of ids by block of ids.
//!
//! Kept by the writer, in the transaction of the change itself. So half a million index entries are
//! gone through neither to count them nor to find the four hundred thousandth.

use super::Scope;
use crate::container_server::filter::{COUNTED, Group, Sql};
use rusqlite::types::Value as Cell;
use rusqlite::{Connection, ToSql, params, params_from_iter};
use std::collections::HashMap;

/// A block is 4,096 ids in a row: a million records have some 250, and to go through one takes less
/// than a millisecond. The migrations know the number too.
const BLOCK_BITS: u32 = 12;

/// The block of an id.
fn block(id: i64) -> i64 {
    id >> BLOCK_BITS
}

/// The first and the last id of a block.
fn ids(block: i64) -> (i64, i64) {
    let first = block << BLOCK_BITS;
    (first, first | ((1 << BLOCK_BITS) - 1))
}

/// What one transaction adds and takes away.
#[derive(Debug, Default)]
pub struct Counts(HashMap<Kind, i64>);

/// Records that count alike.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Kind {
    account: String,
    biz: i64,
    module: i64,
    cluster: String,
    block: i64,
}

impl Counts {
    /// So many more records like this one; fewer, below zero.
    pub fn add(&mut self, scope: &Scope, id: i64, module: i64, cluster: &str, records: i64) {
        let (account, cluster) = (scope.account.clone(), cluster.to_owned());
        let kind = Kind { account, biz: scope.biz, module, cluster, block: block(id) };
        *self.0.entry(kind).or_default() += records;
    }

    /// Writes it all down. What becomes none leaves no row: ids grow for ever, and so do blocks.
    pub fn write(&self, connection: &Connection) -> rusqlite::Result<()> {
        let mut more = connection.prepare_cached(
            "INSERT INTO pod_block VALUES (?,?,?,?,?,?) ON CONFLICT DO UPDATE SET pods = pods + excluded.pods",
        )?;
        const ROW: &str =
            "field = ?1 AND bk_supplier_account = ?2 AND bk_biz_id = ?3 AND value = ?4 AND block = ?5";
        let mut none =
            connection.prepare_cached(&format!("DELETE FROM pod_block WHERE {ROW} AND pods = ?6"))?;
        let mut fewer =
            connection.prepare_cached(&format!("UPDATE pod_block SET pods = pods + ?6 WHERE {ROW}"))?;
        for (kind, records) in self.0.iter().filter(|(_, records)| **records != 0) {
            let Kind { account, biz, module, cluster, block } = kind;
            let values: [&dyn ToSql; COUNTED.len()] = [biz, module, cluster];
            for (field, value) in COUNTED.iter().zip(values) {
                if *records > 0 {
                    more.execute(params![field, account, biz, value, block, records])?;
                } else if none.execute(params![field, account, biz, value, block, -records])? == 0 {
                    fewer.execute(params![field, account, biz, value, block, records])?;
                }
            }
        }
        Ok(())
    }
}

/// The rows of a group.
fn rows_of(scope: &Scope, group: &Group) -> Sql {
    let mut sql = Sql::default();
    sql.push(
        " FROM pod_block WHERE field = ? AND bk_supplier_account = ? AND bk_biz_id = ? AND ",
        [Cell::Text(group.field.to_owned()), Cell::Text(scope.account.clone()), Cell::Integer(scope.biz)],
    );
    sql.push_in("value", group.values.iter().cloned());
    sql
}

/// Records of a group, but those in the block of `group.after` and before it.
pub fn known(connection: &Connection, scope: &Scope, group: &Group) -> rusqlite::Result<u64> {
    let mut sql = rows_of(scope, group);
    sql.push(" AND block > ?", [Cell::Integer(group.after.map_or(i64::MIN, block))]);
    connection
        .prepare_cached(&format!("SELECT coalesce(sum(pods), 0){}", sql.text))?
        .query_row(params_from_iter(&sql.parameters), |row| row.get(0))
}

/// The last id of the block that [`known`] leaves out.
pub fn last_unknown(after: i64) -> i64 {
    ids(block(after)).1
}

/// Where a page of a group lies.
#[derive(Debug, PartialEq, Eq)]
pub struct Place {
    /// No record of it has a lower id,
    pub first: i64,
    /// and none a higher one.
    pub last: i64,
    /// Records of the group between these ids that come before the page.
    pub skip: u64,
}

/// The place of the page of a group, in the order of ids, that begins after `start` records and has `limit` (0:
/// all that follow); `None` if it has no record.
pub fn place(
    connection: &Connection,
    scope: &Scope,
    group: &Group,
    descending: bool,
    (start, limit): (u64, u64),
) -> rusqlite::Result<Option<Place>> {
    let sql = rows_of(scope, group);
    let order = if descending { " DESC" } else { "" };
    let text = format!("SELECT block, sum(pods){} GROUP BY block ORDER BY block{order}", sql.text);
    let mut select = connection.prepare_cached(&text)?;
    let mut rows = select.query(params_from_iter(&sql.parameters))?;
    let (mut skip, mut there, mut blocks) = (start, 0_u64, None);
    while let Some(row) = rows.next()? {
        let (block, pods): (i64, u64) = (row.get(0)?, row.get(1)?);
        if blocks.is_none() && pods <= skip {
            skip -= pods;
            continue;
        }
        let (begin, _) = *blocks.get_or_insert((block, block));
        blocks = Some((begin, block));
        there += pods;
        if limit > 0 && there >= skip.saturating_add(limit) {
            break;
        }
    }
    Ok(blocks.map(|(begin, end)| Place { first: ids(begin.min(end)).0, last: ids(begin.max(end)).1, skip }))
}

/// All records.
pub fn all(connection: &mut Connection) -> rusqlite::Result<i64> {
    let text = "SELECT coalesce(sum(pods), 0) FROM pod_block WHERE field = 'bk_biz_id'";
    connection.prepare_cached(text)?.query_row([], |row| row.get(0))
}

/// Counts that are not those of the records, in words.
pub fn differences(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    let mut differences = Vec::new();
    for field in COUNTED {
        let mut select = connection.prepare(&format!(
            "SELECT bk_supplier_account, bk_biz_id, CAST(value AS TEXT), block, sum(kept), sum(there) FROM (
                 SELECT bk_supplier_account, bk_biz_id, value, block, pods AS kept, 0 AS there
                     FROM pod_block WHERE field = '{field}'
                 UNION ALL
                 SELECT bk_supplier_account, bk_biz_id, {field}, bk_pod_id >> {BLOCK_BITS}, 0, count(*)
                     FROM pod GROUP BY 1, 2, 3, 4)
             GROUP BY 1, 2, value, 4 HAVING sum(kept) <> sum(there)"
        ))?;
        let line = |row: &rusqlite::Row<'_>| -> rusqlite::Result<String> {
            let (account, biz, value): (String, i64, String) = (row.get(0)?, row.get(1)?, row.get(2)?);
            let ((first, last), kept, there): (_, i64, i64) = (ids(row.get(3)?), row.get(4)?, row.get(5)?);
            Ok(format!(
                "supplier account {account}, business {biz}, {field} {value}, ids {first} to {last}: \
                 {kept} pods counted, {there} there"
            ))
        };
        for difference in select.query_map([], line)? {
            differences.push(difference?);
        }
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container_server::filter::group;
    use crate::container_server::store::schema;
    use serde_json::json;

    /// Module 41 of business 2 has 10 records in block 0, 5 in block 2 and 20 in block 3; module 42 one in block 1.
    fn check(modules: &[i64], descending: bool, page: (u64, u64), wanted: Option<(i64, i64, u64)>) {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&directory.path().join("a.db")).unwrap();
        let scope = Scope { account: "0".to_owned(), biz: 2 };
        let mut counts = Counts::default();
        for (module, block, records) in [(41, 0, 10), (41, 2, 5), (41, 3, 20), (42, 1, 1)] {
            counts.add(&scope, ids(block).0 + 7, module, "c", records);
        }
        counts.write(&connection).unwrap();
        let group = group(2, &json!(null), Some(modules)).unwrap();
        let place = place(&connection, &scope, &group, descending, page).unwrap();
        let found = place.map(|place| (block(place.first), block(place.last), place.skip));
        assert_eq!(found, wanted, "{modules:?} {descending} {page:?}");
    }

    #[test]
    fn a_page_lies_in_the_blocks_that_hold_it_and_no_others() {
        check(&[41], false, (0, 10), Some((0, 0, 0)));
        check(&[41], false, (0, 11), Some((0, 2, 0)));
        check(&[41], false, (9, 1), Some((0, 0, 9)));
        check(&[41], false, (10, 1), Some((2, 2, 0)));
        check(&[41], false, (14, 2), Some((2, 3, 4)));
        check(&[41], false, (34, 500), Some((3, 3, 19)));
        check(&[41], false, (35, 500), None);
        check(&[41], false, (u64::MAX, u64::MAX), None);
        check(&[41], false, (3, u64::MAX), Some((0, 3, 3)));
        check(&[41], false, (12, 0), Some((2, 3, 2)));
        check(&[41], true, (0, 10), Some((3, 3, 0)));
        check(&[41], true, (20, 6), Some((0, 2, 0)));
        check(&[41], true, (35, 1), None);
        check(&[41, 42, 42], false, (10, 1), Some((1, 1, 0)));
        check(&[43], false, (0, 1), None);
        check(&[], false, (0, 1), None);
    }

    #[test]
    fn a_block_begins_where_the_one_before_ends() {
        for id in [i64::MIN, -1, 0, 4095, 4096, i64::MAX] {
            let (first, last) = ids(block(id));
            assert!(first <= id && id <= last && last - first == 4095, "{id}: {first} to {last}");
        }
    }
}
