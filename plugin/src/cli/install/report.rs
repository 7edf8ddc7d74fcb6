//! What an installation did, and what the node still lacks.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::place::Done;

/// Both, in the order in which it was done.
#[derive(Default)]
pub struct InstallReport {
    /// The executables, and what became of each.
    pub executables: Vec<(PathBuf, Done)>,
    /// What other programs know it by, and what became of that.
    pub drivers: Vec<(PathBuf, Done)>,
    /// A line for each network that stands.
    pub overlays: Vec<String>,
    /// The configuration.
    pub configuration: Option<(PathBuf, Done)>,
    /// The network's name.
    pub network: String,
    /// The unit that keeps it, where one does.
    pub service: Option<(PathBuf, Done)>,
    /// What keeps the node from being whole: findings.
    pub lacks: Vec<String>,
    /// What else is worth knowing.
    pub notes: Vec<String>,
}

impl InstallReport {
    /// For people.
    pub fn words(&self) -> String {
        let mut text = String::new();
        for (path, done) in &self.executables {
            text += &format!("{}: {}\n", path.display(), done.word());
        }
        self.overlays.iter().for_each(|line| text += &format!("{line}\n"));
        if let Some((path, done)) = &self.configuration {
            text += &format!("{}: {}; network {}\n", path.display(), done.word(), self.network);
        }
        for (path, done) in &self.drivers {
            text += &format!("{}: {}\n", path.display(), done.word());
        }
        if let Some((path, done)) = &self.service {
            text += &format!("{}: {}; enabled and running\n", path.display(), done.word());
        }
        self.lacks.iter().for_each(|lack| text += &format!("missing: {lack}\n"));
        self.notes.iter().for_each(|note| text += &format!("note: {note}\n"));
        text
    }

    /// For scripts.
    pub fn document(&self) -> Value {
        let file = |(path, done): &(PathBuf, Done)| json!({ "path": path, "action": done.word() });
        json!({
            "executables": self.executables.iter().map(file).collect::<Vec<_>>(),
            "overlays": self.overlays,
            "drivers": self.drivers.iter().map(file).collect::<Vec<_>>(),
            "configuration": self.configuration.as_ref().map(file),
            "network": self.network,
            "service": self.service.as_ref().map(file),
            "missing": self.lacks,
            "notes": self.notes,
        })
    }
}
