//! Python programs that tests use, installed beside the build output when they are not there or of
//! another version. That takes Python with `venv` and a package index.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs a command that must succeed; what it printed.
#[track_caller]
pub fn run(command: &mut Command, purpose: &str) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{purpose}: {error}"));
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{purpose}:\n{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// The directory of the programs of `requirements`, a file of pip.
pub fn programs(name: &str, requirements: &Path) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let (installed, wanted) = (directory.join("requirements.txt"), std::fs::read(requirements).unwrap());
    if std::fs::read(&installed).ok().as_ref() != Some(&wanted) {
        let mut venv = Command::new("python3");
        run(venv.args(["-m", "venv", "--clear"]).arg(&directory), "python3 with venv is needed");
        let mut pip = Command::new(directory.join("bin/pip"));
        run(pip.args(["install", "-q", "-r"]).arg(requirements), &format!("{name} cannot be installed"));
        // Last: what was broken off is begun again.
        std::fs::write(installed, wanted).unwrap();
    }
    directory.join("bin")
}
