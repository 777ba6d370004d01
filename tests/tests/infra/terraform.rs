use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use function_host::Function;
use gocoffee::config;
use serde_json::{Value, json};

use super::{document, files, is_long, root, run, target, text, tool};

/// The modules, by folder.
const MODULES: [&str; 5] = [
    "infra/aws",
    "infra/gcp",
    "infra/azure",
    "infra/modules/event-orchestration",
    "infra/modules/serverless-orchestrator",
];
/// The clouds.
const CLOUDS: [&str; 3] = ["aws", "gcp", "azure"];
/// Says how the schemas of providers are read.
const PROVIDERS: &str = "tests/tests/infra/providers.py";

/// Terraform, with a CLI configuration that knows where providers lie on this machine.
pub struct Terraform {
    pub program: PathBuf,
    pub configuration: Option<PathBuf>,
    /// What else its environment says.
    pub env: Vec<(&'static str, String)>,
}

impl Terraform {
    pub fn find() -> Option<Terraform> {
        let program = tool("terraform")?;
        let configuration = mirror().map(|mirror| {
            let file = target().join("tools/terraform.rc");
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            let rc = format!("provider_installation {{\n  filesystem_mirror {{\n    path = {mirror:?}\n  }}\n}}\n");
            fs::write(&file, rc).unwrap();
            file
        });
        Some(Terraform { program, configuration, env: Vec::new() })
    }

    /// The same where a mirror has the AWS provider; `None` is told in one line.
    pub fn with_aws() -> Option<Terraform> {
        let found = Terraform::find()?;
        if found.configuration.is_none() {
            eprintln!(
                "skipped: there is no mirror with the AWS provider; `terraform init && terraform validate` in infra/aws tries it"
            );
            return None;
        }
        Some(found)
    }

    pub fn run(&self, folder: &Path, args: &[&str]) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(folder).env("TF_IN_AUTOMATION", "1").env("TF_INPUT", "0");
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        match &self.configuration {
            Some(file) => command.env("TF_CLI_CONFIG_FILE", file),
            // One that names a file that is not there is a warning in each answer.
            None => command.env_remove("TF_CLI_CONFIG_FILE"),
        };
        let output = command.output().expect("it starts");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        if output.status.success() { Ok(said) } else { Err(format!("terraform {args:?}:\n{said}")) }
    }
}

/// A folder of providers, as Terraform itself looks for one, or below /opt.
fn mirror() -> Option<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from).unwrap_or_default();
    let usual = [
        home.join(".terraform.d/plugins"),
        "/usr/local/share/terraform/plugins".into(),
        "/usr/share/terraform/plugins".into(),
    ];
    let opt = fs::read_dir("/opt").into_iter().flatten().filter_map(|entry| Some(entry.ok()?.path()));
    usual.into_iter().chain(opt).find(|folder| folder.join("registry.terraform.io/hashicorp/aws").is_dir())
}

/// Copies the files of a module.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "tf") {
            fs::copy(&path, to.join(path.file_name().unwrap())).unwrap();
        }
    }
}

#[test]
fn every_module_has_the_same_files() {
    let names = |folder: &str| -> BTreeSet<String> {
        let files = files(folder);
        files.iter().map(|file| file.rsplit('/').next().unwrap().to_owned()).collect()
    };
    let wanted: BTreeSet<String> = [
        "README.md",
        "archive.tf",
        "events.tf",
        "functions.tf",
        "identity.tf",
        "outputs.tf",
        "variables.tf",
        "versions.tf",
    ]
    .map(str::to_owned)
    .into();
    for cloud in CLOUDS {
        assert_eq!(names(&format!("infra/{cloud}")), wanted, "{cloud}");
    }
    let outputs = |cloud: &str| -> BTreeSet<String> {
        let text = text(format!("infra/{cloud}/outputs.tf"));
        text.lines().filter_map(|line| Some(line.strip_prefix("output \"")?.split('"').next()?.to_owned())).collect()
    };
    assert_eq!(outputs("aws"), outputs("gcp"));
    assert_eq!(outputs("aws"), outputs("azure"));
}

