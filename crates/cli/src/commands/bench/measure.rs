//! One task measured in processes of its own: ours, and the peer's in alternation.

use std::{path::Path, process::Command};

use super::{
    error::Error,
    peer,
    plan::Plan,
    process::Process,
    protocol::{Answer, Ready, Task},
    summary::{Measurement, Side},
};

const ADVICE: &str = "\na smaller --batch needs less memory";

/// Measures `task`. `tell` hears what happens now.
pub fn measure(plan: &Plan, task: &Task, tell: &dyn Fn(String)) -> Result<Measurement, Error> {
    let description = serde_json::to_string(task).map_err(|error| start_error(error.into()))?;
    tell("building".to_owned());
    let (mut ours, ready) = start_ours(task, &description)?;
    let mut peer = match &plan.python {
        Some(python) => Some(start_peer(python, task, &description, &ready)?),
        None => None,
    };
    let (mut our_answers, mut peer_answers) = (Vec::new(), Vec::new());
    for round in 1..=plan.rounds {
        // They take turns at being first, as the second finds the machine as the first has left it.
        let peer_first = round % 2 == 1;
        for is_peer in [peer_first, !peer_first] {
            if !is_peer {
                tell(format!("round {round} of {}", plan.rounds));
                our_answers.push(ask(&mut ours, task)?);
            } else if let Some((peer, _)) = &mut peer {
                tell(format!("round {round} of {}, PyTorch", plan.rounds));
                peer_answers.push(ask(peer, task)?);
            }
        }
    }
    let ours = Side::new(task, ready.software, our_answers);
    let peer = peer.map(|(_, software)| Side::new(task, software, peer_answers));
    Ok(Measurement::new(task, ready.parameters, ours, peer))
}

/// This program in another process: what one model needs in memory is not seen by the next.
fn start_ours(task: &Task, description: &str) -> Result<(Process, Ready), Error> {
    let program = std::env::current_exe().map_err(start_error)?;
    let mut command = Command::new(program);
    command.args(["bench-worker", "--threads", &task.threads.to_string(), description]);
    let who = format!("the measuring process ({})", task.title());
    let mut process = Process::start(who, ADVICE, &mut command, task.patience())?;
    let line = process.line()?;
    let ready = process.parse(&line)?;
    Ok((process, ready))
}

fn start_error(error: std::io::Error) -> Error {
    Error::Start { who: "the measuring process".to_owned(), error }
}

/// The peer and what it is, if it has built the same model.
fn start_peer(
    python: &Path,
    task: &Task,
    description: &str,
    ours: &Ready,
) -> Result<(Process, String), Error> {
    let (process, ready) = peer::start(python, task, description)?;
    if ready.parameters != ours.parameters {
        let model = task.spec.name.clone();
        let (ours, theirs) = (ours.parameters, ready.parameters);
        return Err(Error::OtherModel { model, peer: ready.software, ours, theirs });
    }
    Ok((process, ready.software))
}

fn ask(process: &mut Process, task: &Task) -> Result<Answer, Error> {
    let answer = process.ask()?;
    if !answer.round.is_sound(task.has_phases()) {
        return Err(process.refuse("times of these steps are missing or no times", &format!("{answer:?}")));
    }
    Ok(answer)
}
