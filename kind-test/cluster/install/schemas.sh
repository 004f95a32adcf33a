# shellcheck shell=bash
# Makes the JSON schemas by which kubeconform checks manifests, from the OpenAPI document in the Go module of our Kubernetes:
# what its API server serves, to the version, and no network when they are used; and those of what the chart makes for the
# Prometheus operator, from the resource definitions in its module. Sourced by build-tool.sh.
# Needs jq, as the build of Kubernetes does.

# build_schemas OUT_DIR: a file KIND-GROUP-VERSION.json for each kind, with everything that it refers to.
build_schemas() {
  local module file schema kind
  module=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION" | jq -r .Dir)
  jq -r "$(schemas_filter)" "$module/api/openapi-spec/swagger.json" |
    while IFS=$'\t' read -r file schema; do printf '%s\n' "$schema" >"$1/$file"; done
  module=$(go mod download -json "github.com/prometheus-operator/prometheus-operator@v$PROMETHEUS_OPERATOR_VERSION" | jq -r .Dir)
  for kind in podmonitor prometheusrule; do
    jq "$(definition_filter)" "$module/jsonnet/prometheus-operator/${kind}s-crd.json" >"$1/$kind-monitoring-v1.json"
  done
}

# The schema in a CustomResourceDefinition, as strict.
definition_filter() {
  cat <<'JQ'
.spec.versions[] | select(.storage) | .schema.openAPIV3Schema
| walk(if type == "object" and .type == "object" and has("properties") and .["x-kubernetes-preserve-unknown-fields"] != true
       then .additionalProperties = false else . end)
JQ
}

# Stricter than Kubernetes, which drops a field that it does not know: here it is an error.
schemas_filter() {
  cat <<'JQ'
def refs: [.. | objects | .["$ref"] | strings | ltrimstr("#/definitions/")] | unique;
def with_needed($all): . as $names
  | (reduce $names[] as $name ($names; . + ($all[$name] | refs)) | unique)
  | if . == $names then . else with_needed($all) end;
def number_or_text: if has("description") then {description} else {} end + {type: ["string", "number"]};
def strict: if has("properties") and (has("additionalProperties") | not) then .additionalProperties = false else . end;
def definition($name):
  if $name | test("\\.(Quantity|IntOrString)$") then number_or_text
  elif $name | test("\\.(JSON|JSONSchemaPropsOrBool|JSONSchemaPropsOrArray|JSONSchemaPropsOrStringArray)$") then {}
  else strict end;
(.definitions | with_entries(.key as $name | .value |= definition($name))) as $all
| $all | to_entries[]
| .key as $name | (.value["x-kubernetes-group-version-kind"] // [])
| select(length == 1) | .[0]
| ([.kind, (.group | split(".")[0] // ""), .version] | map(select(. != "")) | join("-") | ascii_downcase + ".json") as $file
| ([$name] | with_needed($all)) as $needed
| {"$ref": "#/definitions/\($name)", definitions: ($needed | map({key: ., value: $all[.]}) | from_entries)}
| "\($file)\t\(tojson)"
JQ
}