#[test]
fn terraform_files_are_formatted() {
    let Some(terraform) = Terraform::find() else { return };
    let said = terraform.run(&root().join("infra"), &["fmt", "-check", "-recursive"]).unwrap();
    assert_eq!(said.trim(), "", "run `terraform fmt -recursive infra`");
}

#[test]
fn functions_that_are_deployed_take_what_they_say() {
    let main = text("infra/modules/serverless-orchestrator/main.tf");
    let row = |name: &str, types: &[&str]| {
        let line = main
            .lines()
            .find(|line| line.trim_start().starts_with(&format!("{name} ")))
            .unwrap_or_else(|| panic!("{name}"));
        let written: Value = serde_json::from_str(line.split_once('=').unwrap().1.trim()).unwrap();
        assert_eq!(written, json!(types), "{name}");
    };
    row(order_processor::OrderProcessor::NAME, order_processor::OrderProcessor::CONSUMES);
    row(inventory_optimizer::InventoryOptimizer::NAME, inventory_optimizer::InventoryOptimizer::CONSUMES);
    row(defi_scanner::DefiScanner::NAME, defi_scanner::DefiScanner::CONSUMES);
    row(ai_coordinator::AiCoordinator::NAME, ai_coordinator::AiCoordinator::CONSUMES);
    row(
        notification_dispatcher::NotificationDispatcher::NAME,
        notification_dispatcher::NotificationDispatcher::CONSUMES,
    );
}

/// The checker of files against the providers' schemas: its Python, and the schemas; `None` is told in one line.
fn providers() -> Option<(PathBuf, PathBuf)> {
    let schemas = target().join("peers/providers.json");
    let python = target().join("peers/bin/python");
    if schemas.is_file() && python.is_file() {
        return Some((python, schemas));
    }
    eprintln!(
        "skipped: the schemas of the Google and Azure providers are not there; `cargo xtask test` gets them from PyPI"
    );
    None
}

