# shellcheck shell=bash
# Builds the other Go programs, one function each; sourced by install.sh.
# etcd comes from its module, not from Debian: 3.4 lacks --unsafe-no-fsync. That module, as promtool's, has replace
# directives, which `go install` refuses, so a small main module requires it.

go_install() { GOBIN=$1 go install -trimpath -ldflags '-s -w' "$2"; }

# Each takes OUT_DIR.
build_coredns() { go_install "$1" "github.com/coredns/coredns@v$COREDNS_VERSION"; }
build_helm() { go_install "$1" "helm.sh/helm/v3/cmd/helm@v$HELM_VERSION"; }
build_kubeconform() { go_install "$1" "github.com/yannh/kubeconform/cmd/kubeconform@v$KUBECONFORM_VERSION"; }
build_kube-score() { go_install "$1" "github.com/zegl/kube-score/cmd/kube-score@v$KUBE_SCORE_VERSION"; }
build_local_path() { go_install "$1" "github.com/rancher/local-path-provisioner@v$LOCAL_PATH_VERSION"; }

build_etcd() { go_build "$1/etcd" "go.etcd.io/etcd/server/v3 v$ETCD_VERSION" go.etcd.io/etcd/server/v3; }
# About eight minutes of processor time the first time: it brings the clients of every cloud.
build_promtool() {
  go_build "$1/promtool" "github.com/prometheus/prometheus v$PROMETHEUS_MODULE_VERSION" github.com/prometheus/prometheus/cmd/promtool
}

# go_build OUT_FILE REQUIREMENT PACKAGE
go_build() {
  local module
  module=$(mktemp -d "$PROGRAMS/module.XXXXXX")
  printf 'module kotoba.invalid/program\n\ngo 1.26\n\nrequire %s\n' "$2" >"$module/go.mod"
  (cd "$module" && go build -mod=mod -trimpath -ldflags '-s -w' -o "$1" "$3")
  rm -rf "$module"
}
