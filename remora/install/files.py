"""Everything below manifests/ that is made of remora/install, by path. `python -m remora.install` writes it; a test
says when it is stale."""

import json

from remora.install import kustomize, samples, values_file
from remora.install.chart import chart, template, values_schema
from remora.install.crds import definitions, editors
from remora.install.objects import PARTS
from remora.install.text import documents

CHART = "helm/remora"
NOTE = "# Made by `python -m remora.install`; change remora/install, not this file.\n"


def files() -> dict[str, str]:
    """Path below manifests/, and text."""
    kinds = {f"{each['spec']['names']['plural']}.yaml": documents([each]) for each in definitions.all_definitions()}
    made = {f"{CHART}/crds/{name}": NOTE + text for name, text in kinds.items()}
    # Helm reads no file without a suffix there, and kustomize knows this name, too.
    listed = {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(kinds)}
    made[f"{CHART}/crds/Kustomization"] = NOTE + documents([listed])
    made["crds/kustomization.yaml"] = NOTE + documents([{**listed, "resources": [f"../{CHART}/crds"]}])
    made[f"{CHART}/Chart.yaml"] = NOTE + documents([chart()])
    made[f"{CHART}/values.yaml"] = NOTE + values_file.text()
    made[f"{CHART}/values.schema.json"] = json.dumps(values_schema(), indent=1) + "\n"
    made |= {f"{CHART}/templates/{part}.yaml": NOTE + template(nodes) for part, nodes in PARTS.items()}
    made |= {f"kustomize/{name}": NOTE + text for name, text in kustomize.files().items()}
    made |= {f"schemas/{name}": json.dumps(schema, indent=1) + "\n" for name, schema in editors.schemas().items()}
    made["samples/bookinfo.yaml"] = NOTE + samples.bookinfo()
    made["samples/bookinfo-rules.yaml"] = NOTE + samples.rules()
    return made
