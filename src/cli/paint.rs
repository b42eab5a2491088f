//! Colour, where it is wanted.

/// How a piece of text stands out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Paint {
    /// Not at all.
    #[default]
    Plain,
    /// For what should be read first.
    Bold,
    /// For what is fine.
    Green,
    /// For what needs a look soon.
    Yellow,
    /// For what is wrong.
    Red,
    /// For what need not be read.
    Dim,
}

impl Paint {
    /// The text, with the terminal's codes around it if `colour`.
    pub(super) fn apply(self, text: &str, colour: bool) -> String {
        let code = match self {
            Self::Plain => return text.to_owned(),
            Self::Bold => "1",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "31",
            Self::Dim => "2",
        };
        if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
