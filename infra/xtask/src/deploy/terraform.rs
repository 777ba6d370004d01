//! Terraform, or OpenTofu, in one folder; and what its plan means in words.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::Error;

/// Kinds that are paid for, and by what.
const COSTS: [(&str, &str); 14] = [
    ("aws_lambda_function", "by call and time"),
    ("aws_sqs_queue", "by request"),
    ("aws_cloudwatch_event_bus", "by event"),
    ("aws_cloudwatch_event_api_destination", "by call"),
    ("aws_s3_bucket", "by byte and request"),
    ("aws_cloudwatch_log_group", "by byte"),
    ("google_pubsub_topic", "by byte"),
    ("google_pubsub_subscription", "by byte kept"),
    ("google_cloud_run_v2_service", "by call and time"),
    ("google_storage_bucket", "by byte and request"),
    ("azurerm_eventgrid_topic", "by event"),
    ("azurerm_eventgrid_namespace", "by the hour"),
    ("azurerm_linux_function_app", "by call and time"),
    ("azurerm_storage_account", "by byte and request"),
];

/// The program and its folder.
pub struct Terraform {
    program: OsString,
    folder: PathBuf,
}

/// Kind to how many are made, changed, and taken away.
pub type Changes = BTreeMap<String, [usize; 3]>;

impl Terraform {
    /// The one that TERRAFORM names, else `terraform`, else `tofu`.
    pub fn find() -> Result<Terraform, Error> {
        let named = std::env::var_os("TERRAFORM");
        let candidates = named.map_or_else(|| vec!["terraform".into(), "tofu".into()], |named| vec![named]);
        let works = |program: &OsString| {
            let quiet = Command::new(program).arg("version").stdout(Stdio::null()).stderr(Stdio::null()).status();
            quiet.is_ok_and(|status| status.success())
        };
        let help = "install Terraform (https://developer.hashicorp.com/terraform/install) or OpenTofu \
                    (https://opentofu.org/docs/intro/install), or name the program in TERRAFORM";
        let program =
            candidates.into_iter().find(works).ok_or_else(|| Error(format!("there is no Terraform: {help}")))?;
        Ok(Terraform { program, folder: PathBuf::new() })
    }

    /// The same in this folder.
    pub fn within(self, folder: &Path) -> Terraform {
        Terraform { folder: folder.into(), ..self }
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command
            .args(args)
            .current_dir(&self.folder)
            .env("TF_IN_AUTOMATION", "1")
            .env("TF_INPUT", "0")
            .stdin(Stdio::null());
        command
    }

    /// Runs it and shows what it says; its exit code.
    fn shown(&self, args: &[&str]) -> Result<i32, Error> {
        let status =
            self.command(args).status().map_err(|e| Error(format!("{}: {e}", self.program.to_string_lossy())))?;
        Ok(status.code().unwrap_or(1))
    }

    /// Runs it for what it prints.
    fn read(&self, args: &[&str]) -> Result<Value, Error> {
        let output =
            self.command(args).output().map_err(|e| Error(format!("{}: {e}", self.program.to_string_lossy())))?;
        if !output.status.success() {
            return Err(Error(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        serde_json::from_slice(&output.stdout).map_err(|e| Error(format!("Terraform printed no JSON: {e}")))
    }

    /// Gets the providers.
    pub fn init(&self) -> Result<(), Error> {
        match self.shown(&["init", "-input=false", "-no-color", "-reconfigure"])? {
            0 => Ok(()),
            _ => Err(Error("Terraform cannot get its providers; a mirror is named in its CLI configuration".into())),
        }
    }

    /// What would be changed; the plan is kept for [`Terraform::apply`].
    pub fn plan(&self, destroy: bool) -> Result<Changes, Error> {
        let mut args = vec!["plan", "-input=false", "-no-color", "-compact-warnings", "-out=plan"];
        if destroy {
            args.push("-destroy");
        }
        match self.shown(&args)? {
            0 => Ok(changes(&self.read(&["show", "-json", "plan"])?)),
            _ => Err(Error("there is no plan: see above".into())),
        }
    }

    /// Makes it so.
    pub fn apply(&self) -> Result<(), Error> {
        match self.shown(&["apply", "-input=false", "-no-color", "plan"])? {
            0 => Ok(()),
            _ => Err(Error("not everything was applied: see above, mend it and run this again".into())),
        }
    }

    /// What came out.
    pub fn outputs(&self) -> Result<Value, Error> {
        self.read(&["output", "-json"])
    }
}

/// The changes of a plan, by kind; what only is read or stays does not count.
fn changes(plan: &Value) -> Changes {
    let mut changes = Changes::new();
    for change in plan.get("resource_changes").and_then(Value::as_array).into_iter().flatten() {
        let actions = change.pointer("/change/actions").and_then(Value::as_array);
        let Some(kind) = change.get("type").and_then(Value::as_str) else { continue };
        for action in actions.into_iter().flatten().filter_map(Value::as_str) {
            let Some(at) = ["create", "update", "delete"].iter().position(|known| *known == action) else { continue };
            if let Some(count) = changes.entry(kind.to_owned()).or_default().get_mut(at) {
                *count += 1;
            }
        }
    }
    changes
}

/// The changes as lines, what is paid for first.
pub fn table(changes: &Changes) -> String {
    if changes.is_empty() {
        return "no changes\n".into();
    }
    let cost = |kind: &str| COSTS.iter().find(|(known, _)| *known == kind).map(|(_, by)| *by);
    let (paid, free): (Vec<_>, Vec<_>) = changes.iter().partition(|(kind, _)| cost(kind).is_some());
    let line = |(kind, [made, changed, gone]): &(&String, &[usize; 3])| {
        let by = cost(kind).map(|by| format!("   paid for {by}")).unwrap_or_default();
        format!("{kind:<48} {made:>5} {changed:>7} {gone:>9}{by}\n")
    };
    let lines: String = paid.iter().chain(&free).map(line).collect();
    format!("{:<48} {:>5} {:>7} {:>9}\n{lines}", "KIND", "MAKE", "CHANGE", "TAKE AWAY")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn plan_is_counted_by_kind_and_what_costs_stands_first() {
        let change = |kind: &str, actions: &[&str]| json!({"type": kind, "change": {"actions": actions}});
        let plan = json!({"resource_changes": [
            change("aws_iam_role", &["create"]),
            change("aws_sqs_queue", &["delete", "create"]),
            change("aws_sqs_queue", &["create"]),
            change("aws_iam_policy_document", &["read"]),
            change("aws_s3_bucket", &["no-op"]),
        ]});
        let changes = changes(&plan);
        assert_eq!(changes, Changes::from([("aws_iam_role".into(), [1, 0, 0]), ("aws_sqs_queue".into(), [2, 0, 1])]));
        let table = table(&changes);
        let lines: Vec<&str> = table.lines().collect();
        assert!(
            lines.get(1).is_some_and(|l| l.starts_with("aws_sqs_queue") && l.ends_with("paid for by request")),
            "{table}"
        );
        assert_eq!(super::table(&Changes::new()), "no changes\n");
    }
}
