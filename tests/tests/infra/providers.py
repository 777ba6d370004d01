"""Holds Terraform files to the schemas of providers that cannot be installed here.

The packages `cdktf-cdktf-provider-*` hold, in a jsii assembly, every resource of a provider: its arguments, which of them
are required, and its nested blocks. `distil` keeps what is asked here; `check` reads folders of Terraform files and names
what is unknown, missing, or refers to nothing.

    providers.py distil OUT.json WHEEL...
    providers.py check OUT.json FOLDER...
"""

import io
import json
import pathlib
import re
import sys
import tarfile
import zipfile

META = {"count", "for_each", "depends_on", "provider", "lifecycle", "provisioner", "connection", "dynamic"}
REGISTRY = re.compile(r"docs/(resources|data-sources)/\w+ (\w+)\}")
ARGUMENT = re.compile(r"Docs at Terraform Registry: \{@link \S+#(\w+) ")
BLOCK = "__is_block__"


def snake(name):
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def assembly(wheel):
    with zipfile.ZipFile(wheel) as archive:
        inner = next(name for name in archive.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(archive.read(inner)), mode="r:gz") as tar:
            for member in tar:
                if member.name == "package/.jsii":
                    return json.load(tar.extractfile(member))["types"]
    raise SystemExit(f"{wheel} has no assembly")


def nested(kind, types):
    """The fully qualified name of the block that a property is, if it is one."""
    if "fqn" in kind:
        return kind["fqn"] if kind["fqn"] in types and types[kind["fqn"]]["kind"] == "interface" else None
    if "collection" in kind:
        return nested(kind["collection"]["elementtype"], types) if kind["collection"]["kind"] == "array" else None
    found = [nested(one, types) for one in kind.get("union", {}).get("types", [])]
    return next((name for name in found if name), None)


def argument(one):
    """A property's name in Terraform."""
    named = ARGUMENT.search(one.get("docs", {}).get("remarks", ""))
    return named.group(1) if named else snake(one["name"])


def properties(fqn, types):
    found = {}
    for one in types[fqn].get("properties", []):
        found[argument(one)] = {"required": not one.get("optional", False), "block": nested(one["type"], types)}
    return found


def distil(out, wheels):
    kinds, blocks = {}, {}
    for wheel in wheels:
        types = assembly(wheel)
        for fqn, kind in types.items():
            named = REGISTRY.search(kind.get("docs", {}).get("summary", ""))
            config = f"{fqn}Config"
            if kind["kind"] != "class" or not named or config not in types:
                continue
            data = named.group(1) == "data-sources"
            attributes = [snake(one["name"]) for one in kind.get("properties", [])]
            arguments = properties(config, types)
            kinds[("data." if data else "") + named.group(2)] = {"arguments": arguments, "attributes": sorted(attributes)}
            todo = [one["block"] for one in arguments.values()]
            while todo:
                block = todo.pop()
                if block and block not in blocks:
                    blocks[block] = properties(block, types)
                    todo.extend(one["block"] for one in blocks[block].values())
    pathlib.Path(out).write_text(json.dumps({"kinds": kinds, "blocks": blocks}))
    print(f"{len(kinds)} kinds, {len(blocks)} blocks")


def plain(text):
    return text.strip('"')


