//! `check-config`: whether the configuration is good, and with `--connect` whether every peer is.

use super::connect::{Finding, ask_peers};
use super::{GOOD, log_level, print};
use crate::cli::{CheckArgs, Output};
use crate::config::{Config, Loaded, Problems, printable};
use crate::logging;
use serde::Serialize;

/// What `check-config` came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckOutcome {
    /// The configuration is good, and so is every peer that was asked.
    Good,
    /// The configuration is good, and a peer is not, or the result could not be written.
    Failed,
    /// The configuration is not good.
    Bad,
}

/// The whole result.
#[derive(Debug, Default, Serialize)]
struct Report {
    ok: bool,
    problems: Vec<ProblemReport>,
    /// One sentence each, beginning with the key.
    warnings: Vec<String>,
    /// Those that were asked.
    peers: Vec<Finding>,
}

/// One thing that is wrong with the configuration.
#[derive(Debug, Serialize)]
struct ProblemReport {
    /// The key; empty if it is about the whole.
    key: String,
    reason: String,
    given: Option<String>,
    /// Where it was given.
    origin: Option<String>,
}

/// `check-config`, of what loading the configuration came to.
pub fn check_config(loaded: Result<Loaded<Config>, Problems>, flags: &CheckArgs) -> CheckOutcome {
    let (outcome, report) = match loaded {
        Err(problems) => {
            eprintln!("{problems}");
            (CheckOutcome::Bad, Report { problems: reports(problems), ..Report::default() })
        }
        Ok(Loaded { config, warnings }) => {
            for warning in &warnings {
                eprintln!("warning: {warning}");
            }
            let peers = match flags.connect {
                true => {
                    logging::start(log_level(config.v));
                    ask_peers(&config)
                }
                false => Vec::new(),
            };
            let ok = peers.iter().all(|finding| finding.ok);
            let outcome = if ok { CheckOutcome::Good } else { CheckOutcome::Failed };
            (outcome, Report { ok, problems: Vec::new(), warnings, peers })
        }
    };
    let shown = outcome != CheckOutcome::Bad || flags.output == Output::Json;
    let printed = !shown || print(flags.output, &report, || report.to_text(), GOOD) == GOOD;
    if outcome == CheckOutcome::Good && !printed { CheckOutcome::Failed } else { outcome }
}

fn reports(problems: Problems) -> Vec<ProblemReport> {
    let report = |problem: crate::config::Problem| ProblemReport {
        key: problem.key,
        reason: problem.reason,
        given: problem.given,
        origin: problem.origin.map(|origin| origin.to_string()),
    };
    problems.0.into_iter().map(report).collect()
}

impl Report {
    /// Of a configuration that is good.
    fn to_text(&self) -> String {
        let line = |Finding { peer, address, ok, message }: &Finding| {
            let word = if *ok { "ok    " } else { "FAILED" };
            printable(&format!("{word} {peer} {address}: {message}")) + "\n"
        };
        let end = match (self.peers.is_empty(), self.ok) {
            (true, _) => "configuration is good\n",
            (false, true) => "configuration is good, and so is every peer\n",
            (false, false) => "configuration is good, but not every peer is\n",
        };
        self.peers.iter().map(line).collect::<String>() + end
    }
}
