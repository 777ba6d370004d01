//! What is deployed where, out of arguments, a file and the environment. Pure, but for the file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value, json};

use super::Args;
use crate::Error;

/// The functions that are deployed when nothing is said.
pub const FUNCTIONS: [&str; 5] =
    ["order-processor", "inventory-optimizer", "defi-scanner", "ai-coordinator", "notification-dispatcher"];
/// Characters of an environment's name.
const ENVIRONMENT_CHARS: std::ops::RangeInclusive<usize> = 2..=10;

/// A cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cloud {
    Aws,
    Gcp,
    Azure,
}

impl Cloud {
    pub const ALL: [Cloud; 3] = [Cloud::Aws, Cloud::Gcp, Cloud::Azure];

    /// Its folder, and what it is called in settings.
    pub fn name(self) -> &'static str {
        match self {
            Cloud::Aws => "aws",
            Cloud::Gcp => "gcp",
            Cloud::Azure => "azure",
        }
    }
}

/// What is deployed.
#[derive(Debug)]
pub struct Settings {
    pub environment: String,
    pub clouds: Vec<Cloud>,
    pub aws_region: Option<String>,
    /// Arguments of the module.
    pub arguments: Map<String, Value>,
    /// Where the state is, when somebody said so.
    pub backend: Option<Value>,
}

impl Settings {
    /// From arguments, then the environment.
    pub fn new(args: &Args, env: &dyn Fn(&str) -> Option<String>) -> Result<Settings, Error> {
        let environment = args.environment.clone();
        let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        if !ENVIRONMENT_CHARS.contains(&environment.len())
            || !environment.starts_with(|c: char| c.is_ascii_lowercase())
            || !environment.chars().all(fits)
        {
            return Err(Error(format!(
                "`{environment}` is no name of an environment: 2 to 10 lower-case letters and digits, a letter first"
            )));
        }
        let mut clouds = Vec::new();
        for (cloud, on, off) in [
            (Cloud::Aws, args.enable_aws, args.disable_aws),
            (Cloud::Gcp, args.enable_gcp, args.disable_gcp),
            (Cloud::Azure, args.enable_azure, args.disable_azure),
        ] {
            if !off && (on || enabled(cloud, env)?) {
                clouds.push(cloud);
            }
        }
        if clouds.is_empty() {
            let help = "say --enable-aws, --enable-gcp or --enable-azure, or set ENABLE_AWS=true and so on";
            return Err(Error(format!("no cloud is enabled: {help}")));
        }
        let mut arguments = Map::new();
        arguments.insert("project_name".into(), json!(args.project_name));
        arguments.insert("environment".into(), json!(environment));
        for cloud in Cloud::ALL {
            arguments.insert(format!("enable_{}", cloud.name()), json!(clouds.contains(&cloud)));
        }
        let output_url = args.output_url.clone().or_else(|| env("OUTPUT_URL"));
        let from_env = [
            ("output_url", output_url),
            ("gcp_project_id", env("GCP_PROJECT_ID")),
            ("gcp_region", env("GCP_REGION")),
            ("azure_location", env("AZURE_LOCATION")),
            ("azure_resource_group_name", env("AZURE_RESOURCE_GROUP_NAME")),
        ];
        arguments.extend(from_env.into_iter().filter_map(|(name, value)| Some((name.into(), json!(value?)))));
        if let Some(file) = &args.settings {
            arguments.extend(object(file)?);
        }
        let backend = args.backend.as_deref().map(object).transpose()?.map(Value::Object);
        let settings = Settings { environment, clouds, aws_region: env("AWS_REGION"), arguments, backend };
        settings.complete()
    }

    /// What a cloud cannot do without.
    fn complete(self) -> Result<Settings, Error> {
        let has = |name: &str| self.arguments.get(name).and_then(Value::as_str).is_some_and(|v| !v.is_empty());
        for (cloud, name, help) in [
            (Cloud::Aws, "", "Set AWS_REGION, e.g. AWS_REGION=eu-central-1"),
            (Cloud::Gcp, "gcp_project_id", "Set GCP_PROJECT_ID, or `gcp_project_id` in --settings"),
            (
                Cloud::Azure,
                "azure_resource_group_name",
                "Set AZURE_RESOURCE_GROUP_NAME, or `azure_resource_group_name` in --settings",
            ),
        ] {
            let there = if name.is_empty() { self.aws_region.is_some() } else { has(name) };
            if self.clouds.contains(&cloud) && !there {
                return Err(Error(format!("{} is enabled and does not know where: {help}", cloud.name())));
            }
        }
        if !self.functions()?.is_empty() && !has("output_url") {
            let help = "give --output-url or OUTPUT_URL, the https:// address of the router's source, or `\"functions\": {}` in --settings";
            return Err(Error(format!("the functions do not know where to post their replies: {help}")));
        }
        // `""` stands for what nobody asked for: the module has it without a default.
        let mut settings = self;
        settings.arguments.entry("output_url").or_insert_with(|| json!(""));
        Ok(settings)
    }

