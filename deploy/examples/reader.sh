#!/bin/sh
# Prints the addresses of a service, and again after each change: sh reader.sh <service> [<realm>]
# etcdctl takes the cluster from the environment: ETCDCTL_ENDPOINTS, ETCDCTL_CACERT, ETCDCTL_USER and so on.
prefix=/discover/service/${1:?"usage: reader.sh <service> [<realm>]"}/${2:-default}/
export ETCDCTL_API=3

show() {
    etcdctl get --prefix --print-value-only "$prefix" | sed 's,^.*://,,' | sort | paste -s -d ' ' -
}

while :; do
    # The revision first, the addresses then: a change in between is shown twice, and none is lost.
    if answer=$(etcdctl get --prefix --keys-only --limit=1 --write-out=json "$prefix"); then
        revision=$(printf %s "$answer" | sed 's/.*"revision":\([0-9]*\).*/\1/')
        show
        # The watch ends when its revision has been compacted, or the connection cannot be kept: read again then.
        etcdctl watch --prefix --rev=$((revision + 1)) "$prefix" | while read -r line; do
            case $line in PUT | DELETE) show ;; esac
        done
    fi
    sleep 1
done
