//! `inductive reproduce`: measures a published table again.

use inductive_files::shown;
use inductive_models::Zoo;
use inductive_papers::experiments::{self, Ended, Request, Study};
use inductive_train::TrainOptions;

use crate::{
    args::Reproduce,
    commands::{Done, Settings},
    error::{Error, Result},
    help,
    hint::Line,
    output::{say, say_set, terminal},
    progress::{StudyView, count},
    stop,
};

pub fn run<D: Zoo>(device: &D, settings: &Settings, args: Reproduce) -> Result<Done> {
    if args.list {
        list()?;
        return Ok(Done::Complete);
    }
    let Some(paper) = args.paper.clone() else {
        list()?;
        return Err(Error::Usage(format!(
            "say which paper, e.g. `{}`",
            Line::new("reproduce").word("convit")
        )));
    };
    let again = command(&paper, &args);
    let request = Request {
        command: again.to_string(),
        paper,
        table: args.table,
        data: args.data,
        preset: args.preset.parse()?,
        seeds: args.seeds,
        runs: args.runs,
    };
    let study = Study::new(request)?;
    if args.resume && !study.folder.exists() {
        let folder = shown(study.folder.display());
        return Err(Error::Usage(format!(
            "--resume: there is nothing to go on with in {folder}; start without it"
        )));
    }
    let options = TrainOptions { stop: Some(stop::on_interrupt()?), ..TrainOptions::default() };
    let mut view = StudyView::new(settings.plain);
    match experiments::run(device, &study, &options, &mut view)? {
        Ended::Complete { report, files } => {
            say_set(format!("\n{}", report.terminal(&terminal())))?;
            if let Some(file) = files.last() {
                let others = count(files.len() - 1, "more file");
                say(format!("written: {} and {others}", shown(file.display())))?;
            }
            Ok(Done::Complete)
        }
        Ended::Interrupted { finished, cells } => {
            let runs = count(cells, "run");
            say(format!("\nstopped: finished {finished} of {runs}, the one at hand is saved."))?;
            say(format!("To go on: {}", again.common(&settings.common)))?;
            Ok(Done::Interrupted)
        }
    }
}

/// The command that asks for the same.
fn command(paper: &str, args: &Reproduce) -> Line {
    Line::new("reproduce")
        .word(paper)
        .set("data", &args.data, help::DATA)
        .set("preset", &args.preset, help::PRESET)
        .given("table", args.table.as_ref())
        .given("seeds", args.seeds)
        .set("runs", &args.runs, help::RUNS)
}

fn list() -> Result<()> {
    say(help::tables())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_to_go_on_asks_for_the_same() {
        let args = Reproduce {
            paper: None,
            data: "cifar100:my data".to_owned(),
            preset: "small".to_owned(),
            seeds: Some(3),
            table: Some("table2".to_owned()),
            list: false,
            resume: false,
            runs: "other".into(),
        };
        assert_eq!(
            command("convit", &args).to_string(),
            "inductive reproduce convit --data 'cifar100:my data' --preset small --table table2 --seeds 3 --runs other"
        );
    }
}
