//! The claims of EIT as comparisons of runs.

use inductive_train::Metrics;

use super::{
    super::Result, EIT, EIT_POS, HALF, INCREASING, MEAN, P, P_POS, RESNET, T, T_POS, VIT, VIT_POS,
    exact::Numbers, tables::Measured,
};
use crate::{
    Published, Report, Seeded,
    verdict::{Check, ClaimTest, Comparison},
};

/// How much accuracy EIT may lose without a position embedding and still not need it, in points.
const NEGLIGIBLE: f64 = 1.0;

/// Adds the verdicts on the trained claims.
pub(super) fn add(report: &mut Report, measured: &Measured<'_>) -> Result<()> {
    let published = Published::embedded()?;
    let top1 = |arm| measured.of(arm, |m| m.test_top1);
    let better = |a: super::Arm, b: super::Arm| {
        Comparison::new(format!("{} > {}", a.label, b.label), "points", top1(a), top1(b))
    };
    let test = |id: &str| Ok::<_, crate::Error>(ClaimTest::new(published.claim(id)?));

    let (eit, vit, resnet) = (measured.numbers(EIT), measured.numbers(VIT_POS), measured.numbers(RESNET));
    let parameters = |numbers: &Numbers| numbers.parameters as u64;
    let mut smaller = test("eit.C1")?.piece(better(EIT, VIT_POS));
    if let Some((eit, vit)) = eit.zip(vit) {
        smaller = smaller
            .check(Check::below("parameters of EIT below ViT's", parameters(eit), parameters(vit)))
            .check(Check::below("MACs of EIT below ViT's", eit.spec.macs(), vit.spec.macs()));
    }
    report.claim(smaller.judge());

    let also = |a, b| -> Option<bool> { Some(top1(a).minus(&top1(b)).summary()?.mean > 0.0) };
    report.claim(
        test("eit.C2")?
            .piece(better(P, VIT))
            .piece(better(T, VIT))
            .piece(better(EIT, P))
            .piece(better(EIT, T))
            .observe("P alone is above ViT with a position embedding, in the mean", also(P, VIT_POS))
            .observe("T alone is above ViT with a position embedding, in the mean", also(T, VIT_POS))
            .observe("P is above ViT where both have a position embedding, in the mean", also(P_POS, VIT_POS))
            .observe("T is above ViT where both have a position embedding, in the mean", also(T_POS, VIT_POS))
            .judge(),
    );

    let gain_of_eit = top1(EIT_POS).minus(&top1(EIT));
    let gain_of_vit = top1(VIT_POS).minus(&top1(VIT));
    let shifted: Seeded = top1(EIT).iter().map(|(seed, value)| (seed, value + NEGLIGIBLE)).collect();
    report.claim(
        test("eit.C3")?
            .piece(Comparison::new(
                format!("EIT + {NEGLIGIBLE} point > EIT with positions"),
                "points",
                shifted,
                top1(EIT_POS),
            ))
            .piece(better(VIT_POS, VIT))
            .piece(Comparison::new(
                "ViT gains more from positions than EIT",
                "points",
                gain_of_vit,
                gain_of_eit,
            ))
            .judge(),
    );

    report.claim(
        test("eit.C4")?
            .piece(better(EIT, MEAN))
            .piece(better(EIT, HALF))
            .piece(better(EIT, INCREASING))
            .observe("the constant split is above the increasing one, in the mean", also(MEAN, INCREASING))
            .judge(),
    );
    let mut convolutional = test("eit.C5")?.piece(better(EIT, RESNET));
    if let Some((eit, resnet)) = eit.zip(resnet) {
        let (small, large) = (parameters(eit), parameters(resnet));
        convolutional = convolutional
            // 5.66 with 100 classes; the heads differ, so it is 5.73 with ten.
            .check(Check::below("56 times EIT's parameters below 10 times ResNet's", 56 * small, 10 * large))
            .check(Check::below("MACs of EIT below ResNet's", eit.spec.macs(), resnet.spec.macs()));
    }
    report.claim(convolutional.judge());

    // NaN without a layer: what was not measured decides nothing.
    let mean_of = |list: &[f64]| list.iter().sum::<f64>() / list.len() as f64;
    let mut proxies = test("eit.C6")?;
    let proxy: [(&str, &str, fn(&Metrics) -> &Vec<f64>); 2] = [
        ("high-frequency share (proxy)", "share", |m| &m.high_frequency),
        ("head diversity (proxy)", "patches", |m| &m.head_diversity),
    ];
    for (name, unit, list) in proxy {
        let of = |arm| measured.of(arm, |m| mean_of(list(m)));
        // The constant split stands for LSRA, whose own configuration is not available.
        for (a, b) in [(EIT, HALF), (HALF, VIT_POS)] {
            let statement = format!("{name}, mean over layers: {} > {}", a.label, b.label);
            proxies = proxies.piece(Comparison::new(statement, unit, of(a), of(b)));
        }
    }
    report.claim(proxies.judge());
    Ok(())
}