#[test]
fn every_argument_is_one_of_the_providers_and_a_typo_is_found() {
    let Some((python, schemas)) = providers() else { return };
    let script = root().join(PROVIDERS);
    let check = |root: &Path| {
        let mut args = vec![script.to_str().unwrap().to_owned(), "check".into(), schemas.to_str().unwrap().into()];
        args.extend(MODULES.map(|module| root.join(module).to_str().unwrap().to_owned()));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        run(&python, ".", &args)
    };
    assert_eq!(check(&root()).unwrap().trim(), "ok");
    for (file, right, wrong, says) in [
        ("infra/gcp/events.tf", "ack_deadline_seconds ", "ack_deadline_secs ", "ack_deadline_secs"),
        ("infra/gcp/events.tf", "max_delivery_attempts", "max_deliveries", "max_deliveries"),
        ("infra/gcp/functions.tf", "max_instance_count", "max_instances", "max_instances"),
        ("infra/gcp/archive.tf", "lifecycle_rule.value", "lifecycle_rule.value\n        aeg = 1", "aeg"),
        ("infra/gcp/identity.tf", "var.router_account", "var.router_acount", "router_acount"),
        ("infra/gcp/outputs.tf", "google_pubsub_topic.bus.id", "google_pubsub_topic.bsu.id", "bsu"),
        ("infra/gcp/outputs.tf", "google_service_account.router.email", "google_service_account.router.mail", "mail"),
        ("infra/azure/events.tf", "input_schema ", "input_schem ", "input_schem"),
        ("infra/azure/events.tf", "string_begins_with", "string_begin_with", "string_begin_with"),
        ("infra/azure/functions.tf", "use_custom_runtime", "use_custom_runtimes", "use_custom_runtimes"),
        ("infra/azure/archive.tf", "  account_tier ", "  acount_tier ", "`account_tier` is required"),
        ("infra/azure/identity.tf", "local.name", "local.nam", "local.nam"),
        ("infra/azure/outputs.tf", "azurerm_eventgrid_topic.bus.endpoint", "azurerm_eventgrid_topic.bus.end", "end"),
        ("infra/modules/event-orchestration/main.tf", "archive_days = ", "archiv_days = ", "archiv_days"),
        ("infra/modules/event-orchestration/gocoffee.tf", "local.bus_of", "local.buses_of", "buses_of"),
        (
            "infra/modules/serverless-orchestrator/outputs.tf",
            "module.events.archives",
            "module.events.archive",
            "archive",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        MODULES.iter().for_each(|module| copy(&root().join(module), &folder.path().join(module)));
        let text = text(file);
        assert!(text.contains(right), "{file}: {right}");
        fs::write(folder.path().join(file), text.replace(right, wrong)).unwrap();
        let said = check(folder.path()).expect_err(&format!("{file}: {wrong} is wrong"));
        assert!(said.contains(says), "{file}: {wrong}: {said}");
    }
}

/// What stands for a module of a cloud where its provider is not to be had: its variables, and outputs like its own.
fn stand_in(cloud: &str, to: &Path) {
    let own = match cloud {
        "aws" => {
            r#"{ sources = { aws = { eventbridge = { queue_url = "https://sqs.us-east-1.amazonaws.com/1/router" } } },
                 targets = { aws-bus = { eventbridge = { bus = local.name, region = "us-east-1", mapping = "structured" } } } }"#
        }
        "gcp" => {
            r#"{ sources = { gcp = { pubsub = { subscription = "projects/p/subscriptions/s" } } },
                 targets = merge({ gcp-bus = { pubsub = { topic = "projects/p/topics/t" } } },
                   { for name, _ in var.functions : "gcp-${name}" => { pubsub = { topic = "projects/p/topics/${name}" } } }) }"#
        }
        _ => {
            r#"{ sources = { azure = { event_grid = { webhook = {
                     path = "/azure", entra = { tenant = "11111111-2222-3333-4444-555555555555", audiences = ["api://router"] } } } } },
                 targets = { az-bus = { event_grid = {
                     endpoint = "https://t.westeurope-1.eventgrid.azure.net/api/events", entra = { client_id = "c" } } } } }"#
        }
    };
    played(cloud, own, to);
}

/// The same with this for its part of the configuration.
pub fn played(cloud: &str, own: &str, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::write(to.join("variables.tf"), text(format!("infra/{cloud}/variables.tf"))).unwrap();
    let outputs = text(format!("infra/{cloud}/outputs.tf"));
    let names = outputs.lines().filter_map(|line| line.strip_prefix("output \"")?.split('"').next());
    let value = |name: &str| match (name, cloud) {
        ("gocoffee", _) => own,
        ("archive", "aws") => r#"{ to = "s3://b/segments", options = { aws_region = "us-east-1" } }"#,
        ("archive", "gcp") => r#"{ to = "gs://b/segments" }"#,
        ("archive", _) => r#"{ to = "az://archive/segments", options = { azure_storage_account_name = "a" } }"#,
        _ => "null",
    };
    let outputs: String = names.map(|name| format!("output \"{name}\" {{\n  value = {}\n}}\n", value(name))).collect();
    fs::write(to.join("outputs.tf"), outputs).unwrap();
}

