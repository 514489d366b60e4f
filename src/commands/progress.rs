//! How far a command is: a bar on a terminal, else a plain line now and then. Always on stderr.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

/// Between two plain lines.
const PLAIN: Duration = Duration::from_secs(5);
/// Redraws of a terminal's bar a second.
const REDRAWS: u8 = 10;

/// The progress of one command.
pub(super) struct Progress {
    bar: ProgressBar,
    plain: bool,
    shown: Instant,
    doing: String,
}

impl Progress {
    /// Nothing is shown before the first [`begin`](Self::begin).
    pub(super) fn new() -> Self {
        let plain = !io::stderr().is_terminal();
        let target = match plain {
            true => ProgressDrawTarget::hidden(),
            false => ProgressDrawTarget::stderr_with_hz(REDRAWS),
        };
        let bar = ProgressBar::with_draw_target(None, target);
        Self { bar, plain, shown: Instant::now(), doing: String::new() }
    }

    /// A step begins; `total` is how much there is to do, if that is known.
    pub(super) fn begin(&mut self, doing: String, total: Option<usize>) {
        let template = match total {
            Some(_) => "{msg} [{bar:30}] {pos}/{len}",
            None => "{spinner} {msg} {pos}",
        };
        let style = ProgressStyle::with_template(template).map(|style| style.progress_chars("=> "));
        self.bar.reset();
        self.bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        match total {
            Some(total) => self.bar.set_length(total as u64),
            None => self.bar.unset_length(),
        }
        self.bar.set_message(doing.clone());
        self.doing = doing;
        self.shown = Instant::now();
    }

    /// So much of the step is done.
    pub(super) fn at(&mut self, done: usize) {
        self.bar.set_position(done as u64);
        if self.plain && self.shown.elapsed() >= PLAIN {
            self.shown = Instant::now();
            let of = self.bar.length().map(|total| format!("/{total}")).unwrap_or_default();
            eprintln!("{} {done}{of}", self.doing);
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        self.bar.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_with_and_one_without_an_end_are_shown_alike() {
        let mut progress = Progress::new();
        progress.begin("listing".to_owned(), None);
        progress.at(7);
        assert_eq!((progress.bar.position(), progress.bar.length()), (7, None));
        progress.begin("reading again".to_owned(), Some(3));
        assert_eq!((progress.bar.position(), progress.bar.length()), (0, Some(3)));
        progress.at(3);
        assert_eq!(progress.bar.position(), 3);
    }
}
