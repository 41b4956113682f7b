//! The claims of EIT as comparisons of runs, fixed before the runs were made.

use inductive_train::Metrics;

use super::{
    super::Result, EIT, EIT_POS, HALF, INCREASING, MEAN, P, RESNET, T, VIT, VIT_POS, tables::Measured,
};
use crate::{
    Published, Report, Seeded,
    verdict::{ClaimTest, Comparison},
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

    let (eit, vit) = (measured.numbers(EIT), measured.numbers(VIT_POS));
    let fewer = eit.zip(vit);
    report.claim(
        test("eit.C1")?
            .piece(better(EIT, VIT_POS))
            .observe("EIT has fewer parameters", fewer.map(|(a, b)| a.parameters < b.parameters))
            .observe("EIT has fewer MACs", fewer.map(|(a, b)| a.spec.macs() < b.spec.macs()))
            .judge(),
    );

    let also = |a, b| -> Option<bool> { Some(top1(a).minus(&top1(b)).summary()?.mean > 0.0) };
    report.claim(
        test("eit.C2")?
            .piece(better(P, VIT))
            .piece(better(T, VIT))
            .piece(better(EIT, P))
            .piece(better(EIT, T))
            .observe("P alone is above ViT with a position embedding, in the mean", also(P, VIT_POS))
            .observe("T alone is above ViT with a position embedding, in the mean", also(T, VIT_POS))
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
    report.claim(test("eit.C5")?.piece(better(EIT, RESNET)).judge());

    let mean_of = |list: &[f64]| list.iter().sum::<f64>() / list.len().max(1) as f64;
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
