//! `inductive reproduce`: measures a published table again.

use std::io::IsTerminal;

use inductive_models::Zoo;
use inductive_papers::{
    experiments::{self, Ended, Request, Study, protocols},
    text::{Charset, Terminal},
};
use inductive_train::TrainOptions;

use crate::{
    args::Reproduce,
    commands::{Done, Settings},
    error::{Error, Result},
    progress::StudyView,
    stop,
};

pub fn run<D: Zoo>(device: &D, settings: &Settings, args: Reproduce) -> Result<Done> {
    if args.list {
        list();
        return Ok(Done::Complete);
    }
    let Some(paper) = args.paper else {
        list();
        return Err(Error::Usage("say which paper, e.g. `reproduce convit`".to_owned()));
    };
    let mut command = format!("cargo xtask reproduce {paper} --data {} --preset {}", args.data, args.preset);
    if let Some(seeds) = args.seeds {
        command.push_str(&format!(" --seeds {seeds}"));
    }
    let request = Request {
        paper,
        table: args.table,
        data: args.data,
        preset: args.preset.parse()?,
        seeds: args.seeds,
        runs: args.runs,
        command,
    };
    let study = Study::new(request)?;
    if args.resume && !study.folder.exists() {
        let folder = study.folder.display();
        return Err(Error::Usage(format!(
            "--resume: there is nothing to go on with in {folder}; start without it"
        )));
    }
    let options = TrainOptions { stop: Some(stop::on_interrupt()?), ..TrainOptions::default() };
    let mut view = StudyView::new(settings.plain);
    match experiments::run(device, &study, &options, &mut view)? {
        Ended::Complete { report, files } => {
            drop(view);
            println!("\n{}", report.terminal(&terminal()));
            if let Some(file) = files.last() {
                println!("written: {} and {} more files beside it", file.display(), files.len() - 1);
            }
            Ok(Done::Complete)
        }
        Ended::Interrupted { finished, cells } => {
            drop(view);
            println!("\nstopped: {finished} of {cells} runs are finished, the one at hand is saved.");
            println!("To go on, give the same command again: {}", study.request.command);
            Ok(Done::Interrupted)
        }
    }
}

fn list() {
    println!("what can be reproduced:");
    for protocol in protocols() {
        println!("  {} --table {}   {}", protocol.paper, protocol.table, protocol.about);
    }
}

/// What the standard output can show.
fn terminal() -> Terminal {
    let utf8 = ["LC_ALL", "LC_CTYPE", "LANG"]
        .iter()
        .find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()))
        .is_none_or(|v| v.to_ascii_lowercase().replace('-', "").contains("utf8") || v == "C");
    let is_terminal = std::io::stdout().is_terminal();
    let color = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let width = if is_terminal {
        std::env::var("COLUMNS").ok().and_then(|v| v.parse().ok()).unwrap_or(110)
    } else {
        110
    };
    Terminal { charset: if utf8 { Charset::Unicode } else { Charset::Ascii }, color, width }
}
