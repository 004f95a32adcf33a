# shellcheck shell=bash
# Builds the Kubernetes programs from the Go module k8s.io/kubernetes; sourced by install.sh.
# `go install` refuses that module (it has replace directives), so a small main module requires it and
# repeats its replaces (the staging modules), each at the version published with that Kubernetes.

KUBERNETES_PROGRAMS=(kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)

# build_kubernetes OUT_DIR
build_kubernetes() {
  local module packages
  module=$(mktemp -d "$PROGRAMS/module.XXXXXX")
  packages=("${KUBERNETES_PROGRAMS[@]/#/k8s.io/kubernetes/cmd/}")
  write_kubernetes_module "$module/go.mod"
  (cd "$module" && go build -mod=mod -trimpath -ldflags "$(kubernetes_ldflags)" -o "$1/" "${packages[@]}")
  rm -rf "$module"
}

write_kubernetes_module() {
  local theirs staging=v0.${KUBERNETES_VERSION#1.}
  theirs=$(go mod download -json "k8s.io/kubernetes@v$KUBERNETES_VERSION" | jq -r .GoMod)
  {
    printf 'module kotoba.invalid/kubernetes\n\n'
    go mod edit -json "$theirs" | jq -r '"go " + .Go'
    printf '\nrequire k8s.io/kubernetes v%s\n\n' "$KUBERNETES_VERSION"
    go mod edit -json "$theirs" | jq -r --arg v "$staging" \
      '.Replace[].Old.Path | "replace \(.) => \(.) \($v)"'
  } >"$1"
}

kubernetes_ldflags() {
  local major minor set="-X k8s.io/component-base/version"
  IFS=. read -r major minor _ <<<"$KUBERNETES_VERSION"
  printf -- '-s -w %s.gitVersion=v%s %s.gitMajor=%s %s.gitMinor=%s %s.gitTreeState=clean' \
    "$set" "$KUBERNETES_VERSION" "$set" "$major" "$set" "$minor" "$set"
}
