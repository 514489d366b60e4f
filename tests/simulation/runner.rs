//! What the program does: seeds, kept cases and mutations, on every core.

use super::chance::Case;
use super::checks::Failed;
use super::mutations::Broken;
use super::shrink::{attempt, shrink, tell};
use super::theme::Theme;
use bcs_bkcmdb_synchronizer::plan::mutation;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

const USAGE: &str = "\
usage: tests/simulate [--seeds N [--from SEED] [--theme THEME]] [--mutations] [--mutation NAME] [--case CASE]

  without arguments   the kept cases, 100,000 seeds and every mutation
  --seeds N           N seeds, from 0 or from --from on
  --theme THEME       of those with this theme only
  --mutations         every rule broken on purpose, and how many seeds it took to notice
  --mutation NAME     one of them, with the shortest run that notices it; with --seeds: how many of those do
  --case CASE         one run, told step by step: SEED, or SEED:STEP,STEP,... as a failure prints it";

/// Runs that failed before, one a line; what follows the case says what it was.
const CASES: &str = include_str!("cases.txt");
const SEEDS: u64 = 100_000;
/// After so many failures further ones tell nothing new.
const ENOUGH: usize = 20;
/// A mutation that so many seeds do not notice is not noticed.
const PATIENCE: u64 = 20_000;

/// What was asked for.
#[derive(Default)]
struct Wanted {
    seeds: Option<u64>,
    from: u64,
    theme: Option<Theme>,
    mutations: bool,
    mutation: Option<Broken>,
    case: Option<Case>,
}

impl Wanted {
    fn range(&self, count: u64) -> Range {
        Range { from: self.from, count, theme: self.theme }
    }
}

/// So many seeds, or so many of a theme.
#[derive(Clone, Copy)]
struct Range {
    from: u64,
    count: u64,
    theme: Option<Theme>,
}

impl Range {
    fn seed(&self, number: u64) -> Option<u64> {
        let number = self.from + number;
        (number < self.from + self.count).then(|| self.theme.map_or(number, |theme| theme.seed(number)))
    }
}

/// Does what the arguments ask for; whether all is well.
pub fn run(arguments: impl Iterator<Item = String>) -> Result<bool, String> {
    let wanted = parse(arguments)?;
    if let Some(case) = wanted.case {
        return Ok(show(&case, wanted.mutation));
    }
    if let (Some(broken), Some(count)) = (wanted.mutation, wanted.seeds) {
        return Ok(rate(broken, wanted.range(count)));
    }
    if let Some(broken) = wanted.mutation {
        return Ok(notice(broken, true).is_some());
    }
    let everything = wanted.seeds.is_none() && !wanted.mutations;
    let mut good = cases();
    if let Some(count) = wanted.seeds.or(everything.then_some(SEEDS)) {
        good &= seeds(wanted.range(count));
    }
    if everything || wanted.mutations {
        good &= mutations();
    }
    Ok(good)
}

fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    let mut wanted = Wanted::default();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE.to_owned());
        let number = |text: String| text.replace(['_', ','], "").parse().map_err(|_| USAGE.to_owned());
        match argument.as_str() {
            "--seeds" => wanted.seeds = Some(number(value()?)?),
            "--from" => wanted.from = number(value()?)?,
            "--theme" => {
                let name = value()?;
                let known = Theme::all().find(|theme| format!("{theme:?}") == name);
                wanted.theme = Some(known.ok_or(format!("there is no theme {name}"))?);
            }
            "--mutations" => wanted.mutations = true,
            "--mutation" => {
                let name = value()?;
                let known = Broken::all().into_iter().find(|broken| broken.name() == name);
                wanted.mutation = Some(known.ok_or(format!("there is no mutation {name}"))?);
            }
            "--case" => wanted.case = Some(value()?.parse()?),
            _ => return Err(USAGE.to_owned()),
        }
    }
    Ok(wanted)
}

/// A line the test runner counts.
fn verdict(name: &str, passed: usize, failed: usize, started: Instant) -> bool {
    let word = if failed == 0 { "ok" } else { "FAILED" };
    let took = started.elapsed().as_secs_f64();
    println!("{name}: {took:.1} s");
    println!("test result: {word}. {passed} passed; {failed} failed; 0 ignored");
    failed == 0
}

/// Whether nothing fails in this part; shows it in any case.
fn show(case: &Case, broken: Option<Broken>) -> bool {
    mutation::switch(broken.and_then(Broken::core));
    match attempt(case, broken) {
        Err(violation) => {
            println!("{}", tell(&Failed { case: case.clone(), violation }, broken));
            false
        }
        Ok(()) => {
            println!("case {case} keeps every promise");
            true
        }
    }
}

