//! The command `sandbox`: start everything, let it churn, then ask the judge.

use super::Options;
use super::progress::Progress;
use super::verdict::Verdict;
use super::world::World;
use crate::convert::Settings;
use crate::service::Service;
use crate::sync::snapshot::StatusSource;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Between two looks at the clock; changes due meanwhile happen together.
const TICK: Duration = Duration::from_millis(50);
/// How long both sides may take to become equal after the last change: a settle interval, a
/// periodic full sync of the sandbox, and some patience.
const SETTLE: Duration = Duration::from_secs(90);
/// Between two verdicts.
const JUDGE_INTERVAL: Duration = Duration::from_millis(500);

/// Runs the sandbox until its time is over or a signal comes, and prints the verdict. Returns the
/// exit code: 0 only if both sides are equal.
pub fn run(options: &Options) -> i32 {
    match sandbox(options) {
        Ok(equal) => i32::from(!equal),
        Err(error) => {
            eprintln!("sandbox: {error}");
            1
        }
    }
}

fn sandbox(options: &Options) -> Result<bool, String> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGTERM, SIGINT] {
        signal_hook::flag::register(signal, interrupted.clone())
            .map_err(|error| format!("signals cannot be caught: {error}"))?;
    }
    let mut world = World::start(options)?;
    let config = world.synchronizer_config(options)?;
    let settings = Settings::from(&config);
    let service = Service::start(config).map_err(|error| format!("synchronizer: {error}"))?;
    say(&addresses(&world, &service));
    let source = service.source();
    let mut progress = Progress::new();
    churn(&mut world, options, &interrupted, &*source, &mut progress)?;
    // From here on a further signal means: no more patience.
    interrupted.store(false, Ordering::SeqCst);
    let verdict = settle(&world, &settings, &interrupted, &*source, &mut progress);
    progress.end();
    service.stop();
    let verdict = verdict?;
    say(&report(&world, &verdict));
    Ok(verdict.is_equal())
}

/// What there is to open.
fn addresses(world: &World, service: &Service) -> String {
    format!(
        "status page      http://{}/\n\
         metrics          http://{}/metrics\n\
         container server {}\n\
         bcs-storage      {} (simulated)\n\
         paas-cc          {} (simulated)\n\
         database         {}\n\
         Ctrl-C ends with a verdict.",
        service.status_addr(),
        service.metric_addr(),
        world.cmdb_url(),
        world.storage_url(),
        world.paas_url(),
        world.directory().display(),
    )
}

/// Lets things happen at the asked rate until the time is over or a signal comes.
fn churn(
    world: &mut World,
    options: &Options,
    interrupted: &AtomicBool,
    source: &dyn StatusSource,
    progress: &mut Progress,
) -> Result<(), String> {
    let started = Instant::now();
    let over = |elapsed: Duration| options.seconds.is_some_and(|seconds| elapsed.as_secs() >= seconds);
    let mut done = 0;
    while !interrupted.load(Ordering::SeqCst) && !over(started.elapsed()) {
        let due = (started.elapsed().as_millis() * u128::from(options.churn) / 1000) as u64;
        // A machine too slow for the rate gets what it can do in a tick.
        let tick = Instant::now();
        while done < due && tick.elapsed() < TICK {
            world.step()?;
            done += 1;
        }
        progress.show("churning", started.elapsed(), done, || source.status());
        std::thread::sleep(TICK.saturating_sub(tick.elapsed()));
    }
    Ok(())
}

/// Judges until both sides are equal, the patience is over, or a signal comes.
fn settle(
    world: &World,
    settings: &Settings,
    interrupted: &AtomicBool,
    source: &dyn StatusSource,
    progress: &mut Progress,
) -> Result<Verdict, String> {
    let started = Instant::now();
    loop {
        let last = started.elapsed() >= SETTLE || interrupted.load(Ordering::SeqCst);
        let verdict = world.verdict(settings, |cluster| source.rejected(cluster).unwrap_or_default());
        if last || verdict.as_ref().is_ok_and(Verdict::is_equal) {
            return verdict;
        }
        progress.show("settling", started.elapsed(), 0, || source.status());
        std::thread::sleep(JUDGE_INTERVAL);
    }
}

fn report(world: &World, verdict: &Verdict) -> String {
    let replaced = world.workload.replaced();
    let mut report = format!("pods read {}, replaced by a later one {replaced}", world.read);
    if !world.unreadable.is_empty() {
        report += &format!(", entries that are no pods {}", world.unreadable.len());
    }
    for entry in world.unreadable.iter().take(20) {
        report += &format!("\nno pod: entry {}: {}", entry.number, entry.reason);
    }
    for (reason, count) in &verdict.reasons {
        report += &format!("\n{count} {reason}");
    }
    format!("{report}\n{verdict}")
}

/// Prints lines; a reader that went away has seen enough.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
