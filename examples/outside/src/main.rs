//! Trains what this package adds, stops a run and goes on with it, and checks what came of each part.

mod experiment;
mod hook;
mod initializer;
mod mixer;
mod models;
mod operation;
mod runs;
mod schedule;
mod source;
mod stem;
mod transform;

use std::error::Error;

use inductive_report::{table::Cell, text::Terminal};
use runs::{run, train};

fn check(holds: bool, what: &str) -> Result<(), Box<dyn Error>> {
    if holds { Ok(()) } else { Err(format!("it should be that {what}").into()) }
}

fn main() -> Result<(), Box<dyn Error>> {
    models::add()?;
    source::add()?;
    initializer::add()?;
    check(operation::error()? < 1e-3, "the operation's gradients are those of its values")?;
    let folder = std::env::temp_dir().join(format!("inductive-outside-{}", std::process::id()));
    let own = initializer::UNIFORM;
    for (model, init) in
        [(models::VIT, None), (models::CONVIT, None), (models::NORMAL, None), ("deit_micro", Some(own))]
    {
        let lines = train(run(model, init), &folder.join(model), None)?;
        let [first, last] = &lines[..] else { return Err("two lines of metrics".into()) };
        println!("{model}: top-1 {:.1} %, loss {:.2}, {:?}", last.test_top1, last.test_loss, last.measures);
        check(last.test_loss < first.test_loss && last.test_top1 > 100.0 / 37.0, "the model learns")?;
        check(last.lr < 1e-3 && first.lr > 9e-3, "the learning rate is the triangle's")?;
        check(last.measures.len() == 2, "hook and measure are in the line")?;
        let stopped = folder.join(format!("{model}-stopped"));
        check(train(run(model, init), &stopped, Some(13))?.is_empty(), "the run stops")?;
        check(train(run(model, init), &stopped, None)? == lines, "it goes on as if it had not stopped")?;
    }

    let (queries_and_keys, values) = initializer::first_layer()?;
    check(queries_and_keys.iter().all(|weight| *weight == 0.0), "queries and keys begin at 0")?;
    let identity = |(i, weight): (usize, &f32)| *weight == f32::from(i % (initializer::WIDTH + 1) == 0);
    check(values.iter().enumerate().all(identity), "values begin as the identity")?;

    let table = experiment::table(&folder.join("study"))?.table;
    println!("{}", table.terminal(&Terminal::default()));
    let wrong =
        |row: &Vec<Cell>| matches!(row[..], [_, Cell::Measured { summary, .. }] if summary.mean <= 100.0);
    check(table.rows.len() == 2 && table.rows.iter().all(wrong), "both models have their measure")?;
    std::fs::remove_dir_all(&folder)?;
    Ok(())
}
