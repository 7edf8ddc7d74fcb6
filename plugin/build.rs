//! Compiles the BPF programs of the fast path, `plugin/bpf`, with clang, and takes the objects apart: what goes into the
//! executable are instructions and maps, so that nothing of an ELF file is read when it runs.

use std::collections::BTreeMap;
use std::env;
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use object::elf::R_BPF_64_64;
use object::{Object, ObjectSection, ObjectSymbol, RelocationTarget};
use sha2::{Digest, Sha256};

const SOURCES: &str = "bpf";
/// Each is a file of that name with a section `tc/` and that name.
const PROGRAMS: [&str; 3] = ["hit", "learn", "receive"];
/// `struct map` of `maps.h`: five numbers of 32 bits.
const MAP_SIZE: usize = 20;

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    println!("cargo::rerun-if-changed={SOURCES}");
    let out = PathBuf::from(env::var("OUT_DIR")?);
    // Name and the five numbers, in the order of their places.
    let mut maps: Vec<(String, [u32; 5])> = Vec::new();
    let mut programs = String::new();
    let mut digest = Sha256::new();
    for name in PROGRAMS {
        let compiled = out.join(format!("{name}.o"));
        compile(&Path::new(SOURCES).join(format!("{name}.c")), &compiled)?;
        let bytes = fs::read(&compiled)?;
        let file = object::File::parse(&*bytes)?;
        let section = file
            .section_by_name(&format!("tc/{name}"))
            .ok_or("the program's section is missing")?;
        let found = maps_of(&file)?;
        let mut uses = Vec::new();
        for (offset, relocation) in section.relocations() {
            let is_map = relocation.flags() == object::RelocationFlags::Elf { r_type: R_BPF_64_64 };
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(symbol)?.name()?.to_owned();
            let (true, Some(map)) = (is_map, found.get(&symbol)) else {
                return Err(format!("{name} refers to {symbol}, which is no map").into());
            };
            let place = maps.iter().position(|(known, _)| *known == symbol).unwrap_or_else(|| {
                maps.push((symbol.clone(), *map));
                maps.len() - 1
            });
            uses.push((offset / 8, place));
        }
        let instructions = section.data()?;
        digest.update(instructions);
        fs::write(out.join(format!("{name}.bpf")), instructions)?;
        writeln!(
            programs,
            "    Source {{ name: {name:?}, instructions: include_bytes!(concat!(env!(\"OUT_DIR\"), \
             \"/{name}.bpf\")), maps: &{uses:?} }},"
        )?;
    }
    digest.update(format!("{maps:?}"));
    let digest: String = digest.finalize()[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    let maps: String = maps
        .iter()
        .map(|(name, [kind, key, value, entries, flags])| {
            let name = name.trim_end_matches("_map");
            format!(
                "    Map {{ name: {name:?}, kind: {kind}, key: {key}, value: {value}, entries: {entries}, \
                 flags: {flags} }},\n"
            )
        })
        .collect();
    let text = format!(
        "pub const DIGEST: &str = {digest:?};\npub const MAPS: &[Map] = &[\n{maps}];\n\
         pub const PROGRAMS: [Source; {}] = [\n{programs}];\n",
        PROGRAMS.len()
    );
    fs::write(out.join("fast_path.rs"), text)?;
    Ok(())
}

fn compile(source: &Path, object: &Path) -> Outcome<()> {
    // A program runs on the machine that the executable is for.
    let little = env::var("CARGO_CFG_TARGET_ENDIAN")? == "little";
    if !little {
        return Err("plugin/bpf is written for little-endian machines".into());
    }
    let mut clang = Command::new("clang");
    clang.args(["-target", "bpfel", "-mcpu=v3", "-O2", "-g0", "-Wall", "-Wextra", "-Werror", "-c"]);
    // Debian keeps `asm/` of each architecture apart.
    let host = env::var("HOST")?;
    let machine = host.split('-').next().unwrap_or_default();
    clang.arg(format!("-I/usr/include/{machine}-linux-gnu")).arg("-o").arg(object).arg(source);
    let output = clang.output().map_err(|e| {
        format!(
            "clang cannot be called ({e}), which compiles the BPF programs of plugin/bpf; `.ci/install build` \
             installs it, or `apt-get install clang linux-libc-dev`"
        )
    })?;
    if !output.status.success() {
        return Err(format!("clang: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    Ok(())
}

/// The maps that an object defines, by name.
fn maps_of(file: &object::File<'_>) -> Outcome<BTreeMap<String, [u32; 5]>> {
    let section = file.section_by_name("maps").ok_or("the section of maps is missing")?;
    let data = section.data()?;
    let mut maps = BTreeMap::new();
    for symbol in file.symbols().filter(|symbol| symbol.section_index() == Some(section.index())) {
        let name = symbol.name()?;
        if name.is_empty() {
            continue;
        }
        let start = usize::try_from(symbol.address())?;
        let bytes = data.get(start..start + MAP_SIZE).ok_or("a map is cut short")?;
        let mut numbers = [0; 5];
        for (number, bytes) in numbers.iter_mut().zip(bytes.chunks_exact(4)) {
            *number = u32::from_le_bytes(bytes.try_into()?);
        }
        maps.insert(name.to_owned(), numbers);
    }
    Ok(maps)
}
