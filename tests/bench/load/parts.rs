//! Parts of the program inside this process: reading a listing, what the ledger takes, the binary.

use super::cases;
use super::document::{Pod, Templates, cluster_id, converter};
use super::program::program;
use super::report::Reach::{AtLeast, AtMost, Told};
use super::report::{Figure, Section};
use super::storage::Storage;
use bcs_bkcmdb_synchronizer::config::BaseUrl;
use bcs_bkcmdb_synchronizer::http::RequestStats;
use bcs_bkcmdb_synchronizer::model::{ClusterKind, Modules, Observation};
use bcs_bkcmdb_synchronizer::plan::{Fingerprinter, Ledger, Moment, Source};
use bcs_bkcmdb_synchronizer::storage::{Client, Settings, StaticAddresses};
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::sync::Arc;
use std::time::Duration;

/// Listings of whole documents, parsed and converted by one thread.
pub fn listing(short: bool) -> Section {
    let most = if short { 10_000 } else { 100_000 };
    let (small, large) = (Listed::of(1_000), Listed::of(most));
    let each = |listed: &Listed| listed.cpu.as_secs_f64() * 1e6 / f64::from(listed.pods);
    let rate = |listed: &Listed| listed.bytes / listed.cpu.as_secs_f64() / 1e6;
    Section {
        title: "One listing of whole documents: receive, split, parse, convert, on one core".to_owned(),
        figures: vec![
            Figure::new("bytes of a document", large.bytes / f64::from(large.pods), "", Told),
            Figure::new("1,000 pods", rate(&small), "MB/s", AtLeast(300.0)),
            Figure::new(&format!("{most} pods"), rate(&large), "MB/s", AtLeast(300.0)),
            Figure::new("time per pod, 1,000 pods", each(&small), "µs", Told),
            Figure::new(&format!("time per pod, {most} pods"), each(&large), "µs", Told),
            Figure::new("growth of the time per pod", each(&large) / each(&small), "×", AtMost(1.2)),
        ],
    }
}

/// A listing that was read to its end.
struct Listed {
    pods: u32,
    bytes: f64,
    /// Time on a core of the thread that read it.
    cpu: Duration,
}

impl Listed {
    /// The best of some: whatever else runs only adds. A try takes as many listings as it takes to read
    /// as many pods, so that none is luckier for being short.
    fn of(pods: u32) -> Self {
        let (storage, address) = Storage::start(1, pods);
        let (size, _) = storage.document_sizes();
        let base = BaseUrl { origin: format!("http://{address}"), prefix: String::new() };
        let settings = Settings {
            page_size: 500,
            timeout: Duration::from_secs(30),
            watch_idle_timeout: Duration::from_secs(30),
            list_concurrency: 1,
        };
        let addresses = Arc::new(StaticAddresses::new(vec![base]));
        let client = Client::new(addresses, None, settings, Arc::new(RequestStats::default()));
        let listings = (100_000 / pods).max(1);
        let read = |_| (0..listings).map(|_| read_all(&client, pods)).sum::<Duration>() / listings;
        let cpu = (0..5).map(read).min().unwrap_or_default();
        Self { pods, bytes: size as f64 * f64::from(pods), cpu }
    }
}

fn read_all(client: &Client, pods: u32) -> Duration {
    let (converter, modules) = (converter(), Modules::default());
    let before = thread_time();
    let mut listing = client.listing(&cluster_id(0), ClusterKind::K8s, "").expect("a place");
    let mut seen = 0;
    let mut on_document = |document: &[u8]| {
        seen += u32::from(matches!(converter.document(document, &modules), Ok(Observation::Pod(_))));
    };
    while listing.next_page(&mut on_document).expect("a page").is_some() {}
    assert_eq!(seen, pods);
    thread_time() - before
}

/// What is done for each pod or byte, each by itself; `cargo bench --bench micro` knows their spread.
pub fn smallest() -> Section {
    const ROUNDS: u32 = 200;
    let time = |case: &mut cases::Case| {
        let before = thread_time();
        (0..ROUNDS).for_each(|_| case());
        (thread_time() - before) / ROUNDS
    };
    let figure = |(name, case): cases::Named| {
        let mut case = case();
        // The best of some: whatever else runs only adds.
        let best = (0..50).map(|_| time(&mut case)).min().unwrap_or_default();
        Figure::new(name, best.as_secs_f64() * 1e6, "µs", Told)
    };
    Section {
        title: "Smallest parts: eight events of 6 KB split, one converted, its record hashed, compared"
            .to_owned(),
        figures: cases::ALL.map(figure).into(),
    }
}

fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// What the ledger takes per pod, with what the allocator adds.
pub fn ledger() -> Section {
    const PODS: u32 = 100_000;
    let (templates, converter, modules) = (Templates::new(), converter(), Modules::default());
    let prints = Fingerprinter::new(1);
    let mut ledger = Ledger::new(prints, 1);
    let mut document = Vec::new();
    let mut add = |ledger: &mut Ledger, number: u32| {
        document.clear();
        templates.projected.render(&Pod { number, alive: true, ..Pod::default() }, &mut document);
        if let Ok(Observation::Pod(pod)) = converter.document(&document, &modules) {
            let (uuid, print) = (pod.record.uuid.clone(), prints.of(&pod.record));
            ledger.observe(*pod, Source::Listing, None, Moment::ZERO);
            ledger.written(&uuid, print, false);
        }
    };
    // The first ones warm up what is kept for good.
    (0..100).for_each(|number| add(&mut ledger, number));
    let before = resident();
    (100..PODS).for_each(|number| add(&mut ledger, number));
    let per_pod = (resident() - before) as f64 / f64::from(PODS - 100);
    assert_eq!(ledger.counts().storage, PODS as usize);
    Section {
        title: "Ledger".to_owned(),
        figures: vec![Figure::new("resident memory per pod", per_pod, "bytes", AtMost(300.0))],
    }
}

fn resident() -> u64 {
    const PAGE: u64 = 4096;
    let statm = fs::read_to_string("/proc/self/statm").expect("Linux");
    PAGE * statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).expect("a number of pages")
}

/// The file that is shipped.
pub fn binary() -> Section {
    let size = fs::metadata(program()).expect("the program was built").len() as f64 / 1e6;
    Section {
        title: "Release binary".to_owned(),
        figures: vec![Figure::new("stripped", size, "MB", AtMost(12.0))],
    }
}