    /// The functions, each with its cloud.
    pub fn functions(&self) -> Result<Vec<(String, Cloud)>, Error> {
        let first = *self.clouds.first().unwrap_or(&Cloud::Aws);
        let Some(given) = self.arguments.get("functions") else {
            return Ok(FUNCTIONS.iter().map(|name| ((*name).to_owned(), first)).collect());
        };
        let given = given.as_object().ok_or_else(|| Error("`functions` of --settings is an object by name".into()))?;
        let mut functions = Vec::new();
        for (name, function) in given.iter().filter(|(_, function)| !function.is_null()) {
            let named = function.get("cloud").and_then(Value::as_str);
            let cloud = match named {
                None => first,
                Some(named) => *Cloud::ALL.iter().find(|cloud| cloud.name() == named).ok_or_else(|| {
                    Error(format!("the function {name} is in the cloud `{named}`; there are aws, gcp and azure"))
                })?,
            };
            functions.push((name.clone(), cloud));
        }
        Ok(functions)
    }

    /// The functions that are uploaded as packages: Google takes images.
    pub fn packages(&self) -> Result<Vec<(String, Cloud)>, Error> {
        Ok(self.functions()?.into_iter().filter(|(_, cloud)| *cloud != Cloud::Gcp).collect())
    }

    /// What a destruction takes along: buckets that are not empty stay, an account at Azure goes with what is in it.
    pub fn lost_in_words(&self) -> &'static str {
        match self.clouds.contains(&Cloud::Azure) {
            true => "what is in its queues, and with the archive at Azure",
            false => "what is in its queues (an archive that is not empty stays, and is to be emptied by hand)",
        }
    }

    pub fn clouds_in_words(&self) -> String {
        self.clouds.iter().map(|cloud| cloud.name()).collect::<Vec<_>>().join(", ")
    }
}

fn enabled(cloud: Cloud, env: &dyn Fn(&str) -> Option<String>) -> Result<bool, Error> {
    let name = format!("ENABLE_{}", cloud.name().to_uppercase());
    match env(&name).as_deref() {
        None | Some("" | "false" | "0") => Ok(false),
        Some("true" | "1") => Ok(true),
        Some(other) => Err(Error(format!("{name}={other} is neither true nor false"))),
    }
}

fn object(file: impl AsRef<Path>) -> Result<Map<String, Value>, Error> {
    let file = file.as_ref();
    let text = fs::read_to_string(file).map_err(|e| Error(format!("{}: {e}", file.display())))?;
    serde_json::from_str(&text).map_err(|e| Error(format!("{} is no object in JSON: {e}", file.display())))
}

