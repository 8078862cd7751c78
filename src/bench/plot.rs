//! Pictures of figures, as SVG.

/// A picture.
#[derive(Clone, Debug)]
pub enum Plot {
    /// Times by length.
    Lines {
        /// What is shown.
        title: String,
        /// One line each.
        series: Vec<Series>,
    },
    /// Bars of stacked parts.
    Bars {
        /// What is shown.
        title: String,
        /// The unit of all values.
        unit: String,
        /// The names of the parts.
        parts: Vec<String>,
        /// What the mark is.
        mark: String,
        /// The bars.
        bars: Vec<Bar>,
    },
    /// How times spread around their medians.
    Distributions {
        /// What is shown.
        title: String,
        /// One row each.
        rows: Vec<Distribution>,
    },
}

/// A line.
#[derive(Clone, Debug)]
pub struct Series {
    /// What it is.
    pub name: String,
    /// Tokens and times, by tokens.
    pub points: Vec<(usize, Spread)>,
}

/// Percentiles of times, in ms.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// The median.
    pub p50: f64,
    /// 90 % are less.
    pub p90: f64,
    /// 99 % are less.
    pub p99: f64,
}

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What it is.
    pub name: String,
    /// One value for each part.
    pub parts: Vec<f64>,
    /// Where the mark is.
    pub mark: f64,
}

/// All times of something.
#[derive(Clone, Debug)]
pub struct Distribution {
    /// What it is.
    pub name: String,
    /// In seconds.
    pub times: Vec<f64>,
}
