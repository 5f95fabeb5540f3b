#!/bin/sh
# The endpoints of an Envoy cluster, as the file that envoy.yaml names. Envoy sees that the file was replaced:
#   discover watch web --exec ./envoy-eds.sh --to /etc/envoy/web.json
comma=""
printf '{"resources":[{"@type":"type.googleapis.com/envoy.config.endpoint.v3.ClusterLoadAssignment",'
printf '"cluster_name":"web","endpoints":[{"lb_endpoints":['
for address in $DISCOVERED; do
  host=${address%:*}
  host=${host#\[}
  printf '%s{"endpoint":{"address":{"socket_address":{"address":"%s","port_value":%s}}}}' \
    "$comma" "${host%]}" "${address##*:}"
  comma=","
done
printf ']}]}]}\n'
