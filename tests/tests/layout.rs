//! The layout of the sources: short files, and modules that never need each other in a circle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use flatnet_tests::program::workspace;
use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree, Visibility};

/// Names from the crate's root.
type Module = Vec<String>;
/// From each module to those that it uses.
type Edges = BTreeMap<Module, BTreeSet<Module>>;

/// All Rust sources below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        let path = entry.path();
        if entry.file_type().unwrap().is_dir() {
            if entry.file_name() != "target" {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

#[test]
fn no_file_is_longer_than_400_lines() {
    let folders = ["agent", "conf", "ipam", "plugin", "tests"].map(|name| workspace().join(name));
    let all: Vec<PathBuf> = folders.iter().flat_map(|folder| sources(folder)).collect();
    assert!(all.len() > 500, "{}", all.len());
    let lines = |path: &PathBuf| fs::read_to_string(path).unwrap().lines().count();
    let long: Vec<_> = all.iter().filter(|path| lines(path) > 400).collect();
    assert!(long.is_empty(), "{long:?}");
}

/// A crate's modules without those of its tests.
struct Crate {
    modules: BTreeMap<Module, Vec<Item>>,
    /// What `pub use` gives a name in a module: where it is from.
    exports: BTreeMap<(Module, String), Vec<String>>,
}

fn is_for_tests(attributes: &[Attribute]) -> bool {
    let cfg = attributes.iter().filter(|attribute| attribute.path().is_ident("cfg"));
    cfg.map(|cfg| cfg.parse_args::<syn::Path>()).any(|of| of.is_ok_and(|of| of.is_ident("test")))
}

fn attributes(item: &Item) -> &[Attribute] {
    match item {
        Item::Mod(item) => &item.attrs,
        Item::Use(item) => &item.attrs,
        Item::Impl(item) => &item.attrs,
        Item::Fn(item) => &item.attrs,
        _ => &[],
    }
}

/// All paths of a `use`, each with the name that it gives.
fn imported(tree: &UseTree, before: &[String]) -> Vec<(String, Vec<String>)> {
    let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
    match tree {
        UseTree::Path(path) => imported(&path.tree, &with(&path.ident)),
        UseTree::Name(name) if name.ident == "self" => {
            vec![(before.last().cloned().unwrap_or_default(), before.to_vec())]
        }
        UseTree::Name(name) => vec![(name.ident.to_string(), with(&name.ident))],
        UseTree::Rename(rename) => vec![(rename.rename.to_string(), with(&rename.ident))],
        UseTree::Glob(_) => vec![("*".to_owned(), before.to_vec())],
        UseTree::Group(group) => {
            group.items.iter().flat_map(|tree| imported(tree, before)).collect()
        }
    }
}

impl Crate {
    fn read(folder: &Path) -> Self {
        let mut modules = BTreeMap::new();
        let mut of_tests = Vec::new();
        for path in sources(folder) {
            let name = path.strip_prefix(folder).unwrap().with_extension("");
            let mut module: Module =
                name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
            if module == ["main"] && folder.join("lib.rs").exists() {
                continue;
            }
            if module.last().is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str())) {
                module.pop();
            }
            let text = fs::read_to_string(&path).unwrap();
            let mut items = syn::parse_file(&text).unwrap().items;
            items.retain(|item| {
                let for_tests = is_for_tests(attributes(item));
                if let (true, Item::Mod(inner)) = (for_tests, item) {
                    of_tests.push([&module[..], &[inner.ident.to_string()]].concat());
                }
                !for_tests
            });
            modules.insert(module, items);
        }
        modules.retain(|module, _| !of_tests.iter().any(|tests| module.starts_with(tests)));
        let mut exports = BTreeMap::new();
        for (module, items) in &modules {
            for item in items {
                let Item::Use(item) = item else { continue };
                if !matches!(item.vis, Visibility::Inherited) {
                    let names = imported(&item.tree, &[]).into_iter();
                    exports.extend(names.map(|(name, path)| ((module.clone(), name), path)));
                }
            }
        }
        Self { modules, exports }
    }

    /// In which module that is which has this path for `from`; none if it is of another crate.
    fn home(&self, from: &[String], path: &[String]) -> Option<Module> {
        let mut module = from.to_vec();
        let mut rest = path;
        match rest.first()?.as_str() {
            "crate" => {
                module.clear();
                rest = &rest[1..];
            }
            "self" => rest = &rest[1..],
            "super" => {
                while rest.first().is_some_and(|first| first == "super") {
                    module.pop();
                    rest = &rest[1..];
                }
            }
            first if self.modules.contains_key(&[from, &[first.to_owned()]].concat()) => {}
            _ => return None,
        }
        while let [first, behind @ ..] = rest {
            let inner = [&module[..], std::slice::from_ref(first)].concat();
            if !self.modules.contains_key(&inner) {
                break;
            }
            (module, rest) = (inner, behind);
        }
        let exported =
            rest.first().and_then(|name| self.exports.get(&(module.clone(), name.clone())));
        exported.and_then(|path| self.home(&module, path)).or(Some(module))
    }

    fn edges(&self) -> Edges {
        let uses = self.modules.iter().map(|(module, items)| {
            let mut uses = Uses(Vec::new());
            items.iter().for_each(|item| uses.visit_item(item));
            let homes = uses.0.iter().filter_map(|path| self.home(module, path));
            (module.clone(), homes.filter(|home| home != module).collect())
        });
        uses.collect()
    }
}

