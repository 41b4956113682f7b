//! `inductive reproduce`: measures a published table again.

use inductive_files::shown;
use inductive_models::Zoo;
use inductive_papers::experiments::{self, Ended, Request, Study, protocols};
use inductive_train::TrainOptions;

use crate::{
    args::Reproduce,
    commands::{Done, Settings},
    error::{Error, Result},
    output::{say, say_set, terminal},
    progress::StudyView,
    stop,
};

pub fn run<D: Zoo>(device: &D, settings: &Settings, args: Reproduce) -> Result<Done> {
    if args.list {
        list()?;
        return Ok(Done::Complete);
    }
    let Some(paper) = args.paper.clone() else {
        list()?;
        return Err(Error::Usage("say which paper, e.g. `reproduce convit`".to_owned()));
    };
    let request = Request {
        command: command(&paper, &args),
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
                say(format!(
                    "written: {} and {} more files beside it",
                    shown(file.display()),
                    files.len() - 1
                ))?;
            }
            Ok(Done::Complete)
        }
        Ended::Interrupted { finished, cells } => {
            say(format!("\nstopped: {finished} of {cells} runs are finished, the one at hand is saved."))?;
            say(format!("To go on, give the same command again: {}", study.request.command))?;
            Ok(Done::Interrupted)
        }
    }
}

/// The command that asks for the same, as a shell takes it.
fn command(paper: &str, args: &Reproduce) -> String {
    let quote = |text: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:%+=,".contains(c);
        if text.chars().all(plain) { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let mut words = vec!["cargo xtask reproduce".to_owned(), quote(paper)];
    let mut option = |name: &str, value: Option<String>| {
        words.extend(value.map(|value| format!("--{name} {}", quote(&value))));
    };
    option("data", (args.data != "synthetic").then(|| args.data.clone()));
    option("preset", (args.preset != "quick").then(|| args.preset.clone()));
    option("table", args.table.clone());
    option("seeds", args.seeds.map(|n| n.to_string()));
    option("runs", (args.runs.as_os_str() != "runs").then(|| args.runs.display().to_string()));
    words.join(" ")
}

fn list() -> Result<()> {
    say("what can be reproduced:")?;
    for protocol in protocols() {
        say(format!("  {} --table {}   {}", protocol.paper, protocol.table, protocol.about))?;
    }
    Ok(())
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
            command("convit", &args),
            "cargo xtask reproduce convit --data 'cifar100:my data' --preset small --table table2 --seeds 3 --runs other"
        );
    }
}
