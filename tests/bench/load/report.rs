//! Figures beside what they should reach, as a table for people and for RESULTS.md.

use std::fmt::Write;

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

    /// Figures that miss what they should reach.
    pub fn missed(&self) -> usize {
        self.figures.iter().filter(|figure| figure.met() == Some(false)).count()
    }
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