/// The paths that are written in a module; what it only hands on is none.
struct Uses(Vec<Vec<String>>);

impl<'a> Visit<'a> for Uses {
    fn visit_item_use(&mut self, item: &'a syn::ItemUse) {
        if matches!(item.vis, Visibility::Inherited) {
            self.0.extend(imported(&item.tree, &[]).into_iter().map(|(_, path)| path));
        }
    }

    // Who may use something is nothing that it uses.
    fn visit_visibility(&mut self, _: &'a Visibility) {}

    fn visit_path(&mut self, path: &'a syn::Path) {
        // One name alone is a variable, or was imported.
        if path.segments.len() > 1 {
            self.0.push(path.segments.iter().map(|segment| segment.ident.to_string()).collect());
        }
        visit::visit_path(self, path);
    }
}

/// What is left when all modules are taken away that use no other one, or that no other one uses, again and again.
fn circles(mut edges: Edges) -> Edges {
    loop {
        let before = edges.len();
        edges.retain(|_, uses| !uses.is_empty());
        let used: BTreeSet<Module> = edges.values().flatten().cloned().collect();
        edges.retain(|module, _| used.contains(module));
        let left: BTreeSet<Module> = edges.keys().cloned().collect();
        edges.values_mut().for_each(|uses| uses.retain(|module| left.contains(module)));
        if edges.len() == before {
            return edges;
        }
    }
}

#[test]
fn modules_do_not_need_each_other_in_a_circle() {
    for name in ["conf", "ipam", "plugin", "plugin/docker", "agent"] {
        let read = Crate::read(&workspace().join(name).join("src"));
        let left = circles(read.edges());
        let each = left.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
        let arrows = each.map(|(from, to)| format!("{} -> {}", from.join("::"), to.join("::")));
        assert!(left.is_empty(), "{name}: {:#?}", arrows.collect::<Vec<_>>());
    }
}

#[test]
fn the_plugins_rooms_import_only_those_above_them() {
    // As ARCHITECTURE.md lists them.
    let text = fs::read_to_string(workspace().join("ARCHITECTURE.md")).unwrap();
    let table = text.split("The rooms from the ground up").nth(1).unwrap();
    let rows = table
        .lines()
        .skip_while(|line| !line.starts_with("| `"))
        .take_while(|line| !line.is_empty());
    let rooms: Vec<Vec<&str>> = rows
        .map(|row| row.split('|').nth(1).unwrap().split('`').skip(1).step_by(2))
        .map(|names| {
            names.map(|name| name.trim_end_matches(['/']).trim_end_matches(".rs")).collect()
        })
        .collect();
    let place = |module: &Module| {
        let room = module.first()?;
        let place = rooms.iter().position(|names| names.contains(&room.as_str()));
        Some(place.unwrap_or_else(|| panic!("ARCHITECTURE.md has no room {room}")))
    };
    let edges = Crate::read(&workspace().join("plugin/src")).edges();
    let each = edges.iter().flat_map(|(from, to)| to.iter().map(move |to| (from, to)));
    let upward: Vec<_> =
        each.filter(|(from, to)| place(from).is_some() && place(from) < place(to)).collect();
    assert!(upward.is_empty(), "{upward:?}");
    assert!(rooms.len() >= 10, "{rooms:?}");
}

#[test]
fn a_circle_is_found_by_way_of_what_a_module_hands_on() {
    let folder = tempfile::tempdir().unwrap();
    for (file, text) in [
        ("lib.rs", "mod a; mod b; mod c; pub use b::B;"),
        ("a.rs", "use crate::B; pub struct A; pub fn of(b: B) {}"),
        ("b.rs", "pub struct B; fn a() -> super::a::A { super::a::A }"),
        ("c.rs", "use crate::a::A;"),
    ] {
        fs::write(folder.path().join(file), text).unwrap();
    }
    let left = circles(Crate::read(folder.path()).edges());
    let left: Vec<String> = left.into_keys().map(|module| module.join("::")).collect();
    assert_eq!(left, ["a", "b"]);
}
