//! The folder that Terraform works in: the modules, an empty one for each cloud that is not enabled, and a root that
//! configures the providers of the others.

use std::{fs, path::Path};

use serde_json::{Map, Value, json};

use super::{
    settings::{Cloud, Settings},
    write as write_file,
};
use crate::Error;

/// The packages, seen from the folder. Terraform keeps the path: one that names this machine would be a change at another.
const PACKAGES: &str = "../../packages";

/// Writes it anew; what Terraform has downloaded there stays.
pub fn write(root: &Path, folder: &Path, settings: &Settings) -> Result<(), Error> {
    let infra = root.join("infra");
    for module in ["modules/event-orchestration", "modules/serverless-orchestrator"] {
        copy(&infra.join(module), &folder.join(module))?;
    }
    for cloud in Cloud::ALL {
        let (from, to) = (infra.join(cloud.name()), folder.join(cloud.name()));
        match settings.clouds.contains(&cloud) {
            true => copy(&from, &to)?,
            false => empty(&from, &to)?,
        }
    }
    let state = root.join(".deploy").join(format!("{}.tfstate", settings.environment));
    let backend = settings.backend.clone().unwrap_or_else(|| json!({"local": {"path": state}}));
    let main = main(settings, &backend);
    write_file(&folder.join("main.tf.json"), &format!("{main:#}\n"))
}

/// The root.
fn main(settings: &Settings, backend: &Value) -> Value {
    let mut module = settings.arguments.clone();
    module.insert("source".into(), json!("./modules/serverless-orchestrator"));
    module.entry("packages").or_insert_with(|| json!(PACKAGES));
    let outputs = ["gocoffee_yaml", "identities", "archives", "functions", "dead_letters"];
    let outputs = outputs.map(|name| (name.to_owned(), json!({"value": format!("${{module.platform.{name}}}")})));
    let mut providers = Map::new();
    for cloud in &settings.clouds {
        let (name, provider) = match cloud {
            // Something that stands for AWS under one address has no name for each bucket.
            Cloud::Aws => (
                "aws",
                json!({"region": settings.aws_region, "s3_use_path_style": std::env::var_os("AWS_ENDPOINT_URL").is_some()}),
            ),
            Cloud::Gcp => (
                "google",
                json!({"project": settings.arguments.get("gcp_project_id"), "region": settings.arguments.get("gcp_region")}),
            ),
            // Keys of storage accounts are switched off.
            Cloud::Azure => ("azurerm", json!({"features": {}, "storage_use_azuread": true})),
        };
        providers.insert(name.into(), provider);
    }
    json!({
        "terraform": {"backend": backend},
        "provider": providers,
        "module": {"platform": module},
        "output": Map::from_iter(outputs),
    })
}

/// Copies the files of a module, and removes those that it has no more.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    clear(to)?;
    for entry in fs::read_dir(from).map_err(|e| failed(from, &e))? {
        let file = entry.map_err(|e| failed(from, &e))?.path();
        if let Some(name) = file.file_name().filter(|_| is_terraform(&file)) {
            fs::copy(&file, to.join(name)).map_err(|e| failed(&file, &e))?;
        }
    }
    Ok(())
}

/// A module that takes what the other takes, gives nothing, and needs no provider.
fn empty(from: &Path, to: &Path) -> Result<(), Error> {
    clear(to)?;
    let read = |name: &str| {
        let file = from.join(name);
        fs::read_to_string(&file).map_err(|e| Error(format!("{}: {e}", file.display())))
    };
    write_file(&to.join("variables.tf"), &read("variables.tf")?)?;
    let outputs = read("outputs.tf")?;
    let names = outputs.lines().filter_map(|line| line.strip_prefix("output \"")?.split('"').next());
    let nothing: String = names.map(|name| format!("output \"{name}\" {{\n  value = null\n}}\n")).collect();
    write_file(&to.join("outputs.tf"), &nothing)
}

fn clear(folder: &Path) -> Result<(), Error> {
    fs::create_dir_all(folder).map_err(|e| failed(folder, &e))?;
    for entry in fs::read_dir(folder).map_err(|e| failed(folder, &e))? {
        let file = entry.map_err(|e| failed(folder, &e))?.path();
        if is_terraform(&file) {
            fs::remove_file(&file).map_err(|e| failed(&file, &e))?;
        }
    }
    Ok(())
}

fn failed(path: &Path, e: &std::io::Error) -> Error {
    Error(format!("{}: {e}", path.display()))
}

fn is_terraform(file: &Path) -> bool {
    file.extension().is_some_and(|e| e == "tf")
}
