//! How many clusters move, and how evenly they lie, beside two well known ways to place them.
//!
//! `cargo bench --bench assignment` prints a table for a fleet of ten that loses a worker in the
//! middle and gains one, the time one decision takes for 10,000 clusters on 50 workers, and the
//! sizes of the workers' nodes.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a measurement fails by panicking

use bcs_bkcmdb_synchronizer::assignment::{Fleet, Placement, Presence, assign, bound, score};
use bcs_bkcmdb_synchronizer::coordination::layout::{ClusterNode, encode_worker};
use std::collections::BTreeMap;
use std::time::Instant;

/// A way to place clusters: from the clusters, the workers and the placement so far.
type Rule = for<'a> fn(&'a [String], &[&'a str], &Placement<'a>) -> Placement<'a>;

fn main() {
    let rules: [(&str, Rule); 3] = [
        ("bounded, staying (ours)", ours),
        ("plain rendezvous hashing", rendezvous),
        ("jump hash, sorted addresses", jump),
    ];
    println!("1000 clusters on 10 workers, figures after each change\n");
    println!(
        "{:<28} {:>8} {:>12} {:>12} {:>12} {:>12}",
        "", "max load", "leave moves", "max load", "join moves", "max load"
    );
    for (name, rule) in rules {
        row(name, rule);
    }
    println!(
        "{:<28} {:>8} {:>12} {:>12} {:>12} {:>12}",
        "promised at most",
        bound(1000, 10),
        "its own",
        bound(1000, 9),
        91,
        bound(1000, 11)
    );
    large();
}

fn row(name: &str, rule: Rule) {
    let (clusters, workers) = (clusters(1000), addresses(11));
    let ten: Vec<&str> = workers[..10].iter().map(String::as_str).collect();
    let nine: Vec<&str> = ten.iter().copied().filter(|worker| *worker != ten[4]).collect();
    let eleven: Vec<&str> = workers.iter().map(String::as_str).collect();
    let before = rule(&clusters, &ten, &Placement::new());
    let left = rule(&clusters, &nine, &before);
    let joined = rule(&clusters, &eleven, &before);
    println!(
        "{name:<28} {:>8} {:>12} {:>12} {:>12} {:>12}",
        max_load(&before),
        moved(&before, &left),
        max_load(&left),
        moved(&before, &joined),
        max_load(&joined)
    );
}

fn large() {
    let (clusters, workers) = (clusters(10_000), addresses(50));
    let all: Vec<&str> = workers.iter().map(String::as_str).collect();
    let timed = |what: &str, workers: &[&str], before: &Placement<'_>| {
        let start = Instant::now();
        let placement = ours(&clusters, workers, before);
        println!(
            "{what:<42} {:>8.1} ms, max load {}",
            start.elapsed().as_secs_f64() * 1e3,
            max_load(&placement)
        );
    };
    println!("\n10,000 clusters on 50 workers");
    timed("a new fleet", &all, &Placement::new());
    let placed = ours(&clusters, &all, &Placement::new());
    timed("nothing changed", &all, &placed);
    timed("one worker is gone", &all[1..], &placed);
    let sizes: BTreeMap<&str, usize> =
        all.iter().map(|worker| (*worker, node_size(&placed, worker))).collect();
    println!(
        "nodes of workers: {} to {} bytes",
        sizes.values().min().unwrap(),
        sizes.values().max().unwrap()
    );
}

fn ours<'a>(clusters: &'a [String], workers: &[&'a str], before: &Placement<'a>) -> Placement<'a> {
    assign(&Fleet {
        clusters: clusters.iter().map(String::as_str).collect(),
        workers: workers.iter().map(|worker| (*worker, Presence::Alive)).collect(),
        current: before.clone(),
        limit: usize::MAX,
    })
}

fn rendezvous<'a>(clusters: &'a [String], workers: &[&'a str], _: &Placement<'a>) -> Placement<'a> {
    let best = |cluster: &str| *workers.iter().max_by_key(|worker| score(cluster, worker)).unwrap();
    clusters.iter().map(|cluster| (cluster.as_str(), best(cluster))).collect()
}

/// Lamping and Veach's consistent hash: buckets are positions in the sorted list.
fn jump<'a>(clusters: &'a [String], workers: &[&'a str], _: &Placement<'a>) -> Placement<'a> {
    let mut sorted = workers.to_vec();
    sorted.sort_unstable();
    let bucket = |cluster: &str| {
        let (mut key, mut bucket, mut next) = (score(cluster, ""), 0_u64, 0_u64);
        while next < sorted.len() as u64 {
            bucket = next;
            key = key.wrapping_mul(2_862_933_555_777_941_757).wrapping_add(1);
            let spread = (1_u64 << 31) as f64 / ((key >> 33) + 1) as f64;
            next = ((bucket + 1) as f64 * spread) as u64;
        }
        sorted[bucket as usize]
    };
    clusters.iter().map(|cluster| (cluster.as_str(), bucket(cluster))).collect()
}

fn clusters(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("BCS-K8S-{:05}", 15_000 + index)).collect()
}

fn addresses(count: usize) -> Vec<String> {
    (0..count).map(|index| format!("10.0.{}.{}:8080", index / 7, 11 + 13 * (index % 7))).collect()
}

fn moved(before: &Placement<'_>, after: &Placement<'_>) -> usize {
    before.iter().filter(|(cluster, worker)| after.get(*cluster) != Some(worker)).count()
}

fn max_load(placement: &Placement<'_>) -> usize {
    let mut loads: BTreeMap<&str, usize> = BTreeMap::new();
    placement.values().for_each(|worker| *loads.entry(worker).or_default() += 1);
    loads.into_values().max().unwrap_or(0)
}

/// Bytes of the node of a worker, with ids and projects as long as real ones.
fn node_size(placement: &Placement<'_>, worker: &str) -> usize {
    let entry = |cluster: &str| ClusterNode {
        projectid: "b37778ec757544868a01e1f01f07037f".to_owned(),
        clusterid: cluster.to_owned(),
        bk_biz_id: 100_148,
        kind: "k8s".to_owned(),
        ..ClusterNode::default()
    };
    let list: Vec<ClusterNode> =
        placement.iter().filter(|(_, other)| **other == worker).map(|(cluster, _)| entry(cluster)).collect();
    encode_worker(&list).len()
}