/// The configuration as it is checked: kinds that this router does not know stand as what it knows. Tells which.
fn known(yaml: &str) -> (String, BTreeSet<String>) {
    let mut tree = config::document("gocoffee.yaml", yaml).unwrap_or_else(|e| panic!("{e}\n{yaml}"));
    let mut unknown = BTreeSet::new();
    let is_known = |part: &str, value: &Value| {
        let text = json!({part: {"x": value}}).to_string();
        !config::load("x", &text).report.to_text(false).contains("unknown kind")
    };
    for part in ["sources", "targets"] {
        for value in tree[part].as_object_mut().unwrap().values_mut() {
            if !is_known(part, value) {
                unknown.extend(value.as_object().unwrap().keys().map(|kind| format!("{part}: {kind}")));
                let bus = value.as_object().unwrap().values().next().unwrap()["bus"].clone();
                let path = format!("/stand-in/{}", bus.as_str().unwrap_or_default());
                *value = match part {
                    "sources" => json!({"http": {"path": path, "bus": bus}}),
                    _ => json!({"http": {"url": "https://stand-in.example.com/"}}),
                };
            }
        }
    }
    (tree.to_string(), unknown)
}

#[test]
fn any_clouds_compose_and_give_a_configuration_that_check_takes() {
    let Some(terraform) = Terraform::find() else { return };
    let folder = tempfile::tempdir().unwrap();
    for module in &MODULES[3..] {
        copy(&root().join(module), &folder.path().join(module));
    }
    CLOUDS.iter().for_each(|cloud| stand_in(cloud, &folder.path().join("infra").join(cloud)));
    let variables =
        ["aws", "gcp", "azure", "mirror"].map(|name| format!("variable \"{name}\" {{\n  type = bool\n}}\n")).concat();
    let main = r#"
        module "platform" {
          source                    = "./infra/modules/serverless-orchestrator"
          project_name              = "go-coffee"
          environment               = "test"
          enable_aws                = var.aws
          enable_gcp                = var.gcp
          enable_azure              = var.azure
          mirror                    = var.mirror
          gcp_project_id            = "p"
          azure_resource_group_name = "g"
          output_url                = "https://router.example.com/events"
          archive_in                = var.mirror ? (var.aws ? "aws" : var.gcp ? "gcp" : "azure") : null
          functions = {
            order-processor         = {}
            defi-scanner            = { cloud = var.gcp ? "gcp" : null }
            notification-dispatcher = { cloud = var.azure ? "azure" : null }
          }
        }
        output "gocoffee_yaml" {
          value = module.platform.gocoffee_yaml
        }
    "#;
    fs::write(folder.path().join("main.tf"), variables + main).unwrap();
    terraform.run(folder.path(), &["init", "-backend=false", "-no-color"]).unwrap();
    let mut stood_in = BTreeSet::new();
    let combinations =
        [(1, true), (2, true), (4, true), (3, true), (5, true), (6, true), (7, true), (7, false), (1, false)];
    for (clouds, mirror) in combinations {
        let mut args =
            vec!["apply".to_owned(), "-auto-approve".into(), "-no-color".into(), format!("-var=mirror={mirror}")];
        args.extend(CLOUDS.iter().enumerate().map(|(at, cloud)| format!("-var={cloud}={}", clouds >> at & 1 == 1)));
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        terraform.run(folder.path(), &args).unwrap();
        let yaml = terraform.run(folder.path(), &["output", "-raw", "gocoffee_yaml"]).unwrap();
        let (yaml, unknown) = known(&yaml);
        stood_in.extend(unknown);
        let loaded = config::load("gocoffee.yaml", &yaml);
        assert_eq!(loaded.report.errors(), 0, "{args:?}: {}", loaded.report.to_text(false));
        let config = loaded.config.unwrap();
        assert_eq!(config.archive.is_some(), mirror);
        assert_eq!(config.router.id.as_ref().map(|id| id.as_str()), Some("go-coffee-test"));
        assert_eq!(config.tests.len(), 3, "each function has a test, and they hold");
        // Nothing goes back to where it came from.
        for (name, route) in &config.routes {
            let (name, bus) = (name.as_str(), route.bus.as_str());
            assert!(name.starts_with(&bus.replace("default", "web")), "{name} reads {bus}");
            let to = name.split("-to-").nth(1).unwrap();
            assert!(bus != format!("from-{to}"), "{name}");
            // Behind the others no order is kept.
            assert_eq!(route.order.is_some(), to == "gcp", "{name}");
        }
        let count = u32::count_ones(clouds) as usize;
        let mirrored = if mirror { count * count } else { 0 };
        assert!(config.routes.len() >= mirrored.max(1), "{} routes", config.routes.len());
    }
    if !stood_in.is_empty() {
        eprintln!("kinds that this router does not know were stood in for: {stood_in:?}");
    }
    let none = [
        "apply",
        "-auto-approve",
        "-no-color",
        "-var=mirror=true",
        "-var=aws=false",
        "-var=gcp=false",
        "-var=azure=false",
    ];
    let said = terraform.run(folder.path(), &none).expect_err("no cloud at all");
    assert!(said.contains("Enable at least one cloud"), "{said}");
}

