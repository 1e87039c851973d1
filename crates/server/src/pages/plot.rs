//! Numbers over time as a line, drawn here.

use jiff::Timestamp;

const WIDTH: f64 = 600.0;
const HEIGHT: f64 = 160.0;
/// Room for a dot at the edge.
const EDGE: f64 = 6.0;
/// So many times the greatest value a bound may be to be drawn.
const BOUND_TIMES_MAX: f64 = 4.0;

/// The line, ready to be drawn.
pub struct Plot {
    /// The dots, from the oldest to the newest.
    pub dots: Vec<Dot>,
    /// The line through them, as SVG's `points`.
    pub line: String,
    /// The greatest value, at the top.
    pub top: f64,
    /// How high the bound is drawn, where it is.
    pub bound: Option<f64>,
}

/// One value.
pub struct Dot {
    /// From the left.
    pub x: f64,
    /// From the top.
    pub y: f64,
    /// What it says, in words.
    pub told: String,
}

impl Plot {
    /// Values with their times, and a bound to hold them against. `None` where there are none.
    pub fn new(values: &[(Timestamp, f64, String)], bound: Option<f64>) -> Option<Self> {
        let first = values.iter().map(|(at, ..)| at.as_second()).min()?;
        let last = values.iter().map(|(at, ..)| at.as_second()).max()?;
        let greatest = values.iter().map(|(_, value, _)| *value).fold(f64::MIN_POSITIVE, f64::max);
        // One that is far away would press all values flat.
        let bound = bound.filter(|bound| *bound <= BOUND_TIMES_MAX * greatest);
        let top = bound.into_iter().fold(greatest, f64::max);
        let from_top = |value: f64| round(EDGE + (HEIGHT - 2.0 * EDGE) * (1.0 - value / top));
        let span = (last - first).max(1) as f64;
        let mut dots: Vec<_> = values
            .iter()
            .map(|(at, value, told)| Dot {
                x: round(EDGE + (WIDTH - 2.0 * EDGE) * (at.as_second() - first) as f64 / span),
                y: from_top(*value),
                told: told.clone(),
            })
            .collect();
        dots.sort_by(|a, b| a.x.total_cmp(&b.x));
        let points: Vec<_> = dots.iter().map(|dot| format!("{},{}", dot.x, dot.y)).collect();
        Some(Self { line: points.join(" "), dots, top, bound: bound.map(from_top) })
    }
}

fn round(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_from_the_oldest_to_the_newest_below_the_greatest() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let values = [(at(100), 2.0, "new".to_owned()), (at(0), 4.0, "old".to_owned())];
        let plot = Plot::new(&values, Some(1.0)).unwrap();
        assert_eq!((&*plot.line, plot.top, plot.bound), ("6,6 594,80", 4.0, Some(117.0)));
        assert_eq!(Plot::new(&values, Some(100.0)).unwrap().bound, None, "it is far away");
        assert!(Plot::new(&[], None).is_none());
        assert_eq!(Plot::new(&values[..1], None).unwrap().line, "6,6");
        assert_eq!(Plot::new(&[(at(0), 0.0, String::new())], None).unwrap().line, "6,154");
    }
}
