//! ConViT's Table 2.

use super::*;

#[test]
fn a_pair_differs_in_the_gated_layers_alone() {
    for pair in study("convit", "table2", Preset::Quick).cells.chunks_exact(2) {
        let [a, b] = pair else { unreachable!() };
        assert_eq!((a.fraction, a.seed), (b.fraction, b.seed));
        let control = Recipe { local_up_to_layer: a.recipe.local_up_to_layer, ..b.recipe.clone() };
        assert!(control == a.recipe && b.recipe != a.recipe);
    }
}

#[test]
fn the_report_keeps_the_sides_apart_and_judges_the_trend() {
    let request = Request { seeds: Some(3), ..Request::new("convit") };
    let report = report_of(&Study::new(request).unwrap(), |_, cell| {
        let noise = cell.seed as f64 * 0.1;
        // ConViT leads by 1 point with all the data, by 10 with a tenth.
        let lead = if cell.variant == "convit" { 1.0 - 9.0 * cell.fraction.log10() + noise } else { 0.0 };
        let base = 50.0 + cell.fraction * 10.0 + noise;
        finished(cell, base + lead)
    });
    let text = report.markdown();
    let row = text.lines().find(|line| line.starts_with("| 100%")).unwrap();
    let (deit, convit) = (row.find("60.1").unwrap(), row.find("61.2").unwrap());
    assert!(deit < convit, "DeiT stands before ConViT: {row}");
    assert!(row.contains("79.9") && row.contains("81.4"), "the paper's numbers stand beside: {row}");
    assert!(text.contains("384 million"), "what differs is said");
    assert_eq!(report.claims[0].verdict, Verdict::Holds, "{text}");
    assert_eq!(report.claims[0].n, 3);
}
