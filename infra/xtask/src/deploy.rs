//! `cargo xtask deploy`: packages, plans and applies what `infra/` describes for one environment, and writes the router's
//! configuration for what was made.
//!
//! What is planned is laid out under `TARGET/deploy/ENVIRONMENT`: the modules, with an empty one in place of each cloud
//! that is not enabled, so that nobody needs the provider or the credentials of a cloud that is not used. The state lies in
//! `.deploy/` of the checkout, unless `--backend` says where.

use std::{
    fs,
    io::{BufRead, IsTerminal, Write},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use serde_json::Value;

use crate::Error;

/// What is deployed, out of arguments and environment.
mod settings;

/// What Terraform is given.
mod layout;

/// Terraform, or OpenTofu.
mod terraform;

use settings::Settings;
use terraform::Terraform;

/// What to deploy.
#[derive(clap::Args, Default)]
#[command(
    after_help = "Environment variables that stand for what is not given: ENABLE_AWS, ENABLE_GCP, ENABLE_AZURE (true or \
                  false), AWS_REGION, GCP_PROJECT_ID, GCP_REGION, AZURE_LOCATION, AZURE_RESOURCE_GROUP_NAME, OUTPUT_URL; \
                  TERRAFORM names the program.\n\nExit codes: 0 done, or no drift; 1 an error; 2 drift was found.\n\n\
                  Examples:\n  cargo xtask deploy --environment staging --enable-aws --dry-run --output-url \
                  https://router.example.com/events\n  cargo xtask deploy --environment staging --enable-aws --enable-gcp \
                  --settings staging.json\n  cargo xtask deploy --environment staging --enable-aws --drift-check\n  \
                  cargo xtask deploy destroy --environment staging --enable-aws"
)]
pub struct Args {
    /// `destroy` takes everything away again, after a question.
    #[arg(value_enum, default_value_t)]
    what: What,
    /// Which environment: 2 to 10 lower-case letters and digits.
    #[arg(long, default_value = "development", value_name = "NAME")]
    environment: String,
    /// The first part of every name.
    #[arg(long, default_value = "go-coffee", value_name = "NAME")]
    project_name: String,
    /// Deploy to AWS.
    #[arg(long, conflicts_with = "disable_aws")]
    enable_aws: bool,
    /// Deploy to Google Cloud.
    #[arg(long, conflicts_with = "disable_gcp")]
    enable_gcp: bool,
    /// Deploy to Azure.
    #[arg(long, conflicts_with = "disable_azure")]
    enable_azure: bool,
    /// Not to AWS, whatever ENABLE_AWS says.
    #[arg(long)]
    disable_aws: bool,
    /// Not to Google Cloud, whatever ENABLE_GCP says.
    #[arg(long)]
    disable_gcp: bool,
    /// Not to Azure, whatever ENABLE_AZURE says.
    #[arg(long)]
    disable_azure: bool,
    /// Where the functions post their replies: a path of the router, https://…/events.
    #[arg(long, value_name = "URL")]
    output_url: Option<String>,
    /// Further arguments of infra/modules/serverless-orchestrator, as an object in JSON; they go before the others.
    #[arg(long, value_name = "FILE")]
    settings: Option<PathBuf>,
    /// Where the state is, as Terraform's backend block in JSON, e.g. {"s3": {…}}. Default: `.deploy/NAME.tfstate`.
    #[arg(long, value_name = "FILE")]
    backend: Option<PathBuf>,
    /// Package and plan, show what would be made and what of it costs, and change nothing.
    #[arg(long, conflicts_with = "drift_check")]
    dry_run: bool,
    /// Package and plan, and look whether what is there is what would be made now; 2 when it is not. Changes nothing.
    #[arg(long)]
    drift_check: bool,
    /// Do not ask.
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum What {
    /// Make it, or change it.
    #[default]
    Apply,
    /// Take everything away again.
    Destroy,
}

/// What came of it, when nothing went wrong.
enum Outcome {
    Done,
    Drift,
}

/// Deploys.
pub fn run(root: &Path, args: &Args) -> Result<ExitCode, Error> {
    let settings = Settings::new(args, &|name| std::env::var(name).ok())?;
    match deploy(root, args, &settings)? {
        Outcome::Done => Ok(ExitCode::SUCCESS),
        Outcome::Drift => Ok(ExitCode::from(2)),
    }
}

fn deploy(root: &Path, args: &Args, settings: &Settings) -> Result<Outcome, Error> {
    let terraform = Terraform::find()?;
    settings::credentials(settings, &|name| std::env::var(name).ok(), &|file| file.exists())?;
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    let folder = target.join("deploy").join(&settings.environment);
    let packages = target.join("packages");
    if args.what == What::Apply {
        package(root, settings, &packages)?;
    } else if args.drift_check {
        return Err(Error("what is to be destroyed cannot drift: leave `destroy` or --drift-check out".into()));
    }
    layout::write(root, &folder, settings)?;
    let terraform = terraform.within(&folder);
    println!("== {}: {} in {}", settings.environment, settings.clouds_in_words(), folder.display());
    terraform.init()?;
    let changes = terraform.plan(args.what == What::Destroy)?;
    print!("{}", terraform::table(&changes));
    if args.drift_check {
        return Ok(if changes.is_empty() { Outcome::Done } else { Outcome::Drift });
    }
    if args.dry_run {
        println!("nothing was changed");
        return Ok(Outcome::Done);
    }
    if changes.is_empty() && args.what == What::Destroy {
        return Ok(Outcome::Done);
    }
    if !changes.is_empty() && !args.yes && !agreed(args.what, settings)? {
        println!("nothing was changed");
        return Ok(Outcome::Done);
    }
    terraform.apply()?;
    if args.what == What::Apply {
        configuration(&terraform, &folder)?;
    }
    Ok(Outcome::Done)
}

/// Writes the router's configuration for what was made.
fn configuration(terraform: &Terraform, folder: &Path) -> Result<(), Error> {
    let outputs = terraform.outputs()?;
    let yaml = outputs.pointer("/gocoffee_yaml/value").and_then(Value::as_str);
    let yaml = yaml.ok_or_else(|| Error("Terraform gave no configuration of the router".into()))?;
    let file = folder.join("gocoffee.yaml");
    write(&file, yaml)?;
    println!("the router's configuration: {0}\nnext: gocoffee check {0} --connect", file.display());
    Ok(())
}

/// Makes the packages that are not there.
fn package(root: &Path, settings: &Settings, packages: &Path) -> Result<(), Error> {
    for (function, cloud) in settings.packages()? {
        let file = packages.join(format!("{function}-{}.zip", cloud.name()));
        if file.is_file() {
            println!("== package: {} is there; remove it to have it made anew", file.display());
            continue;
        }
        println!("== package: {function} for {}", cloud.name());
        let program = std::env::current_exe().map_err(|e| Error(format!("this program has no path: {e}")))?;
        let args = ["package", &function, "--cloud", cloud.name(), "--out"];
        let status = Command::new(program).args(args).arg(packages).current_dir(root).status();
        if !status.is_ok_and(|status| status.success()) || !file.is_file() {
            let file = file.display();
            return Err(Error(format!(
                "the package {file} is missing and could not be made; put it there, or leave the function out: `\"functions\": {{…}}` of --settings"
            )));
        }
    }
    Ok(())
}

fn agreed(what: What, settings: &Settings) -> Result<bool, Error> {
    let environment = &settings.environment;
    if !std::io::stdin().is_terminal() {
        return Err(Error("nobody can be asked here: say --yes, or --dry-run to change nothing".into()));
    }
    let question = match what {
        What::Apply => format!("Apply this to {environment}? [yes/no] "),
        What::Destroy => format!("Destroy {environment}, with {}? Write its name: ", settings.lost_in_words()),
    };
    print!("{question}");
    std::io::stdout().flush().map_err(|e| Error(e.to_string()))?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer).map_err(|e| Error(e.to_string()))?;
    Ok(match what {
        What::Apply => answer.trim() == "yes",
        What::Destroy => answer.trim() == environment,
    })
}

fn write(file: &Path, text: &str) -> Result<(), Error> {
    fs::write(file, text).map_err(|e| Error(format!("{}: {e}", file.display())))
}
