//! Commands that are written in documents, or that programs print for somebody to run, are taken as they are written.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Every line of a command in a text: up to the end of its quotes, or of the line; lines that go on are one.
fn commands(text: &str) -> Vec<String> {
    let text = text.replace("\\\n", " ");
    let lines = ["flatnet-agent etcd ", "flatnet-agent kubernetes "]
        .into_iter()
        .flat_map(|begin| text.match_indices(begin).map(|(at, _)| &text[at..]));
    lines.map(|rest| rest.split(['`', '"', '\n']).next().unwrap_or_default().to_owned()).collect()
}

/// Whether the agent takes it; what it answers for people, to `--help` for one, is no error.
fn problem(command: &str) -> Option<String> {
    let parsed = flatnet_agent::cli::command().try_get_matches_from(command.split_whitespace());
    let error = parsed.err().filter(clap::Error::use_stderr)?;
    Some(format!("{command}\n{error}"))
}

/// All files of some endings in a folder and below.
fn files(folder: &Path, ending: &str, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files(&path, ending, found)?;
        } else if path.extension().is_some_and(|extension| extension == ending) {
            found.push(path);
        }
    }
    Ok(())
}

#[test]
fn commands_that_are_written_and_printed_are_taken() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = vec![workspace.join("README.md")];
    files(&workspace.join("docs"), "md", &mut found).unwrap();
    for code in ["plugin/src", "agent/src"] {
        files(&workspace.join(code), "rs", &mut found).unwrap();
    }
    let texts = found.iter().map(|path| fs::read_to_string(path).unwrap());
    let commands: Vec<String> = texts.flat_map(|text| commands(&text)).collect();
    for known in ["etcd import /etc/flatnet/pods.json", "etcd forget {node}", "etcd --network"] {
        let is_there = |command: &String| command.contains(known);
        assert!(commands.iter().any(is_there), "{known} is not among {commands:#?}");
    }
    let problems: Vec<String> = commands.iter().filter_map(|command| problem(command)).collect();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn what_the_agent_does_not_take_is_noticed() {
    let text = "Run `flatnet-agent etcd forget`, then `flatnet-agent etcd forget a --forse`:\n\
                flatnet-agent etcd forget a \\\n    --force\n";
    let problems: Vec<bool> =
        commands(text).iter().map(|command| problem(command).is_some()).collect();
    assert_eq!(problems, [true, true, false]);
}