fn cases() -> bool {
    let started = Instant::now();
    let lines = CASES.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let (mut passed, mut failed) = (0, 0);
    for line in lines {
        let text = line.split_whitespace().next().unwrap_or_default();
        let good = match text.parse::<Case>() {
            Ok(case) => show(&case, None),
            Err(wrong) => {
                println!("cases.txt: {wrong}");
                false
            }
        };
        passed += usize::from(good);
        failed += usize::from(!good);
    }
    verdict("kept cases", passed, failed, started)
}

/// Runs seeds on every core until all are done or enough have failed.
fn seeds(range: Range) -> bool {
    let started = Instant::now();
    let (next, failures) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    on_every_core(|| {
        while let Some(seed) = range.seed(next.fetch_add(1, Relaxed)) {
            if failures.lock().len() >= ENOUGH {
                return;
            }
            let case = Case::of(seed);
            if let Err(violation) = attempt(&case, None) {
                println!("seed {seed} breaks rule {}: {}", violation.rule, violation.what);
                failures.lock().push(Failed { case, violation });
            }
        }
    });
    let failures = failures.into_inner();
    let failed = failures.len();
    if let Some(first) = failures.into_iter().min_by_key(|failed| failed.case.seed) {
        println!("{}", tell(&shrink(first, None), None));
    }
    let Range { from, count, theme } = range;
    let theme = theme.map_or(String::new(), |theme| format!(" with theme {theme:?}"));
    verdict(&format!("{count} seeds{theme} from {from} on"), usize::from(failed == 0), failed, started)
}

fn mutations() -> bool {
    let started = Instant::now();
    let all = Broken::all();
    let next = AtomicU64::new(0);
    let work = || {
        let mut missed = 0;
        while let Some(broken) = all.get(next.fetch_add(1, Relaxed) as usize) {
            match notice(*broken, false) {
                Some(seeds) => {
                    let theme = broken.theme().map_or(String::new(), |theme| format!(" of theme {theme:?}"));
                    println!("mutation {}: noticed after {seeds} seeds{theme}", broken.name());
                }
                None => {
                    println!("mutation {}: NOT NOTICED in {PATIENCE} seeds", broken.name());
                    missed += 1;
                }
            }
        }
        missed
    };
    let missed = on_every_core(work).into_iter().sum();
    verdict("mutations", all.len() - missed, missed, started)
}

/// After how many seeds a broken rule is noticed.
fn notice(broken: Broken, told: bool) -> Option<usize> {
    mutation::switch(broken.core());
    let range = Range { from: 0, count: PATIENCE, theme: broken.theme() };
    let seeds = (0..).map_while(|number| range.seed(number));
    let found = seeds.enumerate().find_map(|(number, seed)| {
        let case = Case::of(seed);
        let violation = attempt(&case, Some(broken)).err()?;
        Some((number + 1, Failed { case, violation }))
    });
    let seeds = found.as_ref().map(|(seeds, _)| *seeds);
    if let Some((_, failed)) = found.filter(|_| told) {
        println!("{}", tell(&shrink(failed, Some(broken)), Some(broken)));
    }
    mutation::switch(None);
    seeds
}

/// How many seeds of each theme notice a broken rule; whether any does.
fn rate(broken: Broken, range: Range) -> bool {
    let next = AtomicU64::new(0);
    let work = || {
        mutation::switch(broken.core());
        let mut rates: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        while let Some(seed) = range.seed(next.fetch_add(1, Relaxed)) {
            let (noticed, seeds) = rates.entry(format!("{:?}", Theme::of(seed))).or_default();
            *noticed += usize::from(attempt(&Case::of(seed), Some(broken)).is_err());
            *seeds += 1;
        }
        rates
    };
    let mut total: BTreeMap<String, (usize, usize)> = BTreeMap::new();
    for (theme, (noticed, seeds)) in on_every_core(work).into_iter().flatten() {
        let sum = total.entry(theme).or_default();
        *sum = (sum.0 + noticed, sum.1 + seeds);
    }
    for (theme, (noticed, seeds)) in &total {
        println!("{}, theme {theme}: noticed by {noticed} of {seeds} seeds", broken.name());
    }
    total.values().any(|(noticed, _)| *noticed > 0)
}

fn on_every_core<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        let spawn = |n| std::thread::Builder::new().name(format!("seeds {n}")).spawn_scoped(scope, &work);
        let workers: Vec<_> = (0..cores).filter_map(|n| spawn(n).ok()).collect();
        workers.into_iter().filter_map(|worker| worker.join().ok()).collect()
    })
}
