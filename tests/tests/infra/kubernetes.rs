use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use gocoffee::{config, serve::STOP_DEADLINE};
use serde_json::Value;

use super::{document, files, root, run, text, tool};

/// The folder.
const HERE: &str = "infra/kubernetes";
/// What can be applied.
const APPLIED: [&str; 7] = [
    "base",
    "overlays/development",
    "overlays/staging",
    "overlays/production",
    "argocd/development",
    "argocd/staging",
    "argocd/production",
];
/// The version of Kubernetes whose schemas are asked.
const VERSION: &str = "1.34";

/// The documents of a file of YAML.
fn documents(name: &str, yaml: &str) -> Vec<Value> {
    let parts =
        yaml.split("\n---\n").filter(|part| part.lines().any(|line| !line.is_empty() && !line.starts_with('#')));
    parts.map(|part| config::document(name, part).unwrap_or_else(|e| panic!("{name}: {e}\n{part}"))).collect()
}

/// What `kubectl apply -k` would apply; `None` where there is no kubectl.
fn rendered(folder: &str) -> Option<String> {
    let kubectl = tool("kubectl")?;
    Some(run(&kubectl, HERE, &["kustomize", folder]).unwrap())
}

/// All objects of each folder that can be applied, by folder.
fn all() -> Option<BTreeMap<&'static str, Vec<Value>>> {
    APPLIED.iter().map(|folder| Some((*folder, documents(folder, &rendered(folder)?)))).collect()
}

