#!/bin/sh
# An upstream of nginx:
#   discover watch web --exec ./nginx-upstream.sh --to /etc/nginx/conf.d/web.conf --reload 'nginx -s reload'
echo "upstream web {"
for address in $DISCOVERED; do
  echo "    server $address max_fails=1 fail_timeout=5s;"
done
echo "}"
