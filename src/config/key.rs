//! What a configuration key is: one entry of a program's table.
//!
//! The table feeds the file reader, the environment, the flags, `--help` and the README, so that a
//! key exists everywhere or nowhere. Knows nothing of what a value is used for.

/// The keys of one program and how its environment variables begin.
#[derive(Debug)]
pub struct Program {
    /// Named in messages.
    pub name: &'static str,
    /// `BKCMDB_SYNC_`: followed by a key in capitals it is that key's environment variable.
    pub env_prefix: &'static str,
    /// Every key, in the order of the documentation.
    pub keys: &'static [Key],
}

impl Program {
    /// The key of that name.
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// The environment variable of a key.
    pub fn variable(&self, key: &Key) -> String {
        format!("{}{}", self.env_prefix, key.name.to_uppercase())
    }

    /// The key whose name is most like `name`, if one is at all like it.
    pub fn nearest(&self, name: &str) -> Option<&'static Key> {
        // Below this likeness (0 to 1) a suggestion misleads more often than it helps.
        const ALIKE: f64 = 0.75;
        let wanted = name.trim().to_lowercase().replace('-', "_");
        self.keys
            .iter()
            .filter(|key| !key.kind.is_ignored())
            .map(|key| (strsim::jaro_winkler(&wanted, key.name), key))
            .filter(|(likeness, _)| *likeness >= ALIKE)
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .map(|(_, key)| key)
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// Its name in the file and as a flag.
    pub name: &'static str,
    /// What holds when no source gives it.
    pub default: Fallback,
    /// What its value may be.
    pub kind: Kind,
    /// One or two sentences for a reader of `--help`.
    pub help: &'static str,
}

impl Key {
    /// What holds when it is not given, for a reader.
    pub fn default_in_words(&self) -> String {
        match (self.default, self.kind) {
            (Fallback::Required, _) => "required".to_owned(),
            (Fallback::SameAs(other), _) => format!("value of {other}"),
            (Fallback::Text(""), Kind::List) => "none".to_owned(),
            (Fallback::Text(""), _) => "empty".to_owned(),
            (Fallback::Text(text), _) => text.to_owned(),
        }
    }
}

/// What holds when a key is not given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Nothing: it must be given.
    Required,
    /// This text, read as the environment would be.
    Text(&'static str),
    /// The value of another key.
    SameAs(&'static str),
}

/// What a value may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Any text.
    Text,
    /// A text; a number stands for its digits.
    TextOrNumber,
    /// One of these texts.
    Choice(&'static [&'static str]),
    /// A whole number from `min` to `max`.
    Number {
        /// Smallest.
        min: i64,
        /// Largest.
        max: i64,
    },
    /// `true` or `false`.
    Boolean,
    /// Texts: a JSON list, or separated by commas.
    List,
    /// ZooKeeper servers: a text separated by commas or semicolons, or a JSON list.
    Servers,
    /// A secret, or an object that says where it is.
    Secret,
    /// A key of the original that does nothing any more.
    Ignored {
        /// Whether its flag took no value.
        switch: bool,
    },
}

impl Kind {
    /// Whether the key does nothing any more.
    pub fn is_ignored(self) -> bool {
        matches!(self, Self::Ignored { .. })
    }

    /// Whether its flag may stand without a value, which then is `true`.
    pub fn is_switch(self) -> bool {
        matches!(self, Self::Boolean | Self::Ignored { switch: true })
    }

    /// What would be right, for messages: follows "must be".
    pub fn expectation(self) -> String {
        match self {
            Self::Text | Self::Ignored { .. } => "a text".to_owned(),
            Self::TextOrNumber => "a text or a whole number".to_owned(),
            Self::Choice(choices) => {
                let named: Vec<String> = choices
                    .iter()
                    .map(|choice| if choice.is_empty() { "empty".to_owned() } else { format!("`{choice}`") })
                    .collect();
                format!("one of {}", named.join(", "))
            }
            Self::Number { min, max } => format!("a whole number from {min} to {max}"),
            Self::Boolean => "true or false".to_owned(),
            Self::List => "a list of texts, none of them empty".to_owned(),
            Self::Servers => "host:port, several separated by commas".to_owned(),
            Self::Secret => "a text, or an object with one of `file`, `env` and `credential`".to_owned(),
        }
    }
}