#[test]
fn aws_alone_is_laid_out_and_valid() {
    let Some(terraform) = Terraform::with_aws() else { return };
    let folder = tempfile::tempdir().unwrap();
    copy(&root().join("infra/aws"), folder.path());
    terraform.run(folder.path(), &["init", "-backend=false", "-no-color"]).unwrap();
    terraform.run(folder.path(), &["validate", "-no-color"]).unwrap();
    let wrong = text("infra/aws/events.tf").replace("visibility_timeout_seconds", "visibility_timeout");
    fs::write(folder.path().join("events.tf"), wrong).unwrap();
    terraform.run(folder.path(), &["validate", "-no-color"]).expect_err("a typo is found");
}

/// The checks of checkov that something under a folder fails.
fn careless(checkov: &Path, frameworks: &[&str], folder: &Path) -> BTreeSet<String> {
    let output = Command::new(checkov)
        .args(["--skip-download", "--quiet", "--compact", "--output", "json", "--framework"])
        .args(frameworks)
        .arg("--directory")
        .arg(folder)
        // It would ask whether there is a newer one.
        .env("CKV_SKIP_PACKAGE_UPDATE_CHECK", "true")
        .output()
        .expect("it starts");
    let said = String::from_utf8_lossy(&output.stdout);
    let all: Value = serde_json::from_str(&said).unwrap_or_else(|e| panic!("{e}: {said}"));
    let all = all.as_array().cloned().unwrap_or_else(|| vec![all]);
    assert_eq!(all.len(), frameworks.len(), "{said}");
    let mut failed = BTreeSet::new();
    for one in &all {
        let summary = &one["summary"];
        assert_eq!(summary["parsing_errors"], 0, "{summary}");
        assert!(summary["passed"].as_u64().unwrap() >= 20, "{summary}");
        let found = one["results"]["failed_checks"].as_array().unwrap().iter();
        failed.extend(found.map(|check| check["check_id"].as_str().unwrap().to_owned()));
    }
    failed
}

/// Goal: nothing is careless but what is listed with its reason, and nothing is listed that is not.
#[test]
fn checkov_finds_what_is_listed_with_a_reason_and_nothing_else() {
    if !is_long() {
        return;
    }
    let Some(checkov) = tool("checkov") else { return };
    let listed = document("infra/checkov.yaml")["skip-check"].clone();
    let listed = listed.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_owned());
    let (of_kubernetes, others): (BTreeSet<_>, BTreeSet<_>) = listed.partition(|id| id.starts_with("CKV_K8S_"));
    assert_eq!(careless(&checkov, &["terraform", "dockerfile"], &root().join("infra")), others);
    let Some(kubectl) = tool("kubectl") else { return };
    // checkov passes over folders whose names begin with a dot, as those of temporary files do.
    let folder = tempfile::Builder::new().prefix("rendered-").tempdir().unwrap();
    for environment in ["development", "staging", "production"] {
        let rendered = run(&kubectl, "infra/kubernetes/argocd", &["kustomize", environment]).unwrap();
        fs::write(folder.path().join(format!("{environment}.yaml")), rendered).unwrap();
    }
    assert_eq!(careless(&checkov, &["kubernetes"], folder.path()), of_kubernetes);
}
