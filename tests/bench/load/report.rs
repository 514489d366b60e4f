//! Figures beside what they should reach, as a table for people and for RESULTS.md.

use std::fmt::Write;
use std::fs;
use std::io;
use std::process::Command;

/// What a run writes stands between these lines of the file; the words around them stay.
const BEGIN: &str = "<!-- load: begin -->\n";
const END: &str = "<!-- load: end -->";

/// How a figure is judged.
#[derive(Clone, Copy)]
pub enum Reach {
    /// At most so much.
    AtMost(f64),
    /// At least so much.
    AtLeast(f64),
    /// It is only told.
    Told,
}

/// One measured figure.
pub struct Figure {
    pub name: String,
    pub value: f64,
    pub unit: &'static str,
    pub reach: Reach,
}

impl Figure {
    pub fn new(name: &str, value: f64, unit: &'static str, reach: Reach) -> Self {
        Self { name: name.to_owned(), value, unit, reach }
    }

    fn met(&self) -> Option<bool> {
        match self.reach {
            Reach::AtMost(limit) => Some(self.value <= limit),
            Reach::AtLeast(limit) => Some(self.value >= limit),
            Reach::Told => None,
        }
    }

    fn cells(&self) -> [String; 4] {
        let reach = match self.reach {
            Reach::AtMost(limit) => format!("≤ {}", quantity(limit, self.unit)),
            Reach::AtLeast(limit) => format!("≥ {}", quantity(limit, self.unit)),
            Reach::Told => String::new(),
        };
        let met = self.met().map_or("", |met| if met { "yes" } else { "**no**" });
        [self.name.clone(), quantity(self.value, self.unit), reach, met.to_owned()]
    }
}

/// What one scenario found.
pub struct Section {
    pub title: String,
    pub figures: Vec<Figure>,
}

impl Section {
    /// The section as Markdown.
    pub fn markdown(&self) -> String {
        let mut out =
            format!("### {}\n\n| figure | measured | reach | met |\n|---|---:|---:|---|\n", self.title);
        for figure in &self.figures {
            let _ = writeln!(out, "| {} |", figure.cells().join(" | "));
        }
        out
    }

    /// The figures that miss what they should reach, by name.
    pub fn missed(&self) -> impl Iterator<Item = String> {
        let missed = self.figures.iter().filter(|figure| figure.met() == Some(false));
        missed.map(|figure| format!("{}: {}", self.title, figure.cells()[..3].join(", ")))
    }
}

/// Writes the sections into a Markdown file, in place of those of the last run.
pub fn write(file: &str, sections: &[Section]) -> io::Result<()> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let (before, rest) = text.split_once(BEGIN).unwrap_or((&text, ""));
    let after = rest.split_once(END).map_or("\n", |(_, after)| after);
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let cores = std::thread::available_parallelism()?;
    let tables: Vec<String> = sections.iter().map(Section::markdown).collect();
    let run = format!(
        "Commit `{}`, {cores} cores, `cargo bench --bench load -- {}`.\n\n{}",
        commit(),
        arguments.join(" "),
        tables.join("\n")
    );
    fs::write(file, format!("{before}{BEGIN}{run}{END}{after}"))
}

/// The commit that is measured; `-dirty` follows if it was changed since.
fn commit() -> String {
    let told = Command::new("git").args(["describe", "--always", "--dirty", "--exclude=*"]).output();
    told.map(|told| String::from_utf8_lossy(&told.stdout).trim().to_owned()).unwrap_or_default()
}

/// Three digits that count, and the unit.
fn quantity(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        v if v == v.trunc() || v >= 100.0 => 0,
        v if v >= 10.0 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {unit}").trim_end().to_owned()
}