/// Looks whether each enabled cloud has credentials at all; whether they are right is the cloud's to say.
pub fn credentials(
    settings: &Settings,
    env: &dyn Fn(&str) -> Option<String>,
    exists: &dyn Fn(&Path) -> bool,
) -> Result<(), Error> {
    let home = env("HOME").map(PathBuf::from).unwrap_or_default();
    for cloud in &settings.clouds {
        let (names, file, help): (&[&str], _, _) = match cloud {
            Cloud::Aws => (
                &[
                    "AWS_ACCESS_KEY_ID",
                    "AWS_PROFILE",
                    "AWS_WEB_IDENTITY_TOKEN_FILE",
                    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                ],
                ".aws/credentials",
                "run `aws configure sso` and set AWS_PROFILE, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
            ),
            Cloud::Gcp => (
                &["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CREDENTIALS", "GOOGLE_OAUTH_ACCESS_TOKEN"],
                ".config/gcloud/application_default_credentials.json",
                "run `gcloud auth application-default login`, or set GOOGLE_APPLICATION_CREDENTIALS",
            ),
            Cloud::Azure => (
                &["ARM_CLIENT_ID", "ARM_USE_MSI", "ARM_USE_OIDC"],
                ".azure/azureProfile.json",
                "run `az login`, or set ARM_CLIENT_ID, ARM_TENANT_ID and ARM_CLIENT_SECRET",
            ),
        };
        if !names.iter().any(|name| env(name).is_some_and(|v| !v.is_empty())) && !exists(&home.join(file)) {
            return Err(Error(format!("there are no credentials for {}: {help}", cloud.name())));
        }
        if *cloud == Cloud::Azure && env("ARM_SUBSCRIPTION_ID").is_none() {
            return Err(Error(
                "azure does not know which subscription: set ARM_SUBSCRIPTION_ID (`az account show`)".into(),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(args: &Args, env: &[(&str, &str)]) -> Result<Settings, String> {
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
        Settings::new(args, &env).map_err(|e| e.to_string())
    }

    fn args(change: impl Fn(&mut Args)) -> Args {
        let mut args = Args { environment: "staging".into(), project_name: "go-coffee".into(), ..Args::default() };
        change(&mut args);
        args
    }

    #[test]
    fn arguments_go_before_the_environment() {
        let env = [
            ("ENABLE_AWS", "true"),
            ("ENABLE_GCP", "1"),
            ("AWS_REGION", "eu-central-1"),
            ("GCP_PROJECT_ID", "p"),
            ("OUTPUT_URL", "https://r/e"),
        ];
        let both = settings(&args(|_| {}), &env).map(|s| s.clouds);
        assert_eq!(both, Ok(vec![Cloud::Aws, Cloud::Gcp]));
        let one =
            settings(&args(|a| a.disable_aws = true), &env).map(|s| (s.clouds, s.arguments.get("enable_aws").cloned()));
        assert_eq!(one, Ok((vec![Cloud::Gcp], Some(json!(false)))));
        let url = settings(&args(|a| a.output_url = Some("https://x/e".into())), &env)
            .map(|s| s.arguments.get("output_url").cloned());
        assert_eq!(url, Ok(Some(json!("https://x/e"))));
    }

    #[test]
    fn what_is_missing_is_said_with_what_to_do() {
        let says = |change: &dyn Fn(&mut Args), env: &[(&str, &str)], what: &str| {
            let said = settings(&args(change), env).map(|_| ()).unwrap_err();
            assert!(said.contains(what), "{said}");
        };
        says(&|_| {}, &[], "--enable-aws");
        says(&|_| {}, &[("ENABLE_AWS", "yes")], "neither true nor false");
        says(&|a| a.enable_aws = true, &[], "AWS_REGION");
        says(&|a| a.enable_gcp = true, &[], "GCP_PROJECT_ID");
        says(&|a| a.enable_azure = true, &[], "AZURE_RESOURCE_GROUP_NAME");
        says(&|a| a.enable_aws = true, &[("AWS_REGION", "x")], "--output-url");
        says(&|a| a.environment = "Staging!".into(), &[], "no name of an environment");
        says(
            &|a| (a.enable_aws, a.settings) = (true, Some("/nowhere.json".into())),
            &[("AWS_REGION", "x")],
            "/nowhere.json",
        );
    }

    #[test]
    fn credentials_are_looked_for_where_the_providers_look() {
        let all = args(|a| (a.enable_aws, a.enable_azure, a.output_url) = (true, true, Some("https://r/e".into())));
        let all = settings(&all, &[("AWS_REGION", "x"), ("AZURE_RESOURCE_GROUP_NAME", "g")])
            .unwrap_or_else(|e| unreachable!("{e}"));
        let found = |env: &[(&str, &str)], file: &str| {
            let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            credentials(&all, &env, &|path| path.ends_with(file)).map_err(|e| e.to_string())
        };
        assert!(found(&[("HOME", "/h")], "none").is_err_and(|e| e.contains("credentials for aws")));
        assert!(found(&[("AWS_PROFILE", "p")], "none").is_err_and(|e| e.contains("credentials for azure")));
        assert!(
            found(&[("AWS_PROFILE", "p")], ".azure/azureProfile.json")
                .is_err_and(|e| e.contains("ARM_SUBSCRIPTION_ID"))
        );
        assert_eq!(
            found(&[("AWS_PROFILE", "p"), ("ARM_USE_MSI", "true"), ("ARM_SUBSCRIPTION_ID", "s")], "none"),
            Ok(())
        );
    }
}
