# shellcheck shell=bash
# Builds the other Go programs, one function each; sourced by install.sh.
# etcd comes from its module, not from Debian: 3.4 lacks --unsafe-no-fsync. That module has replace
# directives, which `go install` refuses, so a small main module requires it.

go_install() { GOBIN=$1 go install -trimpath -ldflags '-s -w' "$2"; }

# Each takes OUT_DIR.
build_coredns() { go_install "$1" "github.com/coredns/coredns@v$COREDNS_VERSION"; }
build_helm() { go_install "$1" "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"; }
build_kubeconform() { go_install "$1" "github.com/yannh/kubeconform/cmd/kubeconform@v$KUBECONFORM_VERSION"; }
build_local_path() { go_install "$1" "github.com/rancher/local-path-provisioner@v$LOCAL_PATH_VERSION"; }

build_etcd() {
  local module
  module=$(mktemp -d "$PROGRAMS/module.XXXXXX")
  printf 'module kotoba.invalid/etcd\n\ngo 1.24\n\nrequire go.etcd.io/etcd/server/v3 v%s\n' "$ETCD_VERSION" >"$module/go.mod"
  (cd "$module" && go build -mod=mod -trimpath -ldflags '-s -w' -o "$1/etcd" go.etcd.io/etcd/server/v3)
  rm -rf "$module"
}
