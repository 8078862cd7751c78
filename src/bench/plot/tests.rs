//! Tests of the pictures.

use super::*;

#[test]
fn steps_are_round_and_reach_the_end() {
    assert_eq!(ticks(97.0, 5.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    assert_eq!(ticks(0.3, 3.0).len(), 4);
    for most in [0.0, -1.0, f64::NAN, f64::INFINITY, 1e-9, 1e12] {
        let ticks = ticks(most, 5.0);
        assert!(ticks.len() < 12 && ticks.iter().all(|tick| tick.is_finite()), "{most}");
    }
    assert_eq!((tick_label(0.25), tick_label(40.0), tick_label(0.0)), ("0.25".into(), "40".into(), "0".into()));
}

fn of(names: usize, spread: Spread) -> Plot {
    let series = |n| Series { name: format!("series {n}"), points: vec![(32, spread)] };
    Plot::Lines { title: "Time by length".into(), series: (0..names).map(series).collect() }
}

#[test]
fn no_two_series_look_alike() {
    let plot = of(24, Spread { p50: 1.0, p90: 2.0, p99: 3.0 });
    let mut looks: Vec<String> = plot.legend().0.into_iter().map(|(look, _)| look).collect();
    let (svg, style) = (plot.svg(), include_str!("../style.css"));
    assert_eq!((svg.matches("<circle").count(), svg.matches("<polygon").count()), (6, 18));
    for look in &looks {
        assert!(svg.contains(&format!("<g class=\"{look}\">")), "{look}");
        assert!(look.split(' ').all(|class| style.contains(&format!(".{class} "))), "{look} has no style");
    }
    let places = svg.split(" cx=\"").skip(1).filter_map(|rest| rest.split('"').next()?.parse::<f64>().ok());
    assert_eq!(places.filter(|x| (0.0..WIDTH).contains(x)).count(), 6, "{svg}");
    let last = svg.rsplit("<polygon class=\"dot\" points=\"").next().and_then(|rest| rest.split(',').next());
    assert!(last.and_then(|x| x.parse().ok()).is_some_and(|x: f64| x < WIDTH - 5.0), "{svg}");
    looks.sort_unstable();
    looks.dedup();
    assert_eq!(looks.len(), 24);
}

#[test]
fn a_whisker_that_ends_above_the_picture_is_an_arrow() {
    let arrows = |p99| of(1, Spread { p50: 1.0, p90: 2.0, p99 }).svg().matches("class=\"cut\"").count();
    assert_eq!((arrows(4.9), arrows(50.0)), (0, 1));
}

#[test]
fn times_beyond_are_counted_at_both_sides_and_not_drawn() {
    let row = |times: &[f64]| Distribution { name: "32 \u{d7} 1".into(), times: times.to_vec() };
    let times: Vec<f64> = [vec![0.1; 3], (0..400).map(|n| 1.0 + f64::from(n) * 1e-4).collect(), vec![5.0; 2]].concat();
    let picture = |times: &[f64]| Plot::Distributions { title: "All times".into(), rows: vec![row(times)] }.svg();
    let svg = picture(&times);
    assert!(svg.contains(">+3</text>") && svg.contains(">+2</text>"), "{svg}");
    assert!(svg.contains("d=\"M102.0,36.0L102.0,36.0"), "the first bin is empty: {svg}");
    let inside = picture(&times[3..403]);
    assert!(!inside.contains(">+"), "{inside}");
}

#[test]
fn pictures_of_anything_are_finite_and_escaped() {
    let spread = |p50: f64| Spread { p50, p90: 2.0 * p50, p99: 100.0 * p50 };
    let series = |points: Vec<(usize, Spread)>| vec![Series { name: "<b>&\"".into(), points }];
    let name = || "<i>".to_owned();
    let plots = [
        Plot::Lines { title: name(), series: series(vec![]) },
        Plot::Lines { title: name(), series: series(vec![(1, spread(1e-9)), (5000, spread(1e6))]) },
        Plot::Bars { title: name(), unit: "MB".into(), parts: vec![], mark: name(), bars: vec![] },
        Plot::Bars {
            title: name(),
            unit: "MB".into(),
            parts: vec![],
            mark: name(),
            bars: vec![Bar { name: name(), parts: vec![0.0, 5.0], mark: 3.0 }],
        },
        Plot::Distributions { title: name(), rows: vec![] },
        Plot::Distributions {
            title: name(),
            rows: vec![Distribution { name: name(), times: vec![1.0] }, Distribution { name: name(), times: vec![] }],
        },
    ];
    for plot in plots {
        let svg = plot.svg();
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>"));
        assert!(!svg.contains("NaN") && !svg.contains("inf") && !svg.contains("<i>") && !svg.contains("<b>"), "{svg}");
        assert_eq!(svg.matches("<g").count(), svg.matches("</g>").count(), "{svg}");
    }
}
