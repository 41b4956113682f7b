//! Tests of durations: what is read, what is refused, how it is rounded.

use proptest::prelude::*;

use super::*;

const CIFAR: RunSize = RunSize { dataset_size: 50_000, batch_size: 128, total_steps: Some(2000) };

#[test]
fn the_four_units_are_read_as_people_write_them() {
    let read = |text: &str| text.parse::<Duration>().unwrap();
    assert_eq!(read("300 epochs"), Duration::Epochs(300.0));
    assert_eq!(read(" 1 epoch "), Duration::Epochs(1.0));
    assert_eq!(read("0.5epochs"), Duration::Epochs(0.5));
    assert_eq!(read("5%"), Duration::Percent(5.0));
    assert_eq!(read("2.5 percent"), Duration::Percent(2.5));
    assert_eq!(read("2_000 steps"), Duration::Steps(2000));
    assert_eq!(read("1e6 examples"), Duration::Examples(1_000_000));
    assert_eq!(read("1.5e+2steps"), Duration::Steps(150));
    assert_eq!(read("3epochs"), Duration::Epochs(3.0));
}

#[test]
fn what_is_refused_says_what_to_write() {
    for (text, problem) in [
        ("", "it is empty"),
        ("300", "it has no unit"),
        ("1e6", "it has no unit"),
        ("epochs", "it has no number"),
        ("3 weeks", "`weeks` is not a unit"),
        ("2.5 steps", "steps and examples come whole"),
        ("-1 epochs", "between 0 and 2^53"),
        ("1e300 examples", "between 0 and 2^53"),
        ("1..2 epochs", "`1..2` is not a number"),
        ("3 épochs", "`épochs` is not a unit"),
        ("e5 steps", "it has no number"),
    ] {
        let error = text.parse::<Duration>().unwrap_err().to_string();
        assert!(error.contains(problem) && error.contains("300 epochs"), "{text}: {error}");
    }
}

#[test]
fn every_unit_is_rounded_once_to_the_nearest_step() {
    let steps = |text: &str| text.parse::<Duration>().unwrap().to_steps(CIFAR).unwrap();
    assert_eq!(steps("300 epochs"), 117_188); // 117187.5; rounding per epoch would give 300 * 391 = 117300
    assert_eq!(steps("1e6 examples"), 7813); // 7812.5
    assert_eq!(steps("7 steps"), 7);
    assert_eq!(steps("5%"), 100);
    assert_eq!(steps("0.01%"), 1); // not zero: it was asked for
    assert_eq!(steps("0 epochs"), 0);
}

#[test]
fn percent_of_an_unknown_run_and_a_batch_of_zero_are_errors() {
    let open = RunSize { total_steps: None, ..CIFAR };
    let error = Duration::Percent(5.0).to_steps(open).unwrap_err().to_string();
    assert!(error.contains("`5%`") && error.contains("give steps, epochs or examples"), "{error}");
    assert!(Duration::Epochs(3.0).to_steps(open).is_ok());
    assert!(Duration::Epochs(3.0).to_steps(RunSize { batch_size: 0, ..CIFAR }).is_err());
    assert!(Duration::Epochs(f64::NAN).to_steps(CIFAR).is_err());
    assert!(Duration::Epochs(-1.0).to_steps(CIFAR).is_err());
}

#[test]
fn a_recipe_holds_a_duration_as_text() {
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Recipe {
        warmup: Duration,
    }
    let recipe: Recipe = toml::from_str("warmup = \"5 epochs\"").unwrap();
    assert_eq!(recipe, Recipe { warmup: Duration::Epochs(5.0) });
    assert_eq!(toml::to_string(&recipe).unwrap().trim(), "warmup = \"5 epochs\"");
    let error = toml::from_str::<Recipe>("warmup = \"5 epocs\"").unwrap_err().to_string();
    assert!(error.contains("`epocs` is not a unit"), "{error}");
}

fn any_duration() -> impl Strategy<Value = Duration> {
    prop_oneof![
        (0..1_u64 << 53).prop_map(Duration::Steps),
        (0.0..1e9).prop_map(Duration::Epochs),
        (0..1_u64 << 53).prop_map(Duration::Examples),
        (0.0..1e3).prop_map(Duration::Percent),
    ]
}

proptest! {
    #[test]
    fn parsing_what_is_displayed_gives_the_same_duration(duration in any_duration()) {
        prop_assert_eq!(duration.to_string().parse::<Duration>(), Ok(duration));
    }

    #[test]
    fn longer_durations_never_have_fewer_steps(
        a in 0.0..1e4, b in 0.0..1e4, dataset_size in 1..2_000_000_u64, batch_size in 1..5000_u64, total in 0..1_000_000_u64,
    ) {
        let run = RunSize { dataset_size, batch_size, total_steps: Some(total) };
        let (low, high) = if a <= b { (a, b) } else { (b, a) };
        for unit in [Duration::Epochs, Duration::Percent, |x| Duration::Examples(x as u64), |x| Duration::Steps(x as u64)] {
            prop_assert!(unit(low).to_steps(run).unwrap() <= unit(high).to_steps(run).unwrap());
        }
    }

    #[test]
    fn no_text_makes_the_parser_panic(text in any::<String>(), number in "[0-9.eE+_-]{0,8}", unit in "[ %a-zé]{0,8}") {
        let _ = text.parse::<Duration>();
        let _ = format!("{number}{unit}").parse::<Duration>();
    }
}
