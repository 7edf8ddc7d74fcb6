//! The documents for people: what is in their fenced blocks, and how each command block is shown
//! to work.
//!
//! The first word behind the fence is the language. Behind `sh` stands one of
//!
//! * `run`, `run node-a`: the test runs it, on every node of the scene or on that one;
//! * `tested FILE.rs::TEST ...`: these tests do what it says (`cluster/FILE.rs` is one of those of `make test-kubernetes`);
//! * `not-run REASON`: no test does, and why.

use std::fs;
use std::path::{Path, PathBuf};

use crate::program::workspace;

/// A fenced block.
#[derive(Clone, Debug)]
pub struct Block {
    /// The document and the line of the fence, for failure messages.
    pub place: String,
    /// The words behind the fence.
    pub words: Vec<String>,
    /// What is between the fences, without the fence's own indentation.
    pub text: String,
}

/// How a command block is shown to work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// By running it, on all nodes or on the one named.
    Run(Option<String>),
    /// By these tests: file without `.rs`, function.
    Tested(Vec<(String, String)>),
    /// Not at all.
    NotRun,
}

impl Block {
    /// The language: empty where none is given.
    pub fn language(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The mark of a command block.
    ///
    /// # Errors
    /// What is wrong with the words behind the fence.
    pub fn mark(&self) -> Result<Mark, String> {
        let words: Vec<&str> = self.words.iter().skip(1).map(String::as_str).collect();
        let wrong = |problem: &str| Err(format!("{}: {problem}: {:?}", self.place, self.words));
        match words.as_slice() {
            ["run"] => Ok(Mark::Run(None)),
            ["run", node] => Ok(Mark::Run(Some((*node).to_owned()))),
            ["tested", tests @ ..] if !tests.is_empty() => {
                let named = tests.iter().map(|test| test.split_once(".rs::"));
                match named.collect::<Option<Vec<_>>>() {
                    Some(named) => Ok(Mark::Tested(
                        named.into_iter().map(|(f, t)| (f.to_owned(), t.to_owned())).collect(),
                    )),
                    None => wrong("a test is named FILE.rs::TEST"),
                }
            }
            ["not-run", _, _, ..] => Ok(Mark::NotRun),
            ["not-run", ..] => wrong("a reason is missing"),
            _ => wrong("a command block says whether it is run, tested or not-run"),
        }
    }
}

/// README.md, CONTRIBUTING.md and all of docs/, in the order of their names.
pub fn all() -> Vec<PathBuf> {
    let docs = fs::read_dir(workspace().join("docs")).expect("the folder docs");
    let mut files: Vec<PathBuf> = docs.map(|entry| entry.expect("an entry").path()).collect();
    files.extend(["README.md", "CONTRIBUTING.md"].map(|name| workspace().join(name)));
    files.retain(|path| path.extension().is_some_and(|end| end == "md"));
    files.sort();
    files
}

/// The fenced blocks of a document.
pub fn blocks(path: &Path) -> Vec<Block> {
    let text = fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let name = path.file_name().expect("a file name").to_string_lossy();
    let mut blocks = Vec::new();
    let mut open: Option<(Block, usize)> = None;
    for (number, line) in (1..).zip(text.lines()) {
        let content = line.trim_start();
        match (&mut open, content.strip_prefix("```")) {
            (None, Some(info)) => {
                let words = info.split_whitespace().map(str::to_owned).collect();
                let place = format!("{name}:{number}");
                let block = Block { place, words, text: String::new() };
                open = Some((block, line.len() - content.len()));
            }
            (Some(_), Some(_)) => blocks.extend(open.take().map(|(block, _)| block)),
            (Some((block, indent)), None) => {
                let indent = (*indent).min(line.len() - content.len());
                block.text += &line[indent..];
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "{name}: a fence is not closed");
    blocks
}
