//! Tests of switch times: what is read, where layers switch, what is refused.

use proptest::prelude::*;

use super::*;

const RUN: RunSize = RunSize { dataset_size: 1000, batch_size: 10, total_steps: Some(400) };

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Recipe {
    times: SwitchTimes,
}

fn read(text: &str) -> SwitchTimes {
    toml::from_str::<Recipe>(&format!("times = {text}")).unwrap().times
}

fn steps(text: &str, layers: usize) -> Vec<Option<u64>> {
    read(text).steps(layers, RUN).unwrap()
}

fn ends(first: bool, earliest: u64, latest: u64) -> SwitchTimes {
    let (earliest, latest) = (Duration::Steps(earliest), Duration::Steps(latest));
    if first {
        SwitchTimes::EarlyFirst { earliest, latest }
    } else {
        SwitchTimes::LateFirst { earliest, latest }
    }
}

#[test]
fn every_form_is_read_gives_its_steps_and_survives_toml() {
    for (text, want, shown) in [
        (r#""never""#, [None; 4], "never"),
        (r#""from-start""#, [Some(0); 4], "from the start"),
        (r#"{ uniform = "50%" }"#, [Some(200); 4], "all at 50%"),
        ("{ uniform = 1.5 }", [Some(150); 4], "all at 1.5 epochs"),
        (
            r#"{ late-first = { earliest = "25%", latest = 3 } }"#,
            [Some(300), Some(233), Some(167), Some(100)],
            "late first, 25% to 3 epochs",
        ),
        (
            r#"{ early-first = { earliest = 1, latest = "300 steps" } }"#,
            [Some(100), Some(167), Some(233), Some(300)],
            "early first, 1 epoch to 300 steps",
        ),
        (
            r#"{ layers = ["never", 1, "7 steps", "100%"] }"#,
            [None, Some(100), Some(7), Some(400)],
            "at never, 1 epoch, 7 steps, 100%",
        ),
    ] {
        let times = read(text);
        assert_eq!(times.steps(4, RUN).unwrap(), want, "{text}");
        assert_eq!(times.to_string(), shown);
        let recipe = Recipe { times };
        let written = toml::to_string(&recipe).unwrap();
        assert_eq!(toml::from_str::<Recipe>(&written).unwrap(), recipe, "{written}");
        let json = serde_json::to_string(&recipe).unwrap();
        assert_eq!(serde_json::from_str::<Recipe>(&json).unwrap(), recipe, "{json}");
    }
}

#[test]
fn one_layer_switches_in_the_middle_and_no_layer_nowhere() {
    for kind in ["late-first", "early-first"] {
        let text = format!("{{ {kind} = {{ earliest = \"20%\", latest = \"40%\" }} }}");
        assert_eq!(steps(&text, 1), [Some(120)]);
        assert_eq!(steps(&text, 0), []);
    }
}

#[test]
fn what_is_no_time_is_refused_where_it_is_read() {
    for (text, problem) in [
        (r#""sometimes""#, "unknown variant `sometimes`"),
        (r#"{ uniform = "3 weeks" }"#, "`weeks` is not a unit"),
        ("{ uniform = [1] }", "a number of epochs"),
        (r#"{ late-first = { earliest = 1 } }"#, "missing field `latest`"),
        (
            r#"{ late-first = { earliest = 1, latest = 2, slope = 1 } }"#,
            "slope, available keys: earliest, latest",
        ),
        (r#"{ layers = ["soon"] }"#, "it has no number"),
        (r#"{ layers = [true] }"#, "or \"never\""),
    ] {
        let error = toml::from_str::<Recipe>(&format!("times = {text}")).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
}

#[test]
fn times_that_cannot_be_meant_are_refused_with_what_to_do() {
    for (text, problem) in [
        ("{ uniform = -1 }", "uniform is -1, expected a finite time"),
        ("{ uniform = nan }", "uniform is NaN"),
        ("{ layers = [1, inf, 1, 1] }", "time 2 of layers is inf, expected a finite time"),
        (r#"{ layers = ["never", 1, 1, -0.5] }"#, "time 4 of layers is -0.5"),
        ("{ layers = [1, 1, 1e300, 1] }", "time 3 of layers is wrong: duration `1"),
        ("{ early-first = { earliest = -0.5, latest = 1 } }", "earliest is -0.5"),
        ("{ late-first = { earliest = 1, latest = inf } }", "latest is inf"),
        (
            r#"{ late-first = { earliest = 3, latest = "50%" } }"#,
            "earliest, 3 epochs, is after latest, 50%; exchange them",
        ),
        (r#"{ layers = [1, "never"] }"#, "layers has 2 times, but the model has 4 layers"),
    ] {
        let error = read(text).steps(4, RUN).unwrap_err().to_string();
        assert!(error.contains(problem), "{text}: {error}");
    }
    let unknown = RunSize { total_steps: None, ..RUN };
    assert!(read(r#"{ uniform = "50%" }"#).steps(1, unknown).is_err());
}

proptest! {
    #[test]
    fn late_first_and_early_first_are_mirror_images_with_uniform_s_mean(
        a in 0..1_u64 << 53, b in 0..1_u64 << 53, layers in 1..60_usize,
    ) {
        let (earliest, latest) = (a.min(b), a.max(b));
        let steps = |times: SwitchTimes| -> Vec<u64> {
            times.steps(layers, RUN).unwrap().into_iter().map(Option::unwrap).collect()
        };
        let (late, early) = (steps(ends(false, earliest, latest)), steps(ends(true, earliest, latest)));
        prop_assert_eq!(late.iter().rev().collect::<Vec<_>>(), early.iter().collect::<Vec<_>>());
        prop_assert!(early.is_sorted());
        if layers > 1 {
            prop_assert_eq!((early[0], early[layers - 1]), (earliest, latest));
        }
        // Twice the sum over layers, against L (earliest + latest): each rounding adds half a step at most.
        let twice = 2 * late.iter().map(|step| u128::from(*step)).sum::<u128>();
        let middle = layers as u128 * (u128::from(earliest) + u128::from(latest));
        prop_assert!(twice.abs_diff(middle) <= layers as u128, "{} {}", twice, middle);
    }

    #[test]
    fn steps_are_the_nearest_to_the_line(a in 0..100_000_u64, b in 0..100_000_u64, layers in 2..40_usize) {
        let (earliest, latest) = (a.min(b), a.max(b));
        let steps = ends(true, earliest, latest).steps(layers, RUN).unwrap();
        for (layer, step) in steps.into_iter().enumerate() {
            let gaps = (layers - 1) as f64;
            let exact = earliest as f64 + (latest - earliest) as f64 * layer as f64 / gaps;
            prop_assert!((step.unwrap() as f64 - exact).abs() <= 0.5 + 1e-9);
        }
    }
}