class Folder:
    """The files of one module."""

    def __init__(self, path, schema):
        import hcl2

        self.path, self.schema, self.findings = path, schema, []
        self.files = {file: hcl2.loads(file.read_text()) for file in sorted(path.glob("*.tf"))}
        self.text = {file: file.read_text() for file in self.files}
        self.variables = self.named("variable")
        self.outputs = self.named("output")
        self.locals = {key for tree in self.files.values() for block in tree.get("locals", []) for key in block if key != BLOCK}
        self.resources = {}
        for top, prefix in (("resource", ""), ("data", "data.")):
            for file, tree in self.files.items():
                for block in tree.get(top, []):
                    for kind, names in block.items():
                        for name, body in names.items():
                            self.resources[(prefix + plain(kind), plain(name))] = (file, body)

    def named(self, top):
        return {plain(key): body for tree in self.files.values() for block in tree.get(top, []) for key, body in block.items()}

    def finding(self, file, what):
        self.findings.append(f"{file}: {what}")

    def check(self):
        for (kind, name), (file, body) in self.resources.items():
            known = self.schema["kinds"].get(kind)
            place = f"{kind}.{name}"
            if known is None:
                if not kind.removeprefix("data.").startswith(("aws_", "local_", "terraform_")):
                    self.finding(file, f"{place}: no provider has this kind")
                continue
            self.block(file, place, body, known["arguments"])
        for file, text in self.text.items():
            # What is said beside the code refers to nothing.
            self.references(file, re.sub(r"(?m)^\s*#.*$", "", text))
        self.calls()
        return self.findings

    def block(self, file, place, body, arguments):
        given = set()
        for key, value in body.items():
            if key in META and key != "dynamic" or key == BLOCK or key.startswith("__"):
                continue
            if key == "dynamic":
                for one in value:
                    for name, dynamic in one.items():
                        if plain(name) != BLOCK:
                            given.add(plain(name))
                            self.inner(file, f"{place}.{plain(name)}", plain(name), dynamic.get("content", []), arguments)
                continue
            given.add(key)
            blocks = [one for one in value if isinstance(one, dict) and one.get(BLOCK)] if isinstance(value, list) else []
            if blocks or key not in arguments:
                self.inner(file, f"{place}.{key}", key, blocks, arguments)
        for name, one in arguments.items():
            if one["required"] and name not in given:
                self.finding(file, f"{place}: `{name}` is required")

    def inner(self, file, place, name, blocks, arguments):
        known = arguments.get(name)
        if known is None:
            self.finding(file, f"{place} is unknown")
        elif known["block"]:
            for block in blocks:
                self.block(file, place, block, self.schema["blocks"][known["block"]])
        elif blocks:
            self.finding(file, f"{place} is no block")

    def references(self, file, text):
        for name in set(re.findall(r"\bvar\.(\w+)", text)) - set(self.variables):
            self.finding(file, f"var.{name} is not declared")
        for name in set(re.findall(r"\blocal\.(\w+)", text)) - self.locals:
            self.finding(file, f"local.{name} is not declared")
        kinds = r"(?<![\w.\"-])((?:data\.)?(?:aws|google|azurerm|local|terraform)_\w+)\.(\w+)(?:\[[^\]]*\])?(?:\.(\w+))?"
        for kind, name, attribute in re.findall(kinds, text):
            if (kind, name) not in self.resources:
                self.finding(file, f"{kind}.{name} is not declared")
            known = self.schema["kinds"].get(kind)
            if known and attribute and attribute not in known["attributes"] and attribute not in known["arguments"]:
                self.finding(file, f"{kind}.{name} has no attribute `{attribute}`")

    def calls(self):
        """Modules that are called: their arguments are variables there, and what is read of them is an output there."""
        modules = self.named("module")
        for name, body in modules.items():
            source = plain(body["source"])
            if not source.startswith("."):
                continue
            called = Folder((self.path / source).resolve(), self.schema)
            given = {key for key in body if key not in META | {"source", "version", "providers", BLOCK}}
            for key in given - set(called.variables):
                self.finding(self.path, f"module.{name}: {source} has no variable `{key}`")
            for key, variable in called.variables.items():
                if "default" not in variable and key not in given:
                    self.finding(self.path, f"module.{name}: `{key}` is required by {source}")
            for file, text in self.text.items():
                for output in set(re.findall(rf"\bmodule\.{name}(?:\[[^\]]*\])?\.(\w+)", text)) - set(called.outputs):
                    self.finding(file, f"module.{name}: {source} has no output `{output}`")
        for file, text in self.text.items():
            for name in set(re.findall(r"\bmodule\.(\w+)", text)) - set(modules):
                self.finding(file, f"module.{name} is not called")
        unused = {name for name in self.variables if not any(re.search(rf"\bvar\.{name}\b", text) for text in self.text.values())}
        for name in unused:
            self.finding(self.path, f"var.{name} is used nowhere")


def check(schema, folders):
    schema = json.loads(pathlib.Path(schema).read_text())
    findings = [finding for folder in folders for finding in Folder(pathlib.Path(folder), schema).check()]
    print("\n".join(sorted(findings)) or "ok")
    return 1 if findings else 0


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["distil", out, *wheels] if wheels:
            distil(out, wheels)
        case ["check", schema, *folders] if folders:
            sys.exit(check(schema, folders))
        case _:
            sys.exit(__doc__)
