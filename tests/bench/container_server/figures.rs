//! How figures are taken and printed.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

/// A Markdown table that grows as the figures come in. The last column is the processor time of
/// server and callers together since the row before: what a busy machine does not distort.
pub struct Table {
    processor: Duration,
    misses: Vec<String>,
    notes: Vec<String>,
}

/// What a figure should be.
#[derive(Clone, Copy)]
pub enum Wanted {
    /// It is told, and not judged.
    Nothing,
    /// So many a second, or more.
    Rate(u32),
    /// So many milliseconds, or less.
    Milliseconds(u64),
}

impl Table {
    /// Prints the head.
    pub fn new(pods: usize) -> Self {
        println!("| with {pods} pods stored | wanted | measured | met | processor |\n|---|---|---|---|---|");
        Self { processor: processor_time(), misses: Vec::new(), notes: Vec::new() }
    }

    /// Prints a row that is not judged.
    pub fn row(&mut self, what: &str, measured: &str) {
        self.print(what, "", measured, "");
    }

    /// Prints so many things done in `time`.
    pub fn rate(&mut self, what: &str, wanted: Wanted, things: usize, time: Duration) {
        let rate = things as f64 / time.as_secs_f64();
        let met = !matches!(wanted, Wanted::Rate(least) if rate < f64::from(least));
        self.judge(what, wanted, &format!("{rate:.0}/s"), met);
    }

    /// Prints what most calls took, and what one in a hundred exceeded: that is judged.
    pub fn times(&mut self, what: &str, wanted: Wanted, times: &mut [Duration]) {
        let (median, slow) = (percentile(times, 50), percentile(times, 99));
        let met = !matches!(wanted, Wanted::Milliseconds(most) if slow > Duration::from_millis(most));
        self.judge(what, wanted, &format!("{}, p99 {}", milliseconds(median), milliseconds(slow)), met);
    }

    /// Keeps what is told below the table.
    pub fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Ends the table: whether every figure is what it should be; those that are not are named.
    pub fn end(self) -> bool {
        for note in &self.notes {
            eprintln!("{note}");
        }
        for miss in &self.misses {
            eprintln!("missed: {miss}");
        }
        self.misses.is_empty()
    }

    fn judge(&mut self, what: &str, wanted: Wanted, measured: &str, met: bool) {
        let wanted = match wanted {
            Wanted::Nothing => String::new(),
            Wanted::Rate(least) => format!("{least}/s"),
            Wanted::Milliseconds(most) => format!("p99 {most} ms"),
        };
        let word = match (wanted.is_empty(), met) {
            (true, _) => "",
            (_, true) => "yes",
            (_, false) => "**no**",
        };
        self.print(what, &wanted, measured, word);
        if !met {
            self.misses.push(format!("{what}: {measured}, wanted {wanted}"));
        }
    }

    fn print(&mut self, what: &str, wanted: &str, measured: &str, met: &str) {
        let now = processor_time();
        let spent = now.saturating_sub(self.processor).as_secs_f64();
        println!("| {what} | {wanted} | {measured} | {met} | {spent:.1} s |");
        self.processor = now;
    }
}

/// One decimal is what a shared machine is good for.
pub fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

/// The time that so many percent of the calls did not exceed.
pub fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() * percent / 100).min(times.len() - 1)]
}

/// A thread that asks to sleep for a millisecond, again and again: what the machine makes of that is
/// the least that any call can be held up.
pub struct Lateness {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Duration>>,
}

impl Lateness {
    /// Starts it.
    pub fn watch() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let nap = Duration::from_millis(1);
        let thread = std::thread::spawn(move || {
            let mut times = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let begin = Instant::now();
                std::thread::sleep(nap);
                times.push(begin.elapsed().saturating_sub(nap));
            }
            times
        });
        Self { stop, thread }
    }

    /// Ends it, and prints the lateness that one in a hundred naps exceeded, and the most.
    pub fn tell(self, table: &mut Table) {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = self.thread.join().unwrap();
        let (slow, most) = (percentile(&mut times, 99), percentile(&mut times, 100));
        let late = format!("p99 {}, most {}", milliseconds(slow), milliseconds(most));
        table.row("meanwhile a thread that only sleeps wakes up late", &late);
    }
}

/// What may have held this process up, as the kernel has counted it so far.
pub struct Held {
    processor: Duration,
    /// Of each thread, by its directory.
    queued: HashMap<PathBuf, Duration>,
    disk: u64,
}

impl Held {
    /// Up to now.
    pub fn now() -> Self {
        let threads = fs::read_dir("/proc/self/task").unwrap().map(|thread| thread.unwrap().path());
        // A thread that has ended meanwhile is nobody's.
        let queued = |thread: PathBuf| {
            let account = fs::read_to_string(thread.join("schedstat")).ok()?;
            Some((thread, Duration::from_nanos(account.split(' ').nth(1)?.parse().ok()?)))
        };
        let processor = Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap();
        Self { processor, queued: threads.filter_map(queued).collect(), disk: read_from_disk() }
    }

    /// What there was of each since, in words.
    pub fn since(&self) -> String {
        let now = Self::now();
        let before = |thread| self.queued.get(thread).copied().unwrap_or_default();
        let queued = now.queued.iter().map(|(thread, queued)| queued.saturating_sub(before(thread))).sum();
        let (processor, disk) = (now.processor - self.processor, (now.disk - self.disk) / 1000);
        let (processor, queued) = (milliseconds(processor), milliseconds(queued));
        format!("{processor} on a processor, {queued} waiting for one, {disk} KB read from the disk")
    }
}

/// The most memory this process has had, bytes.
pub fn peak_memory() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes this process has had read from a disk because the system's cache did not have them.
pub fn read_from_disk() -> u64 {
    let account = fs::read_to_string("/proc/self/io").unwrap();
    account.lines().find_map(|line| line.strip_prefix("read_bytes: ")).unwrap().parse().unwrap()
}

/// Processor time of this process, in the kernel too. The kernel counts it in hundredths.
fn processor_time() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields = stat.rsplit_once(") ").unwrap().1.split(' ');
    Duration::from_millis(
        10 * fields.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>(),
    )
}

/// What one flush costs on the disk of `directory`, in words: the floor of every write.
pub fn flush_time(directory: &Path) -> String {
    let path = directory.join("flush");
    let mut file = File::create(&path).unwrap();
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&[1; 16 * 1024]).unwrap();
            file.sync_data().unwrap();
            begin.elapsed()
        })
        .collect();
    fs::remove_file(path).unwrap();
    let (median, slow) = (percentile(&mut times, 50), percentile(&mut times, 99));
    format!("One flush of 16 KiB to this disk: median {}, p99 {}.", milliseconds(median), milliseconds(slow))
}