fn str_of(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn array(value: &Value) -> Vec<Value> {
    value.as_array().cloned().unwrap_or_default()
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The pods that an object makes.
fn pod(object: &Value) -> Option<&Value> {
    ["StatefulSet", "Job"].contains(&str_of(&object["kind"])).then(|| &object["spec"]["template"])
}

fn containers(pod: &Value) -> Vec<Value> {
    [array(&pod["spec"]["initContainers"]), array(&pod["spec"]["containers"])].concat()
}

/// Whether all pairs of a selector are among the labels.
fn selects(selector: &Value, labels: &Value) -> bool {
    let pairs = selector.as_object().unwrap_or_else(|| panic!("{selector}"));
    !pairs.is_empty() && pairs.iter().all(|(key, value)| labels.get(key) == Some(value))
}

#[test]
fn every_file_is_read_and_used() {
    let mut used: BTreeSet<String> = BTreeSet::new();
    for file in files(HERE).iter().filter(|file| file.ends_with("/kustomization.yaml")) {
        let folder = file.trim_end_matches("/kustomization.yaml");
        let kustomization = document(file);
        used.insert(file.clone());
        let mut named: Vec<String> = Vec::new();
        for key in ["resources", "components"] {
            named.extend(array(&kustomization[key]).iter().map(|v| str_of(v).to_owned()));
        }
        named.extend(array(&kustomization["patches"]).iter().filter_map(|p| Some(p["path"].as_str()?.to_owned())));
        let generators = array(&kustomization["configMapGenerator"]);
        named.extend(generators.iter().flat_map(|g| array(&g["files"])).map(|f| str_of(&f).to_owned()));
        for name in named {
            let path = root().join(folder).join(&name);
            assert!(path.exists(), "{file}: {name}");
            used.insert(format!("{folder}/{name}"));
        }
    }
    let by_hand = ["argocd/project.yaml", "argocd/application.yaml", "argocd/applicationset.yaml"];
    used.extend(by_hand.iter().map(|file| format!("{HERE}/{file}")));
    for file in files(HERE).iter().filter(|file| file.ends_with(".yaml")) {
        assert!(used.contains(file), "nothing uses {file}");
        assert!(!documents(file, &text(file)).is_empty(), "{file}");
    }
}

#[test]
fn every_object_is_of_its_schema_with_unknown_fields_refused() {
    let Some(validate) = tool("kubernetes-validate") else { return };
    let folder = tempfile::tempdir().unwrap();
    let check = |name: &str, yaml: &str| {
        let file = folder.path().join(name);
        fs::write(&file, yaml).unwrap();
        run(&validate, HERE, &["--strict", "-k", VERSION, file.to_str().unwrap()])
    };
    let mut together = String::new();
    for applied in APPLIED {
        let Some(yaml) = rendered(applied) else { return };
        together += &format!("---\n{yaml}");
    }
    let said = check("all.yaml", &together).unwrap();
    assert!(!said.contains("ERROR"), "{said}");
    // What has no schema there is held to ours below.
    let unknown: BTreeSet<&str> =
        said.lines().filter_map(|line| line.split("schema for kind ").nth(1)?.split(' ').next()).collect();
    assert_eq!(unknown, BTreeSet::from(["ServiceMonitor"]), "{said}");
    for (right, wrong) in [
        ("readOnlyRootFilesystem: true", "readonlyRootFilesystem: true"),
        ("terminationGracePeriodSeconds: 60", "terminationGracePeriodSeconds: sixty"),
        ("maxUnavailable: 1", "maxUnavailble: 1"),
    ] {
        let Some(yaml) = rendered("base") else { return };
        assert!(yaml.contains(right), "{right}");
        check("wrong.yaml", &yaml.replace(right, wrong)).expect_err(wrong);
    }
}

/// The fields of a mapping, as `path: names`; `*` is any index.
type Fields = [(&'static str, &'static [&'static str])];

/// The fields that are used of kinds that Kubernetes itself does not have.
const CUSTOM: [(&str, &Fields); 4] = [
    (
        "ServiceMonitor",
        &[
            ("spec", &["jobLabel", "selector", "endpoints"]),
            ("spec.selector", &["matchLabels"]),
            ("spec.endpoints.*", &["port", "path", "interval", "scrapeTimeout"]),
        ],
    ),
    (
        "AppProject",
        &[
            (
                "spec",
                &[
                    "description",
                    "sourceRepos",
                    "destinations",
                    "clusterResourceWhitelist",
                    "namespaceResourceWhitelist",
                    "orphanedResources",
                ],
            ),
            ("spec.destinations.*", &["server", "namespace"]),
            ("spec.clusterResourceWhitelist.*", &["group", "kind"]),
            ("spec.namespaceResourceWhitelist.*", &["group", "kind"]),
            ("spec.orphanedResources", &["warn"]),
        ],
    ),
    ("Application", APPLICATION),
    (
        "ApplicationSet",
        &[
            ("spec", &["goTemplate", "goTemplateOptions", "generators", "syncPolicy", "template"]),
            ("spec.syncPolicy", &["preserveResourcesOnDeletion"]),
            ("spec.generators.*", &["list"]),
            ("spec.generators.*.list", &["elements"]),
            ("spec.template", &["metadata", "spec"]),
        ],
    ),
];
const APPLICATION: &Fields = &[
    ("spec", &["project", "source", "destination", "syncPolicy", "revisionHistoryLimit"]),
    ("spec.source", &["repoURL", "targetRevision", "path"]),
    ("spec.destination", &["server", "namespace"]),
    ("spec.syncPolicy", &["automated", "managedNamespaceMetadata", "syncOptions", "retry"]),
    ("spec.syncPolicy.automated", &["prune", "selfHeal", "allowEmpty"]),
    ("spec.syncPolicy.managedNamespaceMetadata", &["labels"]),
    ("spec.syncPolicy.retry", &["limit", "backoff"]),
    ("spec.syncPolicy.retry.backoff", &["duration", "factor", "maxDuration"]),
];

/// Every mapping at a path.
fn at<'a>(value: &'a Value, path: &str) -> Vec<&'a Value> {
    path.split('.').fold(vec![value], |found, part| {
        let next = found.into_iter().flat_map(|value| match part {
            "*" => value.as_array().map(|items| items.iter().collect::<Vec<_>>()).unwrap_or_default(),
            name => value.get(name).into_iter().collect(),
        });
        next.collect()
    })
}

fn of_custom_schema(object: &Value, fields: &Fields) {
    for (path, names) in fields {
        for mapping in at(object, path) {
            for name in mapping.as_object().unwrap_or_else(|| panic!("{path}: {mapping}")).keys() {
                assert!(names.contains(&name.as_str()), "{}: {path} has no `{name}`", object["kind"]);
            }
        }
    }
}

#[test]
fn objects_of_operators_have_only_fields_of_theirs() {
    let mut objects = documents("base", &text(format!("{HERE}/base/servicemonitor.yaml")));
    for file in ["project", "application", "applicationset"] {
        let name = format!("{HERE}/argocd/{file}.yaml");
        objects.extend(documents(&name, &text(&name)));
    }
    assert_eq!(objects.len(), CUSTOM.len());
    for object in &objects {
        let kind = str_of(&object["kind"]);
        let (_, fields) = CUSTOM.iter().find(|(known, _)| *known == kind).unwrap_or_else(|| panic!("{kind}"));
        of_custom_schema(object, fields);
        if kind == "ApplicationSet" {
            of_custom_schema(&object["spec"]["template"], APPLICATION);
        }
    }
}

#[test]
fn pods_are_restricted_and_bounded() {
    let Some(all) = all() else { return };
    let mut seen = 0;
    for (folder, object) in all.iter().flat_map(|(folder, objects)| objects.iter().map(move |o| (folder, o))) {
        let Some(pod) = pod(object) else { continue };
        let (spec, name) = (&pod["spec"], format!("{folder}: {}", object["kind"]));
        let of_pod = &spec["securityContext"];
        assert_eq!(
            (&of_pod["runAsNonRoot"], &of_pod["seccompProfile"]["type"]),
            (&true.into(), &"RuntimeDefault".into()),
            "{name}"
        );
        for key in ["hostNetwork", "hostPID", "hostIPC"] {
            assert!(spec.get(key).is_none(), "{name}: {key}");
        }
        for volume in array(&spec["volumes"]) {
            let allowed = ["configMap", "secret", "emptyDir"];
            assert!(allowed.iter().any(|kind| volume.get(kind).is_some()), "{name}: {volume}");
        }
        for container in containers(pod) {
            let name = format!("{name}: {}", container["name"]);
            let context = &container["securityContext"];
            assert_eq!(context["allowPrivilegeEscalation"], false, "{name}");
            assert_eq!(context["readOnlyRootFilesystem"], true, "{name}");
            assert_eq!(context["capabilities"], serde_json::json!({"drop": ["ALL"]}), "{name}");
            for bound in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                assert!(container["resources"].pointer(bound).is_some(), "{name}: {bound}");
            }
            let image = str_of(&container["image"]);
            let tagged = image.rsplit('/').next().unwrap().contains(':') && !image.ends_with(":latest");
            assert!(tagged && image.contains('/'), "{name}: {image}");
            seen += 1;
        }
    }
    assert_eq!(seen, 7 + 3 * 2);
}

#[test]
fn the_router_owns_its_volume_and_is_given_time_to_stop() {
    let Some(all) = all() else { return };
    for (folder, objects) in &all {
        let set = of_kind(objects, "StatefulSet")[0];
        assert_eq!(set["spec"]["replicas"], 1, "{folder}");
        let pod = &set["spec"]["template"]["spec"];
        assert_eq!(pod["automountServiceAccountToken"], false, "{folder}");
        let router = &pod["containers"][0];
        let before = router["lifecycle"]["preStop"]["sleep"]["seconds"].as_u64().unwrap();
        let grace = pod["terminationGracePeriodSeconds"].as_u64().unwrap();
        assert!(grace > before + STOP_DEADLINE.as_secs() + 10, "{folder}: {grace} s");
        let claim = &set["spec"]["volumeClaimTemplates"][0]["spec"];
        assert_eq!(claim["accessModes"], serde_json::json!(["ReadWriteOncePod"]), "{folder}");

        let map = of_kind(objects, "ConfigMap")
            .into_iter()
            .find(|map| str_of(&map["metadata"]["name"]).starts_with("gocoffee-config-"))
            .unwrap();
        let yaml = str_of(&map["data"]["gocoffee.yaml"]);
        let config = checked(folder, yaml);
        let gi: u64 = str_of(&claim["resources"]["requests"]["storage"]).trim_end_matches("Gi").parse().unwrap();
        let config::Store::Disk(disk) = &config.store else { panic!("{folder}: events are kept in memory") };
        let needed = disk.bytes_max.unwrap() + (192 << 20) + disk.free_min;
        assert!(needed * 21 / 20 < gi << 30, "{folder}: {gi} GiB are too few for {needed} bytes");
        let data = array(&router["volumeMounts"]).into_iter().find(|m| m["name"] == "data").unwrap();
        assert_eq!(disk.path.to_str(), data["mountPath"].as_str(), "{folder}");

        let port = |name: &str| {
            let ports = array(&router["ports"]);
            ports.iter().find(|p| p["name"] == name).and_then(|p| p["containerPort"].as_u64()).unwrap()
        };
        assert_eq!(u64::from(config.listen.port()), port("events"), "{folder}");
        assert_eq!(config.admin.probes.map(|addr| u64::from(addr.port())), Some(port("probes")), "{folder}");
        assert!(config.admin.listen.ip().is_loopback(), "{folder}");
        for (probe, path) in
            [("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")]
        {
            assert_eq!(router[probe]["httpGet"], serde_json::json!({"path": path, "port": "probes"}), "{folder}");
        }
    }
}

/// The configuration as `gocoffee check` reads it, with files in place of those that Kubernetes mounts.
fn checked(folder: &str, yaml: &str) -> config::Config {
    let mounted = tempfile::tempdir().unwrap();
    for (name, text) in
        [("keys/publishers", "secret"), ("keys/functions", "secret"), ("tls/tls.crt", ""), ("tls/tls.key", "")]
    {
        let file = mounted.path().join(name);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }
    let yaml = yaml.replace("/run/gocoffee", mounted.path().to_str().unwrap());
    let loaded = config::load(folder, &yaml);
    assert_eq!(loaded.report.errors(), 0, "{}", loaded.report.to_text(false));
    loaded.config.unwrap()
}

#[test]
fn selectors_select_the_router() {
    let Some(all) = all() else { return };
    for (folder, objects) in &all {
        let labels = &of_kind(objects, "StatefulSet")[0]["spec"]["template"]["metadata"]["labels"];
        let services = of_kind(objects, "Service");
        assert_eq!(services.len(), 2);
        for service in &services {
            assert!(selects(&service["spec"]["selector"], labels), "{folder}: {service}");
        }
        for kind in ["PodDisruptionBudget", "StatefulSet"] {
            for object in of_kind(objects, kind) {
                assert!(selects(&object["spec"]["selector"]["matchLabels"], labels), "{folder}: {kind}");
            }
        }
        let policies = of_kind(objects, "NetworkPolicy");
        let ours = policies.iter().filter(|p| selects(&p["spec"]["podSelector"]["matchLabels"], labels)).count();
        assert_eq!(ours, 1, "{folder}: the router's pod has one policy");
        let monitor = of_kind(objects, "ServiceMonitor")[0];
        let scraped =
            services.iter().filter(|s| selects(&monitor["spec"]["selector"]["matchLabels"], &s["metadata"]["labels"]));
        let scraped: Vec<&&Value> = scraped.collect();
        assert_eq!(scraped.len(), 1, "{folder}: one service is scraped");
        assert_eq!(scraped[0]["spec"]["ports"][0]["name"], monitor["spec"]["endpoints"][0]["port"]);
        assert_eq!(
            scraped[0]["metadata"]["labels"][str_of(&monitor["spec"]["jobLabel"])],
            "gocoffee",
            "the job of the alerts"
        );
    }
}

#[test]
fn the_hook_looks_at_what_is_applied_after_it() {
    let Some(all) = all() else { return };
    for (folder, objects) in all.iter().filter(|(folder, _)| folder.starts_with("argocd/")) {
        let maps = of_kind(objects, "ConfigMap");
        assert_eq!(maps.len(), 2, "{folder}");
        assert_eq!(maps[0]["data"], maps[1]["data"], "{folder}");
        let hooks: Vec<&Value> =
            objects.iter().filter(|o| o["metadata"]["annotations"]["argocd.argoproj.io/hook"] == "PreSync").collect();
        assert_eq!(hooks.len(), 6, "{folder}: what the hook needs is there before the sync");
        let job = of_kind(objects, "Job")[0];
        let script = str_of(&job["spec"]["template"]["spec"]["containers"][0]["args"][0]);
        let entry = text(format!("{HERE}/Dockerfile"))
            .lines()
            .find_map(|l| l.strip_prefix("ENTRYPOINT [\"")?.strip_suffix("\"]").map(str::to_owned))
            .unwrap();
        assert!(script.contains(&format!("{entry} check /dev/stdin --against /var/lib/gocoffee")), "{script}");
        let role = of_kind(objects, "Role")[0];
        let may: Vec<Value> = array(&role["rules"]).iter().flat_map(|rule| array(&rule["resourceNames"])).collect();
        assert!(may.iter().all(|name| name == "gocoffee-0") && may.len() == 2, "{folder}: {role}");
        let project = document(&format!("{HERE}/argocd/project.yaml"));
        let allowed: Vec<Value> = ["clusterResourceWhitelist", "namespaceResourceWhitelist"]
            .iter()
            .flat_map(|list| array(&project["spec"][list]))
            .collect();
        for object in objects {
            let group = str_of(&object["apiVersion"]).split_once('/').map_or("", |(group, _)| group);
            let known = allowed.iter().any(|a| a["group"] == group && a["kind"] == object["kind"]);
            assert!(known, "{folder}: the project does not allow {} of `{group}`", object["kind"]);
        }
    }
    let set = document(&format!("{HERE}/argocd/applicationset.yaml"));
    let path = str_of(&set["spec"]["template"]["spec"]["source"]["path"]).to_owned();
    for element in array(&set["spec"]["generators"][0]["list"]["elements"]) {
        let path = path.replace("{{.environment}}", str_of(&element["environment"]));
        assert!(root().join(&path).join("kustomization.yaml").is_file(), "{path}");
    }
    let one = document(&format!("{HERE}/argocd/application.yaml"));
    assert!(root().join(str_of(&one["spec"]["source"]["path"])).is_dir());
}

#[test]
fn the_image_is_pinned_small_and_not_root() {
    let dockerfile = text(format!("{HERE}/Dockerfile"));
    let from: Vec<&str> = dockerfile.lines().filter(|line| line.starts_with("FROM ")).collect();
    assert_eq!(from.len(), 2);
    for line in &from {
        let digest = line.split("@sha256:").nth(1).unwrap_or_else(|| panic!("{line} is not pinned"));
        assert!(digest.split(' ').next().unwrap().len() == 64, "{line}");
    }
    assert!(from[1].contains("distroless"));
    let user = dockerfile.lines().find_map(|line| line.strip_prefix("USER ")).unwrap();
    assert!(user.split(':').all(|id| id.parse::<u32>().is_ok_and(|id| id > 0)), "{user}");
    let last = dockerfile.split("\nFROM ").last().unwrap();
    assert!(!last.contains("\nRUN "), "the last stage has no shell to run anything with");
    assert!(text(".dockerignore").lines().any(|line| line == "**/target"));
}
