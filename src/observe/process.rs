//! `process_*` metrics from `/proc/self`, under the names every Prometheus client uses.
//!
//! What cannot be read is left out: a scrape never fails because of it.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

/// Clock ticks a second in `/proc`: Linux fixes this at 100 for user space.
const TICKS: f64 = 100.0;
/// Bytes of a page on the architectures we are packaged for.
const PAGE: f64 = 4096.0;

/// Reads `/proc/self` at each scrape.
#[derive(Debug)]
pub struct ProcessCollector;

impl Collector for ProcessCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let stat = fs::read_to_string("/proc/self/stat").ok().and_then(|text| Stat::parse(&text));
        if let Some(stat) = stat {
            encoder
                .encode_descriptor(
                    "process_cpu_seconds",
                    "User and system CPU time",
                    None,
                    MetricType::Counter,
                )?
                .encode_counter::<NoLabelSet, f64, f64>(&stat.cpu_seconds, None)?;
            let mut gauge = |name, help, value: f64| {
                encoder.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&value)
            };
            gauge("process_resident_memory_bytes", "Resident memory", stat.resident_bytes)?;
            gauge("process_virtual_memory_bytes", "Virtual memory", stat.virtual_bytes)?;
            gauge("process_threads", "Threads", stat.threads)?;
            if let Some(boot) = fs::read_to_string("/proc/stat").ok().and_then(|text| boot_time(&text)) {
                gauge("process_start_time_seconds", "Start, since 1970", boot + stat.start_seconds)?;
            }
            if let Ok(files) = fs::read_dir("/proc/self/fd") {
                // One of them is the directory being read.
                gauge("process_open_fds", "Open files", files.count().saturating_sub(1) as f64)?;
            }
            let limits = fs::read_to_string("/proc/self/limits").ok();
            if let Some(limit) = limits.and_then(|text| open_files_limit(&text)) {
                gauge("process_max_fds", "Most files that may be open", limit)?;
            }
        }
        Ok(())
    }
}

/// What we use of `/proc/self/stat` (proc(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: f64,
    start_seconds: f64,
    virtual_bytes: f64,
    resident_bytes: f64,
}

impl Stat {
    fn parse(text: &str) -> Option<Self> {
        // The name in parentheses may hold spaces and parentheses itself; field 3 follows the last one.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<f64>().ok();
        Some(Self {
            cpu_seconds: (field(14)? + field(15)?) / TICKS,
            threads: field(20)?,
            start_seconds: field(22)? / TICKS,
            virtual_bytes: field(23)?,
            resident_bytes: field(24)? * PAGE,
        })
    }
}

fn boot_time(text: &str) -> Option<f64> {
    text.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()
}

fn open_files_limit(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_name_with_parentheses_and_spaces_does_not_shift_the_fields() {
        let text = "7 (a) (b c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 33 0 1000 4096 2 1 1\n";
        let expected = Stat {
            cpu_seconds: 3.0,
            threads: 33.0,
            start_seconds: 10.0,
            virtual_bytes: 4096.0,
            resident_bytes: 8192.0,
        };
        assert_eq!(Stat::parse(text), Some(expected));
    }

    #[test]
    fn what_makes_no_sense_is_left_out() {
        for text in ["", "1 (x) S", "1 (x) S a b c d e f g h i j k l m n o p q r s t u v"] {
            assert_eq!(Stat::parse(text), None, "{text:?}");
        }
        assert_eq!(boot_time("cpu 1\nbtime 1700000000\n"), Some(1.7e9));
        assert_eq!(open_files_limit("Max open files  1024  4096  files\n"), Some(1024.0));
        assert_eq!(open_files_limit("Max open files  unlimited  unlimited  files\n"), None);
    }
}
