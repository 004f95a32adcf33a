# shellcheck shell=bash
# Installs the Debian packages that the cluster needs and that are missing or half-installed; sourced by install.sh.
# kubernetes-client is left out on purpose: its files can clash with another kubectl of the machine (dpkg fails),
# and kubectl is built beside the other Kubernetes programs anyway.

PACKAGES=(
  containerd runc containernetworking-plugins # what runs the pods
  iptables iproute2 conntrack ethtool socat   # what kubelet and kube-proxy call
  kmod procps util-linux mount                # nsenter, sysctl, umount
  buildah busybox-static gcc libc6-dev        # our own images
  jq openssl curl                             # what these scripts call
)

packages_ready() {
  local states
  states=$(dpkg-query -W -f '${db:Status-Abbrev}\n' "${PACKAGES[@]}" 2>/dev/null) || return 1
  ! grep -qv '^ii ' <<<"$states"
}

install_packages() {
  packages_ready && return
  command -v apt-get >/dev/null || skip "needs the Debian packages ${PACKAGES[*]} and there is no apt-get"
  say "installing Debian packages"
  # RUNLEVEL=1: the packages' own services (a second containerd) are not started.
  export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
  local apt=(apt-get -qq -o DPkg::Lock::Timeout=300)
  "${apt[@]}" update >&2
  "${apt[@]}" install -y --no-install-recommends --no-upgrade "${PACKAGES[@]}" >&2
}
