//! Lists the experiments that come with the program: every file in `experiments` is one, or shared by some (`*.base.toml`).

use std::{env, error::Error, fmt::Write as _, fs, path::Path};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = Path::new(&env::var("CARGO_MANIFEST_DIR")?).join("experiments");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        names.extend(name.ends_with(".toml").then_some(name));
    }
    names.sort();
    let mut text =
        String::from("/// Names and texts of all experiments.\nconst FILES: &[(&str, &str)] = &[\n");
    for name in names {
        writeln!(text, "    ({name:?}, include_str!({:?})),", folder.join(&name))?;
    }
    fs::write(Path::new(&env::var("OUT_DIR")?).join("experiments.rs"), text + "];\n")?;
    Ok(())
}
