//! Writes the JSON Schemas into `conf/schema`, and what they say of each key into
//! `docs/configuration.md`.

use std::fs;
use std::io::Error;
use std::path::Path;

use flatnet_conf::schema;

fn main() -> Result<(), Error> {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files = [
        ("range-file.schema.json", schema::range_file()),
        ("network.schema.json", schema::network()),
        ("cluster-network.schema.json", schema::cluster_network()),
    ];
    for (name, schema) in files {
        write(&crate_folder.join("schema").join(name), &schema::text(&schema))?;
    }
    let page = crate_folder.with_file_name("docs").join("configuration.md");
    let fresh = schema::refreshed(&fs::read_to_string(&page)?);
    let no_place = || Error::other(format!("{}: where does the reference go?", page.display()));
    write(&page, &fresh.ok_or_else(no_place)?)
}

fn write(path: &Path, text: &str) -> Result<(), Error> {
    fs::write(path, text)?;
    println!("wrote {}", path.display());
    Ok(())
}
